"""What ``restorer models download`` does with a name: fetch the model whole, say what it comes to, or copy it."""

from __future__ import annotations

import shutil
from pathlib import Path

from restorer.entry import embedded
from restorer.errors import ModelError, UsageError
from restorer.hub.address import Address, address
from restorer.hub.catalog import listed, pinned
from restorer.hub.folder import Bill, bill, fetch, fetch_listed
from restorer.hub.layout import SAFE


def bring(model: str, token: str | None = None) -> Path:
    """The folder of a model on this machine, which runs from now on without network.

    Of a repository everything comes that tells of its model, too. Raises ``ModelError``.
    """
    if model in embedded():
        return embedded()[model]
    listing = listed(model)
    if listing is None:
        return fetch(*_address(model), whole=True, token=token).folder
    folder, commit = fetch_listed(listing, token=token)
    if listing.file.endswith(SAFE):
        return folder
    from restorer.convert.kept import converted  # loads torch, which nothing else here needs

    return converted(listing, folder, commit)


def bill_of(model: str, token: str | None = None) -> Bill:
    """What ``bring`` would fetch. Raises ``ModelError``."""
    if model in embedded():
        return Bill("none", ())
    listing = listed(model)
    if listing is None:
        return bill(*_address(model), token=token)
    return bill(listing.repo, pinned(listing)[0], listing=listing, token=token)


def copy_to(place: Path, model: str, folder: Path) -> Path:
    """A copy of a model's folder in ``place``, whole or not at all; the files themselves, where the cache has links.

    Raises ``UsageError`` where something is there, or nothing can be written.
    """
    wanted = place / model.partition("@")[0].rpartition("/")[2]
    if wanted.exists():
        raise UsageError(f"{wanted} is there already; remove it, or name another --local-dir.")
    unfinished = place / f".{wanted.name}.unfinished"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(folder, unfinished, symlinks=False)
        unfinished.replace(wanted)
    except OSError as error:
        raise UsageError(f"{wanted} cannot be written: {error.strerror or error}; choose another folder.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return wanted


def _address(model: str) -> Address:
    place = address(model)
    if place is None:
        raise ModelError(f"No model {model!r}: no name of the catalogue, and no OWNER/REPO[@REVISION] of the Hub.")
    return place
