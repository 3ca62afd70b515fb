"""A model folder -> a repository of the Hugging Face Hub: what goes up, and the proof that it may.

Nothing is sent before all is checked, and all goes up in one commit: a repository has the whole model or nothing of it.
The folder stays as it is; what is made for the Hub is made in memory. huggingface_hub is imported by functions only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import torch

from restorer import __version__, hub
from restorer.card import LIBRARY, MARK, PICTURE, README, UNKNOWN, licence_words, notes_of, readme
from restorer.entry import Entry, hash_file
from restorer.errors import ModelError, UsageError
from restorer.load import CARD, find, load

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

SUMS = "SHA256SUMS"
TOP = (CARD, "train.toml", "LICENSE", PICTURE, "model_index.json")
FOLDERS = ("credits", "test", "unet", "scheduler")
"""What goes up besides the weights, as far as it is there; README.md and SHA256SUMS are made."""
SAFE = (
    *("", ".csv", ".json", ".md", ".safetensors", ".toml", ".txt"),
    *(".avif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
)
"""How names in the folders may end: nothing that runs when it is opened."""


class Upload(NamedTuple):
    """A file that goes up. ``content``: where it is, or what is in it."""

    name: str
    content: Path | bytes
    bytes: int
    sha256: str


class Offer(NamedTuple):
    """What would go up to OWNER/REPO, and the names of what stays behind."""

    repo: str
    files: tuple[Upload, ...]
    left: tuple[str, ...]


class Published(NamedTuple):
    """Where a model is now: OWNER/REPO, the commit, its page, and the pull request's where one was opened."""

    repo: str
    commit: str
    url: str
    pull_request: str | None


def offer(folder: Path, repo: str) -> Offer:
    """All that goes up of the model in ``folder``, checked; nobody is asked.

    Raises ``UsageError`` for what is no OWNER/REPO, ``ModelError`` for what is no whole model of ours, and for one
    whose card does not say what a stranger must know.
    """
    _check_repo(repo)
    root = folder.expanduser().resolve()
    entry, weights = _model(root, folder)
    there = [name for name in _files(root) if name not in (README, SUMS)]
    names = [weights, *(name for name in there if name != weights and _goes_up(name))]
    for name in (*names, README):
        if not (root / name).resolve().is_relative_to(root):
            raise ModelError(f"{folder / name} links out of the model's folder; put the file itself there.")
    text, problem = _readme(root, entry, repo)
    _check_told(folder, entry, problem)
    files = [*(_upload(name, root / name) for name in names), _upload(README, text)]
    return Offer(repo, _with_sums(files), tuple(name for name in there if name not in names))


def foresee(repo: str, told: Mapping[str, str], measured: bool) -> None:
    """Whether a model that is still to be made could go up, by what is ``told`` of it under the names of its recipe.

    Raises ``UsageError``: better before a long training than after it.
    """
    _check_repo(repo)
    missing = [key for key, value in told.items() if value.strip().lower() in ("", UNKNOWN)]
    if missing:
        keys = " ".join(f"--set {key}=..." for key in missing)
        raise UsageError(f"{repo}: a model is published with its licence, source and data; add {keys}.")
    if not measured:
        raise UsageError(f"{repo}: a model is published with a measured score; give validation pictures, DATA/val.")


def publish(
    offered: Offer,
    *,
    private: bool = False,
    message: str | None = None,
    create_pr: bool = False,
    token: str | None = None,
    bars: bool = False,
) -> Published:
    """Make the repository unless it is there, and put the files into it in one commit.

    ``create_pr``: the commit is a pull request's. ``token``: None takes the client's own. ``bars``: the client shows
    its own on standard error.
    Raises ``UsageError`` offline, ``ModelError`` where the Hub refuses, cannot be reached, or fails.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, is_offline_mode

    if is_offline_mode():
        raise UsageError("--offline or HF_HUB_OFFLINE is set, and publishing needs the Hub; leave it out.")
    api = HfApi(library_name=LIBRARY, library_version=__version__, token=token or None)
    repo = offered.repo
    shown = nullcontext() if bars else _without_bars()
    try:
        added = [CommitOperationAdd(file.name, file.content) for file in offered.files]
        _check_unchanged(offered, added)
        api.create_repo(repo, exist_ok=True, private=private or None)
        if private and not api.model_info(repo).private:
            raise ModelError(f"{repo} is there already, for everybody: make it private on its page, or omit --private.")
        said = message or f"Publish with restorer {__version__}"
        with shown:
            done = api.create_commit(repo, added, commit_message=said, create_pr=create_pr)
    except ModelError:
        raise
    except Exception as error:  # what the client raises has no base of its own
        raise ModelError(_sentence(error, repo)) from error
    return Published(repo, done.oid, str(done.commit_url), done.pr_url)


@contextmanager
def _without_bars() -> Iterator[None]:
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _check_repo(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)  # which takes a name without an owner
        place = hub.address(repo)
    except HFValidationError:
        place = None
    if place is None:
        raise UsageError(f"{repo!r} is no OWNER/REPO of the Hub; write it as you/your-model.")


def _model(root: Path, folder: Path) -> tuple[Entry, str]:
    """The card and the weights' file of a folder of ours whose model was loaded once. Raises ``ModelError``."""
    if not root.is_dir():
        raise ModelError(f"{folder}: no such folder; give the one that holds a model's {CARD}.")
    found = find(str(root))
    if found.read is not None:
        raise ModelError(f"{folder}: a folder of diffusers has no card; run restorer convert-ddim {folder} OUT first.")
    if found.weights.suffix != ".safetensors":
        raise ModelError(f"{folder}: the weights are in {found.weights.name}; only .safetensors are published.")
    load(found, torch.device("cpu"), torch.float32)
    return found.entry, found.weights.relative_to(root).as_posix()


def _check_told(folder: Path, entry: Entry, problem: str | None) -> None:
    """Raises ``ModelError`` that names all that is missing at once."""
    missing = [key for key in ("license", "source", "data") if getattr(entry, key).strip().lower() in ("", UNKNOWN)]
    missing += [] if entry.expect else ["expect, a measured score"]
    problems = [f"{CARD} does not say {'; '.join(missing)}"] if missing else []
    problems += [problem] if problem else []
    if problems:
        raise ModelError(f"{folder} is not published: {'. '.join(problems)}.")


def _readme(root: Path, entry: Entry, repo: str) -> tuple[bytes, str | None]:
    """README.md as it goes up, and what is wrong with one that is not ours."""
    file = root / README
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else MARK
    if MARK in text:
        picture = (root / PICTURE).is_file()
        return readme(entry, notes_of(text), model=repo, picture=picture).encode(), None
    wanted = {"library_name": LIBRARY, **licence_words(entry)}
    said = _front_matter(file)
    wrong = [f"{key}: {value}" for key, value in wanted.items() if str(said.get(key, "")).lower() != value.lower()]
    if not wrong:
        return file.read_bytes(), None
    return b"", f"{README} must say {', '.join(wrong)} between its lines of ---; or remove it, and one is written"


def _front_matter(file: Path) -> dict[str, object]:
    """The YAML of a card; nothing where there is none that can be read."""
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    try:
        return metadata_load(file) or {}
    except (ValueError, YAMLError):
        return {}


def _files(root: Path) -> Iterator[str]:
    """Names of the files in a folder; nothing hidden."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if not any(part.startswith(".") for part in name.parts) and (path.is_file() or path.is_symlink()):
            yield name.as_posix()


def _goes_up(name: str) -> bool:
    path = PurePosixPath(name)
    return name in TOP or (path.parts[0] in FOLDERS and path.suffix.lower() in SAFE)


def _upload(name: str, content: Path | bytes) -> Upload:
    if isinstance(content, bytes):
        return Upload(name, content, len(content), hashlib.sha256(content).hexdigest())
    try:
        return Upload(name, content, content.stat().st_size, hash_file(content))
    except OSError as error:
        raise ModelError(f"{content}: cannot be read: {error.strerror}.") from error


def _with_sums(files: list[Upload]) -> tuple[Upload, ...]:
    """The files and SHA256SUMS, which ``sha256sum -c`` reads, in order of name."""
    lines = "".join(f"{file.sha256}  {file.name}\n" for file in sorted(files))
    return tuple(sorted([*files, _upload(SUMS, lines.encode())]))


def _check_unchanged(offered: Offer, added: list[CommitOperationAdd]) -> None:
    """Raises ``ModelError`` when a file is no longer the one that was checked: training may still write."""
    for file, one in zip(offered.files, added, strict=True):
        if one.upload_info.sha256.hex() != file.sha256:
            raise ModelError(f"{file.content} changes; wait until nothing writes it any more, and run this again.")


def _sentence(error: BaseException, repo: str) -> str:
    """What to tell of an error of the client, and what to do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx

    while isinstance(error, RuntimeError) and error.__cause__:  # of a file that failed, the client tells the name only
        error = error.__cause__
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        said = f"{status}{f', {error.server_message}' if error.server_message else ''}"
        if status in (401, 403, 404):
            return (
                f"The Hub does not let you write to {repo} ({said}): set HF_TOKEN to a token that may write there, or "
                "run: hf auth login."
            )
        return f"The Hub did not take {repo} ({said}); run this again, what is there already is not sent twice."
    if isinstance(error, httpx.TransportError):
        reason = (str(error) or type(error).__name__).rstrip(".")
        return f"{repo} is not published: {constants.ENDPOINT} cannot be reached: {reason}; check network and proxy."
    return f"{repo} is not published: {type(error).__name__}: {str(error).rstrip('.')}."
