"""Models of the Hugging Face Hub -> a folder on this machine, by way of huggingface_hub and its cache.

``OWNER/REPO[@REVISION]`` names one. The variables of the client hold as everywhere: HF_HOME, HF_HUB_CACHE, HF_ENDPOINT,
HF_TOKEN, HF_HUB_OFFLINE. Beyond what the client does, files are compared to the sha256 that the Hub states (the client
looks at sizes only), requests are made again after answers of 5xx and broken connections, and a machine without network
learns it from the first question, not after the client's minutes of patience.

huggingface_hub is imported by functions only: whoever runs a model of this machine does not pay for it.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from restorer import __version__
from restorer.convert.diffusers import CONFIG, SCHEDULER, UNET, WEIGHTS
from restorer.entry import hash_file, parse_entry
from restorer.errors import ModelError, RestorerError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

MAIN = "main"
"""The revision that is meant where none is named."""
PATIENCE = 10.0
"""So many seconds the Hub has to answer the first question."""
PAUSES = (1.0, 3.0)
"""Seconds before a request that failed in passing is made again, and again."""

_ADDRESS = re.compile(r"([a-z0-9][\w.-]*/[a-z0-9][\w.-]*)(?:@(\w[\w./-]*))?", re.ASCII | re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FILES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
"""What ends so is a file that is missing, not a repository."""

log = logging.getLogger(__name__)


class Address(NamedTuple):
    """A repository of the Hub, and the branch, tag or commit of it that is meant, if one is."""

    repo: str
    revision: str | None = None


def address(model: str) -> Address | None:
    """What ``OWNER/REPO[@REVISION]`` says, or None for what is not written so."""
    match = _ADDRESS.fullmatch(model)
    if match is None or ".." in model or model.endswith(_FILES):
        return None
    return Address(match[1], match[2])


def fetch(repo: str, revision: str | None = None, *, sleep: Callable[[float], None] = time.sleep) -> Path:
    """The folder of a model of the Hub in the client's cache; its name is the commit, 40 hex digits.

    Only the files that the model needs are fetched, if they are not here yet. A commit that is here costs no request;
    a branch or tag is asked for, and taken as it was last seen, with a warning in the log, where the Hub is not to be
    reached. ``sleep``: waits between tries.

    Raises ``ModelError``: no such repository or revision, none that the token may read, offline and not here, no model
    in it that can be used, a wrong checksum, no network, or no room in the cache.
    """
    from huggingface_hub import is_offline_mode

    revision = revision or MAIN
    here = None
    try:
        here = _here(repo, revision)
        if here and (is_offline_mode() or _COMMIT.fullmatch(revision)):
            return here
        if is_offline_mode():
            raise ModelError(
                f"Model {_name(repo, revision)} is not on this machine, neither a folder nor in the Hub's cache, and "
                "--offline or HF_HUB_OFFLINE is set; run once without."
            )
        return _fetch(repo, revision, here, sleep)
    except RestorerError:
        raise
    except Exception as error:  # what the client raises has no base of its own
        cause = _cause(error)
        if here and _is_unreachable(cause):
            log.warning("The Hub cannot be reached (%s); %s is taken as it was last seen.", cause, repo)
            return here
        raise ModelError(_sentence(cause, repo, revision)) from error


def needed(where: str, names: Collection[str], read: Callable[[str], Mapping[str, Any]]) -> tuple[str, ...]:
    """Those of a repository's files that its model needs, the weights last.

    ``where`` names the repository in errors, ``names`` are its files, and ``read`` gives a JSON file among them. No
    code is ever needed, and no pickle where there are safetensors.
    Raises ``ModelError`` when there is no model that can be used, naming what was found.
    """
    found = f"{where}: no model that restorer can use: "
    config = read(CONFIG) if CONFIG in names else {}
    if "net" in config:  # a card of ours
        weights = parse_entry(config, f"{where}: {CONFIG}").weights
        if weights is None or weights.file not in names or not weights.file.endswith(".safetensors"):
            raise ModelError(f"{found}{CONFIG} names no .safetensors file that is there. It has {_some(names)}.")
        return (CONFIG, weights.file)
    part = f"{UNET}/" if f"{UNET}/{CONFIG}" in names else ""
    kind = (read(part + CONFIG) if part else config).get("_class_name")
    if kind != "UNet2DModel":
        what = f"{part + CONFIG} is for {kind}" if kind else "neither a card of restorer nor a UNet2DModel of diffusers"
        raise ModelError(f"{found}{what}. It has {_some(names)}.")
    scheduler = next((name for name in (f"scheduler/{SCHEDULER}", SCHEDULER) if name in names), None)
    if scheduler is None:
        raise ModelError(f"{found}{SCHEDULER} is missing, so the schedule is unknown. It has {_some(names)}.")
    weights = next((part + name for name in WEIGHTS if part + name in names), None)
    if weights is None:
        raise ModelError(f"{found}no {part}{' or '.join(WEIGHTS)}. It has {_some(names)}.")
    return (part + CONFIG, scheduler, weights)


def _some(names: Collection[str]) -> str:
    shown = sorted(name for name in names if not name.startswith("."))
    rest = f" and {len(shown) - 8} more files" if len(shown) > 8 else ""
    return (", ".join(shown[:8]) or "no files") + rest


def _name(repo: str, revision: str) -> str:
    return repo if revision == MAIN else f"{repo}@{revision}"


def _here(repo: str, revision: str) -> Path | None:
    """The folder of the revision as it was last seen, if all that its model needs is in the cache."""
    from huggingface_hub import try_to_load_from_cache

    for name in (CONFIG, f"{UNET}/{CONFIG}"):
        file = try_to_load_from_cache(repo, name, revision=revision)
        if isinstance(file, str):
            folder = _root(file, name)
            names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
            try:
                needed(repo, names, lambda name, folder=folder: _json(folder / name))
            except ModelError:
                continue
            return folder
    return None


def _root(file: str | Path, name: str) -> Path:
    """The folder in which a file has this name."""
    return Path(file).parents[name.count("/")]


def _json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file}: is no JSON: {error}.") from error
    if not isinstance(data, dict):
        raise ModelError(f"{file}: is no table of keys.")
    return data


def _fetch(repo: str, revision: str, here: Path | None, sleep: Callable[[float], None]) -> Path:
    from huggingface_hub import HfApi

    api = HfApi(library_name="restorer", library_version=__version__)
    # The first question is asked with a limit of time; the client's own first, on an empty cache, takes minutes.
    ask = partial(api.model_info, repo, revision=revision, files_metadata=True, timeout=PATIENCE)
    told = _patiently(ask, sleep)
    if here and here.name == told.sha:
        return here
    files = {file.rfilename: file.lfs and file.lfs.sha256 for file in told.siblings or ()}

    def get(name: str) -> Path:
        return _get(api, repo, told.sha, name, files[name], sleep)

    names = needed(_name(repo, revision), files, lambda name: _json(get(name)))
    got = [get(name) for name in names]
    if revision != told.sha:
        # Asked by its name, the client notes which commit that is: what a later run without network goes by. Last, so
        # that an update cut short leaves the one before in use.
        _patiently(partial(api.hf_hub_download, repo, names[0], revision=revision), sleep)
    return _root(got[0], names[0])


def _get(api: HfApi, repo: str, commit: str, name: str, sha256: str | None, sleep: Callable[[float], None]) -> Path:
    """A file of a commit; one that comes with another sha256 than the Hub states is fetched once more."""
    from huggingface_hub import try_to_load_from_cache

    held = try_to_load_from_cache(repo, name, revision=commit)
    if isinstance(held, str):
        return Path(held)
    found = ""
    for again in (False, True):
        ask = partial(api.hf_hub_download, repo, name, revision=commit, force_download=again)
        file = Path(_patiently(ask, sleep))
        if sha256 is None:
            return file
        found = hash_file(file)
        if found == sha256:
            return file
        # The client would take it for whole from now on.
        file.resolve().unlink()
        file.unlink(missing_ok=True)
    raise ModelError(
        f"{repo}: {name} arrived damaged, twice: sha256 {found}, the Hub states {sha256}. Nothing of it was kept; try "
        "again later, or without a proxy or mirror."
    )


def _patiently(ask: Callable[[], T], sleep: Callable[[float], None]) -> T:
    """What ``ask`` gives, asked again where what it met may pass."""
    for pause in PAUSES:
        try:
            return ask()
        except Exception as error:  # see fetch
            if not _may_pass(error):
                raise
        sleep(pause)
    return ask()


def _may_pass(error: Exception) -> bool:
    """Whether a failure is one that the client does not try again itself, though it may help."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    cut_short = isinstance(error, OSError) and "Consistency check failed" in str(error)
    return cut_short or isinstance(error, httpx.ReadError | httpx.WriteError | httpx.RemoteProtocolError)


def _cause(error: BaseException) -> BaseException:
    """What really happened: of most faults the client says to check the connection, and keeps them behind it."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while isinstance(error, LocalEntryNotFoundError) and error.__cause__:
        error = error.__cause__
    return error


def _is_unreachable(error: BaseException) -> bool:
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)


def _sentence(error: BaseException, repo: str, revision: str) -> str:
    """What to tell of an error of the client, and what to do."""
    from huggingface_hub import constants, errors
    from huggingface_hub.utils import httpx

    token = "set HF_TOKEN to a token that may read it, or run: hf auth login"
    if isinstance(error, errors.GatedRepoError):
        return f"{repo} is gated: accept its terms on its page, then {token}."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"No model {repo!r}: no such folder here, and no such repository on the Hub, unless it is a private one; "
            f"check the name, and for a private one {token}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repo} has no revision {revision!r}; name a branch, a tag or a commit of 40 hex digits behind the @."
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        said = f"{status}{f', {error.server_message}' if error.server_message else ''}"
        if status in (401, 403):
            return f"The Hub refuses {repo} ({said}): {token}."
        return f"The Hub does not give {repo} ({said}); try again later."
    if isinstance(error, httpx.TransportError):
        reason = str(error) or type(error).__name__
        return (
            f"{repo} is not on this machine, and {constants.ENDPOINT} cannot be reached: {reason.rstrip('.')}. Check "
            "network and proxy, or give the model's folder."
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return (
            f"No room for {repo} in {constants.HF_HUB_CACHE}: the disk is full. Make room, or set HF_HOME to a folder "
            "on another disk."
        )
    if isinstance(error, PermissionError):
        return f"{repo} cannot be kept: {error}. Set HF_HOME to a folder that may be written to."
    return f"{repo} cannot be fetched: {type(error).__name__}: {str(error).rstrip('.')}."
