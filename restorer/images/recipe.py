"""The recipe: what made a picture, recorded in the picture itself.

Where it goes is a column of `FORMATS`: a PNG text chunk named ``restorer``; the XMP packet of JPEG, WebP, TIFF and
AVIF, beside what the packet already holds. BMP and netpbm have no place for text; for them, and wherever it is asked
for, a file ``<picture>.json`` holds it, with the picture's SHA-256, so that it never speaks for another picture of that
name.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from restorer.errors import ImageError
from restorer.images import pillow, png, xmp
from restorer.images.atomic import write_bytes
from restorer.images.formats import FORMATS, sniff
from restorer.images.read import FAULTS
from restorer.images.stored import Stored

LIMIT = 64 * 1024
"""The most bytes of JSON in a recipe, when it is written and when it is read."""
VERSIONS = ("restorer", "torch")
"""Keys that say what it was made with."""
HOW = ("tile", "overlap", "compiled", "retried", "drawn")
"""Keys that say how a picture was computed, which changes no more of it than rounding does, or what the others drew."""


def embed(stored: Stored, format: str, recipe: Mapping | None) -> Stored:
    """``stored`` with the recipe where ``format`` has its place, and without any recipe that it came with.

    None records nothing; so does a format whose place is a file beside it. Raises `ImageError` for one over `LIMIT`.
    """
    bare = replace(stored, xmp=xmp.without_recipe(stored.xmp), recipe=None)
    if recipe is None:
        return bare
    if FORMATS[format].recipe == "chunk":
        return replace(bare, recipe=_dump(recipe))
    if FORMATS[format].recipe == "xmp":
        return replace(bare, xmp=xmp.with_recipe(bare.xmp, _dump(recipe)))
    return bare


def read_recipe(path: Path) -> dict | None:
    """The recipe recorded in the picture at ``path`` (or beside it), or None.

    None also for a missing, foreign, broken or hostile file, and for a recipe over `LIMIT`: nothing is raised.
    """
    path = Path(path)
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        data = path.read_bytes()
        format = sniff(data)
        if format is None:
            return None
        has_place = format in FORMATS and FORMATS[format].recipe != "sidecar"
        inside = _load(_text(data, format)) if has_place else None
        return inside or _beside(path, data)
    except FAULTS:
        return None


def same_recipe(recorded: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    """Whether a picture was made as wanted.

    Other versions make no difference, nor does how it was computed (``HOW``) unless that is asked for.
    """
    if recorded is None:
        return False
    unasked = {*VERSIONS, *(key for key in HOW if key not in wanted)}
    return {key: value for key, value in recorded.items() if key not in unasked} == {
        key: value for key, value in wanted.items() if key not in VERSIONS
    }


def write_beside(path: Path, data: bytes, recipe: Mapping) -> None:
    """Record ``recipe`` for the picture whose bytes are ``data`` in ``<path>.json``.

    Raises `ImageError` when it cannot be written, or when a file of that name exists that is no recipe.
    """
    check_beside(path)
    content = {"restorer": json.loads(_dump(recipe)), "sha256": hashlib.sha256(data).hexdigest()}
    write_bytes(beside(path), (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def forget_beside(path: Path) -> None:
    """Take away what `write_beside` recorded for an earlier picture at ``path``; any other file stays."""
    place = beside(path)
    if _is_record(place):
        place.unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """Where the recipe of a picture goes whose format has no place for it."""
    return path.with_name(path.name + ".json")


def check_beside(path: Path) -> None:
    """Raise `ImageError` when recording beside ``path`` would overwrite a file that is not a recipe."""
    place = beside(path)
    if place.exists() and not _is_record(place):
        raise ImageError(f"{place} exists and is no recipe of restorer; move it away, or use --record none.")


def _is_record(place: Path) -> bool:
    try:
        content = _load(place.read_text("utf-8"), 2 * LIMIT)
    except (OSError, ValueError):
        return False
    return content is not None and set(content) == {"restorer", "sha256"}


def _beside(path: Path, data: bytes) -> dict | None:
    place = beside(path)
    content = (_load(place.read_text("utf-8"), 2 * LIMIT) if place.is_file() else None) or {}
    recipe = content.get("restorer")
    current = content.get("sha256") == hashlib.sha256(data).hexdigest()
    return recipe if current and isinstance(recipe, dict) else None


def _text(data: bytes, format: str) -> str | None:
    if format == "png":
        return png.metadata(list(png.chunks(data)))["recipe"]
    if format == "tiff":
        from restorer.images import tiff  # here, as tifffile is for these files alone

        return xmp.recipe_text(tiff.header_xmp(data))
    return xmp.recipe_text(pillow.header_xmp(data, format))


def _dump(recipe: Mapping) -> str:
    text = json.dumps(dict(recipe), sort_keys=True, separators=(",", ":"), allow_nan=False)
    if len(text) > LIMIT:
        raise ImageError(f"The recipe takes {len(text)} bytes, more than {LIMIT}; use --record none.")
    return text


def _load(text: str | None, limit: int = LIMIT) -> dict | None:
    """The JSON object in a text, or None. Raises ValueError or RecursionError when it is no JSON."""
    if text is None or len(text) > limit:
        return None
    content = json.loads(text)
    return content if isinstance(content, dict) else None
