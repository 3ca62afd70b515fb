"""Models of the catalogue whose weights are pickles: converted once, and kept as safetensors beside the Hub's cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from restorer.convert import ddim_files, diffusers_folder, official
from restorer.convert.wishes import Converted, Wishes
from restorer.errors import ModelError, RestorerError
from restorer.hub.catalog import Listing
from restorer.hub.home import kept
from restorer.load import CARD, local


def converted(listing: Listing, folder: Path, commit: str) -> Path:
    """The model folder of a listing's weights, which are in ``folder``; written if it is not here yet.

    Several processes at once write it once. Raises ``ModelError``.
    """
    from huggingface_hub.utils import WeakFileLock

    place = kept("models", listing.name, commit)
    if (place / CARD).exists():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(place.with_suffix(".lock")):
            if not (place / CARD).exists():
                official.write(place, _read(listing, folder))
    except OSError as error:
        raise ModelError(
            f"{listing.name} cannot be kept in {place}: {error.strerror}; set HF_HOME to another folder."
        ) from error
    except RestorerError as error:
        raise ModelError(f"{listing.name} of {listing.repo} cannot be converted: {error}") from error
    return place


def _read(listing: Listing, folder: Path) -> Converted:
    wishes = Wishes(name=listing.name, license=listing.license, preset=listing.preset)
    if listing.source is None:
        made = diffusers_folder.converted(local(folder, listing.name, pickled=True), wishes)
    else:
        made = SOURCES[listing.source](folder / listing.file, wishes)
    return replace(made, entry=replace(made.entry, data=listing.data))


SOURCES = {"ddim": ddim_files.read}
"""``source`` of a listing -> what reads its file."""
