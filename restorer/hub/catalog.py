"""Models of the Hub that are known by name: ``models/catalog/*.json``, read as ``Listing``. stdlib only.

A listing is pinned when its commit and its weights' sha256 are known. One that is not is taken as the Hub has it at the
first use, noted, and from then on that commit and those weights are meant.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from restorer import entry
from restorer.entry import GENERATE, parse
from restorer.errors import ModelError, UsageError
from restorer.hub.address import Address, address, is_commit
from restorer.hub.home import note, recall


@dataclass(frozen=True)
class Listing:
    """A model of the Hub: where it is, what proves it, and what is known of it.

    ``revision``: the commit; ``file``: the weights; ``beside``: other files that it needs; ``source``: None for the
    layout of diffusers, else what ``restorer models convert --from`` takes it for, by its ``preset``. ``megabytes``:
    about so large is the file, where ``bytes`` is not known. ``good_for``: a sentence on what it is of use for.
    """

    name: str
    repo: str
    file: str
    license: str
    data: str
    good_for: str
    trained: int
    megabytes: float
    revision: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    beside: tuple[str, ...] = ()
    source: str | None = None
    preset: str | None = None
    task: str = GENERATE
    method: str = "ddpm"

    def __post_init__(self) -> None:
        if address(self.repo) != Address(self.repo):
            raise UsageError(f"repo must be OWNER/REPO, not {self.repo!r}.")
        if self.revision is not None and not is_commit(self.revision):
            raise UsageError(f"revision must be a commit of 40 hex digits, not {self.revision!r}.")
        if self.sha256 is not None and (len(self.sha256) != 64 or set(self.sha256) - set("0123456789abcdef")):
            raise UsageError(f"sha256 must be 64 hex digits, not {self.sha256!r}.")

    @property
    def is_pinned(self) -> bool:
        """Whether the catalogue alone proves the model."""
        return self.revision is not None and self.sha256 is not None

    @property
    def size(self) -> float:
        """Bytes of the weights, about."""
        return self.bytes or self.megabytes * 1e6


def catalog() -> dict[str, Listing]:
    """Name -> listing, in order of name. Raises ``ModelError`` for a file that cannot be understood."""
    return {listing.name: listing for listing in map(_read, sorted((entry.models_folder() / "catalog").glob("*.json")))}


def listed(model: str) -> Listing | None:
    """The listing of a name, of OWNER/REPO, or of OWNER/REPO@REVISION with the commit that it is pinned to, if any.

    Raises ``ModelError`` for a repository of which several models are listed.
    """
    known = catalog()
    if model in known:
        return known[model]
    place = address(model)
    if place is None:
        return None
    same = [one for one in known.values() if one.repo == place.repo and place.revision in (None, one.revision)]
    if len(same) > 1:
        names = " or ".join(one.name for one in same)
        raise ModelError(f"{model} holds several models; name the one that is meant: {names}.")
    return same[0] if same else None


def pinned(listing: Listing) -> tuple[str | None, str | None]:
    """The commit and the sha256 of the weights, by the catalogue or as noted at the first use; None: not known yet."""
    noted = {} if listing.is_pinned else recall("pins", f"{listing.name}.json")
    revision, sha256 = noted.get("revision"), noted.get("sha256")
    if not (isinstance(revision, str) and is_commit(revision) and isinstance(sha256, str)):
        revision, sha256 = None, None
    return listing.revision or revision, listing.sha256 or sha256


def record(listing: Listing, revision: str, sha256: str) -> None:
    """Note what a listing that is not pinned was at its first use."""
    note({"repo": listing.repo, "revision": revision, "sha256": sha256}, "pins", f"{listing.name}.json")


def _read(file: Path) -> Listing:
    try:
        listing = parse(Listing, json.loads(file.read_text(encoding="utf-8")), "catalogue")
    except (OSError, ValueError, RecursionError, UsageError) as error:
        raise ModelError(f"{file}: no listing of the catalogue: {error}") from error
    if listing.name != file.stem:
        raise ModelError(f"{file}: lists {listing.name!r}; the file's name must be the same.")
    return listing
