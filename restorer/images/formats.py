"""The picture formats, as a table: what each one can carry, and how a file of it begins.

A line here plus a reader in ``read.py`` and a writer in ``write.py`` is a new format.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Format:
    """What a file format can hold. ``suffixes[0]`` is the usual one; ``recipe`` is where a recipe goes."""

    suffixes: tuple[str, ...]
    alpha: bool
    deep: bool  # 16 bits a channel
    recipe: Literal["chunk", "xmp", "sidecar"]
    lossy: bool = False


FORMATS: dict[str, Format] = {
    "png": Format((".png",), alpha=True, deep=True, recipe="chunk"),
    "jpg": Format((".jpg", ".jpeg", ".jpe", ".jfif"), alpha=False, deep=False, recipe="xmp", lossy=True),
    "webp": Format((".webp",), alpha=True, deep=False, recipe="xmp", lossy=True),
    "tiff": Format((".tif", ".tiff"), alpha=True, deep=True, recipe="xmp"),
    "avif": Format((".avif",), alpha=True, deep=False, recipe="xmp", lossy=True),
    # Pillow writes 32-bit BMP without saying that the fourth byte is alpha, so readers drop it.
    "bmp": Format((".bmp", ".dib"), alpha=False, deep=False, recipe="sidecar"),
    "ppm": Format((".ppm", ".pgm", ".pnm", ".pbm"), alpha=False, deep=True, recipe="sidecar"),
}

_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_BY_SUFFIX = {suffix: name for name, form in FORMATS.items() for suffix in form.suffixes}

WRITTEN: frozenset[str] = frozenset(_BY_SUFFIX)
"""Every file name ending that is read and written, in lower case with its dot."""

SUFFIXES: frozenset[str] = WRITTEN | {".heic", ".heif", ".hif"}
"""Every one that is read."""


def format_of(path: Path) -> str | None:
    """The format that a file name asks for by its ending, or None for an ending that is in no row of `FORMATS`."""
    return _BY_SUFFIX.get(path.suffix.lower())


def sniff(data: bytes) -> str | None:
    """The format of these bytes by their beginning, whatever the file is called; None when it is none of ours."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if data[4:8] == b"ftyp" and any(brand in data[8:64] for brand in (b"avif", b"avis")):
        return "avif"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF:
        return "heic"
    if data[:2] == b"BM":
        return "bmp"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3] in b" \t\r\n#":
        return "ppm"
    return None
