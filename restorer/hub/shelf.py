"""What of the Hub is on this machine: models of the catalogue, and others that were fetched. Asks nobody."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from restorer.errors import ModelError
from restorer.hub.address import Address, spoken
from restorer.hub.catalog import Listing, catalog, pinned
from restorer.hub.home import hub_cache, kept
from restorer.hub.layout import CONFIG, UNET, needed


class Kept(NamedTuple):
    """A model of the Hub that is here, and not of the catalogue: OWNER/REPO, the commit, and its folder."""

    repo: str
    commit: str
    folder: Path


def is_here(listing: Listing) -> bool:
    """Whether a model of the catalogue is on this machine, as it was pinned or noted."""
    commit, _ = pinned(listing)
    if commit is None:
        return False
    snapshot = _repo_folder(listing.repo) / "snapshots" / commit
    return all((snapshot / name).is_file() for name in (*listing.beside, listing.file))


def others() -> Iterator[Kept]:
    """Models of the Hub that are here and can be used, and are not of the catalogue, in order of name."""
    from restorer.hub.folder import read_json

    known = {listing.repo for listing in catalog().values()}
    for folder in sorted(hub_cache().glob("models--*--*/snapshots/*")):
        repo = folder.parents[1].name.removeprefix("models--").replace("--", "/", 1)
        if repo in known or not ((folder / CONFIG).is_file() or (folder / UNET / CONFIG).is_file()):
            continue
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        try:
            needed(repo, names, lambda name, folder=folder: read_json(folder / name))
        except ModelError:
            continue
        yield Kept(repo, folder.name, folder)


class Removal(NamedTuple):
    """What ``remove`` would free: bytes, and the folders."""

    bytes: int
    folders: tuple[Path, ...]


def removal(place: Address, listing: Listing | None = None) -> Removal:
    """What is kept of a repository, or of one revision of it. Raises ``ModelError`` when that is nothing."""
    found = next((repo for repo in _scan() if repo.repo_id == place.repo and repo.repo_type == "model"), None)
    wanted = [] if found is None else [one for one in found.revisions if _is_meant(place.revision, one)]
    own = kept("models", listing.name) if listing else None
    folders = [revision.snapshot_path for revision in wanted] + ([own] if own and own.is_dir() else [])
    if not folders:
        raise ModelError(f"{spoken(*place)} is not on this machine, so there is nothing to remove.")
    freed = _plan(place, wanted).expected_freed_size if wanted else 0
    freed += sum(file.stat().st_size for file in own.rglob("*") if file.is_file()) if own else 0
    return Removal(freed, tuple(folders))


def remove(place: Address, listing: Listing | None = None) -> Removal:
    """Remove it. Raises ``ModelError``, also where the folder may not be changed."""
    told = removal(place, listing)
    found = next((repo for repo in _scan() if repo.repo_id == place.repo and repo.repo_type == "model"), None)
    try:
        wanted = [] if found is None else [one for one in found.revisions if _is_meant(place.revision, one)]
        if wanted:
            _plan(place, wanted).execute()
        if listing:
            for own in (kept("models", listing.name), kept("pins", f"{listing.name}.json")):
                shutil.rmtree(own) if own.is_dir() else own.unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(f"{spoken(*place)} cannot be removed: {error}.") from error
    left = [folder for folder in told.folders if folder.exists()]
    if left:
        raise ModelError(f"{spoken(*place)} cannot be removed: {left[0]} stays; check who may change that folder.")
    return told


def _scan():
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return scan_cache_dir(hub_cache()).repos
    except CacheNotFound:
        return frozenset()


def _plan(place: Address, wanted):
    from huggingface_hub import scan_cache_dir

    return scan_cache_dir(hub_cache()).delete_revisions(*(one.commit_hash for one in wanted))


def _is_meant(revision: str | None, kept) -> bool:
    return revision is None or revision == kept.commit_hash or revision in kept.refs


def _repo_folder(repo: str) -> Path:
    return hub_cache() / f"models--{repo.replace('/', '--')}"
