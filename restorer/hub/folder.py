"""A repository of the Hub -> a folder on this machine, in the cache of huggingface_hub.

Beyond what the client does, every file is compared to the checksum that the Hub, or our catalogue, states (the client
looks at sizes only), requests are made again after answers of 5xx and broken connections, and a machine without network
learns it from the first question, not after the client's minutes of patience.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from restorer import __version__
from restorer.errors import ModelError
from restorer.hub.address import MAIN, is_commit, spoken
from restorer.hub.catalog import Listing, pinned, record
from restorer.hub.checked import sha256_of
from restorer.hub.faults import UnreachableError, hush, may_pass, told
from restorer.hub.layout import CONFIG, SAFE, UNET, needed, telling
from restorer.hub.progress import bar_class

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
Sleep = Callable[[float], None]

PATIENCE = 8.0
"""So many seconds the Hub has to answer the first question."""
PAUSES = (1.0, 3.0)
"""Seconds before a request that failed in passing is made again, and again."""

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A model's folder in the cache, and the commit that it is of."""

    folder: Path
    commit: str


class Look(NamedTuple):
    """A folder to look at, the commit that it is of, and whether it is gone afterwards."""

    folder: Path
    commit: str
    passing: bool


class Stated(NamedTuple):
    """What is said of a file: its bytes, and its sha256, or of a small one the checksum that git has for it."""

    bytes: int | None = None
    sha256: str | None = None
    git: str | None = None

    def differs(self, file: Path) -> str | None:
        """How a file is another one, or None."""
        if self.sha256:
            found = sha256_of(file)
            return None if found == self.sha256 else f"sha256 {found}, the Hub states {self.sha256}"
        if self.git:
            content = file.read_bytes()
            found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
            return None if found == self.git else f"git's checksum {found}, the Hub states {self.git}"
        return None


class Bill(NamedTuple):
    """What fetching a model comes to: the commit, and (name, bytes if known, here already) of each file."""

    commit: str
    files: tuple[tuple[str, int | None, bool], ...]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One commit of a repository, as the Hub tells of it."""

    api: HfApi
    repo: str
    commit: str
    files: dict[str, Stated]
    sleep: Sleep
    cache: Path | None = None

    def get(self, name: str) -> Path:
        """A file; one that is not what was stated is fetched once more. Raises ``ModelError``."""
        held, wrong = self.held(name), None
        if held and not self.files[name].differs(held):
            return held
        for again in (held is not None, True):
            ask = partial(self.api.hf_hub_download, self.repo, name, revision=self.commit, force_download=again)
            file = Path(patiently(partial(ask, cache_dir=self.cache, tqdm_class=bar_class()), self.sleep))
            wrong = self.files[name].differs(file)
            if wrong is None:
                return file
            # The client would take it for whole from now on.
            _drop(file)
        raise ModelError(
            f"{self.repo}: {name} arrived damaged, twice: {wrong}. Nothing of it was kept; try again later, or without "
            "a proxy or mirror."
        )

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file. Raises ``ModelError``."""
        return read_json(self.get(name))

    def held(self, name: str) -> Path | None:
        """The file, where it is here already."""
        from huggingface_hub import try_to_load_from_cache

        held = try_to_load_from_cache(self.repo, name, self.cache, revision=self.commit)
        return Path(held) if isinstance(held, str) else None


def fetch(
    repo: str,
    revision: str | None = None,
    *,
    whole: bool = False,
    pickled: bool = False,
    token: str | None = None,
    sleep: Sleep = time.sleep,
) -> Place:
    """The folder of a model of the Hub in the client's cache.

    Only the files that the model needs are fetched, if they are not here yet. A commit that is here costs no request;
    a branch or tag is asked for, and taken as it was last seen, with a warning in the log, where the Hub is not to be
    reached. ``whole``: also what tells of the model, and what checks it. ``pickled``: weights may be a pickle, which
    whoever says so converts. ``token``: instead of the client's own. ``sleep``: waits between tries.

    Raises ``ModelError``: no such repository or revision, none that the token may read, offline and not here, no model
    in it that can be used, a wrong checksum, no network, or no room in the cache.
    """
    revision = revision or MAIN
    here = _here(repo, revision)
    if here and not whole and (_is_offline() or is_commit(revision)):
        return here
    try:
        with told(repo, revision):
            return _fetch(repo, revision, here, whole, pickled, token, sleep)
    except UnreachableError as error:
        if here is None:
            raise
        log.warning("%s %s is taken as it was last seen.", error, repo)
        return here


def _fetch(
    repo: str, revision: str, here: Place | None, whole: bool, pickled: bool, token: str | None, sleep: Sleep
) -> Place:
    _refuse_offline(repo, revision)
    now = _snapshot(repo, revision, token, sleep)
    if here and here.commit == now.commit and not whole:
        return here
    names = needed(spoken(repo, revision), now.files, now.read)
    if not pickled:
        check_safe(spoken(repo, revision), names[-1])
    # What tells of a model first: what is needed last makes the folder one that is taken for whole.
    got = [now.get(name) for name in (*(telling(now.files) if whole else ()), *names)]
    if revision != now.commit:
        # Asked by its name, the client notes which commit that is: what a later run without network goes by. Last, so
        # that an update cut short leaves the one before in use.
        patiently(partial(now.api.hf_hub_download, repo, names[0], revision=revision), sleep)
    return Place(_root(got[-1], names[-1]), now.commit)


def fetch_listed(listing: Listing, *, token: str | None = None, sleep: Sleep = time.sleep) -> Place:
    """The folder of a model of the catalogue, each file of it proven against what the catalogue pins.

    What is not pinned is asked for at the first use, and noted: from then on it is that commit, and those weights.
    Raises ``ModelError`` as ``fetch``, and where the Hub states other weights than the catalogue.
    """
    repo, revision, sha256 = listing.repo, *pinned(listing)
    if revision and sha256:
        here = _listed_here(listing, revision)
        if here:
            return here
    with told(repo, revision):
        _refuse_offline(listing.name, None)
        now = _snapshot(repo, revision or MAIN, token, sleep)
        stated = now.files.get(listing.file, Stated())
        if sha256 and stated.sha256 not in (None, sha256):
            raise ModelError(
                f"{spoken(repo, revision)}: the Hub states sha256 {stated.sha256} for {listing.file}, the catalogue "
                f"{sha256}; what is there is another model, and is not used."
            )
        now.files[listing.file] = stated._replace(sha256=sha256 or stated.sha256)
        for name in (*listing.beside, listing.file):
            if name not in now.files:
                raise ModelError(f"{spoken(repo, revision)}: {name} is missing, which the catalogue names; not used.")
        got = [now.get(name) for name in (*listing.beside, listing.file)]
        if not (listing.revision and listing.sha256):
            record(listing, now.commit, now.files[listing.file].sha256 or sha256_of(got[-1]))
        return Place(_root(got[-1], listing.file), now.commit)


def bill(repo: str, revision: str | None = None, *, listing: Listing | None = None, token: str | None = None) -> Bill:
    """What fetching would come to; nothing is kept, and of weights nothing is fetched. Raises as ``fetch``."""
    with told(repo, revision), tempfile.TemporaryDirectory() as passing:
        _refuse_offline(repo, revision)
        now = _snapshot(repo, revision or MAIN, token, time.sleep)
        brief = replace(now, cache=Path(passing))
        names = (*listing.beside, listing.file) if listing else needed(spoken(repo, revision), now.files, brief.read)
        extra = () if listing else [name for name in telling(now.files) if name not in names]
        stated = {name: now.files.get(name, Stated()) for name in (*extra, *names)}
        return Bill(now.commit, tuple((name, of.bytes, now.held(name) is not None) for name, of in stated.items()))


@contextmanager
def peek(repo: str, revision: str | None = None) -> Iterator[Look]:
    """A folder with all that a model needs but its weights, for as long as one looks at it. Raises as ``fetch``.

    Where weights should be is an empty file. From the cache where the model is in it.
    """
    revision = revision or MAIN
    here = _here(repo, revision)
    if here and (_is_offline() or is_commit(revision)):
        yield Look(*here, passing=False)
        return
    with tempfile.TemporaryDirectory() as passing:
        try:
            with told(repo, revision):
                place = _without_weights(repo, revision, here, Path(passing))
        except UnreachableError:
            if here is None:
                raise
            place = Look(*here, passing=False)
        yield place


def _without_weights(repo: str, revision: str, here: Place | None, passing: Path) -> Look:
    _refuse_offline(repo, revision)
    now = replace(_snapshot(repo, revision, None, time.sleep), cache=passing)
    if here and here.commit == now.commit:
        return Look(*here, passing=False)
    *names, weights = needed(spoken(repo, revision), now.files, now.read)
    folders = [_root(now.get(name), name) for name in names]
    folder = folders[0]
    (folder / weights).parent.mkdir(parents=True, exist_ok=True)
    (folder / weights).touch()
    return Look(folder, now.commit, True)


def _is_offline() -> bool:
    from huggingface_hub import is_offline_mode

    return is_offline_mode()


def _refuse_offline(repo: str, revision: str | None) -> None:
    if _is_offline():
        name = spoken(repo, revision)
        raise ModelError(
            f"Model {name} is not on this machine, neither a folder nor in the Hub's cache, and --offline or "
            f"HF_HUB_OFFLINE is set; run once without: restorer models download {name}."
        )


def _snapshot(repo: str, revision: str | None, token: str | None, sleep: Sleep) -> Snapshot:
    """What the Hub tells, asked with a limit of time: the client's own first question may wait for minutes."""
    from huggingface_hub import HfApi

    hush()
    api = HfApi(library_name="restorer", library_version=__version__, token=token)
    ask = partial(api.model_info, repo, revision=revision, files_metadata=True, timeout=PATIENCE)
    told = patiently(ask, sleep)
    files = {
        file.rfilename: Stated(file.size, file.lfs.sha256 if file.lfs else None, None if file.lfs else file.blob_id)
        for file in told.siblings or ()
    }
    return Snapshot(api, repo, told.sha, files, sleep)


def _here(repo: str, revision: str) -> Place | None:
    """The revision as it was last seen, if all that its model needs is in the cache, and is what it was."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    for name in (CONFIG, f"{UNET}/{CONFIG}"):
        with suppress(ModelError, HFValidationError):
            file = try_to_load_from_cache(repo, name, revision=revision)
            if isinstance(file, str):
                folder = _root(file, name)
                names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
                if _is_whole(folder, needed(repo, names, lambda name, folder=folder: read_json(folder / name))):
                    return Place(folder, folder.name)
    return None


def _is_whole(folder: Path, names: tuple[str, ...]) -> bool:
    """Whether each large file has the sha256 that the cache keeps it under; another program may have fetched it."""
    for name in names:
        kept = (folder / name).resolve()
        if len(kept.name) == 64 and sha256_of(kept) != kept.name:
            log.warning("%s is damaged, and is fetched again.", folder / name)
            _drop(folder / name)
            return False
    return True


def _listed_here(listing: Listing, commit: str) -> Place | None:
    """The folder of a model of the catalogue, if it is here and is what was pinned."""
    from huggingface_hub import try_to_load_from_cache

    names = (*listing.beside, listing.file)
    found = [try_to_load_from_cache(listing.repo, name, revision=commit) for name in names]
    if not all(isinstance(file, str) for file in found):
        return None
    folder = _root(found[-1], names[-1])
    _, sha256 = pinned(listing)
    if sha256_of(Path(found[-1])) != sha256:
        log.warning("%s is damaged, and is fetched again.", found[-1])
        _drop(Path(found[-1]))
        return None
    return Place(folder, commit)


def _drop(file: Path) -> None:
    """A file of the cache and what it points to."""
    with suppress(OSError):
        file.resolve().unlink()
    with suppress(OSError):
        file.unlink(missing_ok=True)


def _root(file: str | Path, name: str) -> Path:
    """The folder in which a file has this name."""
    return Path(file).parents[name.count("/")]


def read_json(file: Path) -> dict[str, Any]:
    """A table. Raises ``ModelError``."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file}: is no JSON: {error}.") from error
    if not isinstance(data, dict):
        raise ModelError(f"{file}: is no table of keys.")
    return data


def check_safe(where: str, weights: str) -> None:
    """Raises ``ModelError`` for weights in a form that can hold code."""
    if not weights.endswith(SAFE):
        raise ModelError(
            f"{where}: its weights are in {weights}, a kind of file that can hold code; it runs once it is converted: "
            f"restorer models convert {where} --from diffusers -o FOLDER."
        )


def patiently(ask: Callable[[], T], sleep: Sleep = time.sleep) -> T:
    """What ``ask`` gives, asked again where what it met may pass."""
    for pause in PAUSES:
        try:
            return ask()
        except Exception as error:  # see faults
            if not may_pass(error):
                raise
        sleep(pause)
    return ask()
