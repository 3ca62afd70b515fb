"""`Picture` -> file: the depth, channels, profile and metadata that the picture came with, written all or nothing."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from restorer.errors import ImageError, unknown
from restorer.images import netpbm, pillow, png, xmp
from restorer.images.atomic import write_bytes
from restorer.images.formats import FORMATS, format_of
from restorer.images.picture import Picture, from_levels, to_levels
from restorer.images.recipe import check_beside, embed, forget_beside, write_beside
from restorer.images.stored import Stored

Bits = Literal["auto", 8, 16]

_FAULTS = (OSError, SyntaxError, ValueError, RuntimeError, OverflowError, MemoryError, struct.error, Warning)
_JPEG_XMP = 65000  # bytes in one JPEG segment, less its own header


def output_format(picture: Picture, format: str = "auto", bits: Bits = "auto") -> str:
    """The format in which ``picture`` is written: a key of `FORMATS`.

    A named format stands, even where it loses something. ``auto`` keeps the picture's own, and goes to PNG where that
    one cannot carry its alpha or its 16 bits. Raises `UsageError` for an unknown name.
    """
    if format != "auto":
        if format not in FORMATS:
            raise unknown("format", format, [*FORMATS, "auto"])
        return format
    own = FORMATS.get(picture.format)
    deep = (picture.bits if bits == "auto" else bits) == 16
    if own is None or (deep and not own.deep) or (picture.alpha is not None and not own.alpha):
        return "png"
    return picture.format


def write(
    picture: Picture,
    path: Path,
    *,
    format: str = "auto",
    quality: int = 95,
    bits: Bits = "auto",
    metadata: bool = True,
    recipe: Mapping | None = None,
) -> None:
    """Write ``picture`` to ``path``, through a hidden file beside it that is moved over ``path`` when complete.

    With ``auto``, the ending of ``path`` decides the format; a name that ends in none of ours takes `output_format`.
    The other arguments are those of `encode`. Where the format has no place for a recipe, it goes to ``<path>.json``.
    Raises `ImageError`; then no part is left behind, and a file that was at ``path`` is as it was, unless it is the
    recipe alone that could not be written.
    """
    path = Path(path)
    form = (format_of(path) if format == "auto" else None) or output_format(picture, format, bits)
    has_record = FORMATS[form].recipe == "sidecar"
    if has_record and recipe is not None:
        check_beside(path)
    data = encode(picture, format=form, quality=quality, bits=bits, metadata=metadata, recipe=recipe)
    write_bytes(path, data)
    if has_record and recipe is None:
        forget_beside(path)
    elif has_record:
        write_beside(path, data, recipe)


def encode(
    picture: Picture,
    *,
    format: str = "auto",
    quality: int = 95,
    bits: Bits = "auto",
    metadata: bool = True,
    recipe: Mapping | None = None,
) -> bytes:
    """The bytes of ``picture`` as a file; the same arguments give the same bytes.

    quality   1 to 100, for JPEG, WebP and AVIF; 100 is lossless in WebP
    bits      depth a channel; ``auto`` keeps the picture's own, or 8 where the format has no more
    metadata  False leaves out EXIF, XMP and resolution; the colour profile stays, since pixels mean nothing without it
    recipe    recorded inside the file, for the formats that have a place for it

    Alpha in a format without it (JPEG, BMP, PPM, when named) is laid over white. Raises `ImageError` for values that
    are not finite, 16 bits where the format has 8, and whatever the format cannot hold.
    """
    form = output_format(picture, format, bits)
    if not 1 <= quality <= 100:
        raise ImageError(f"The quality is {quality}; give a whole number from 1 to 100.")
    if bits == 16 and not FORMATS[form].deep:
        raise ImageError(f"{form} holds 8 bits a channel, not 16; use png or tiff.")
    stored = embed(_stored(picture, form, _depth(picture, form, bits), metadata), form, recipe)
    if form == "jpg" and stored.xmp and len(stored.xmp) > _JPEG_XMP:
        stored = replace(stored, xmp=xmp.without_padding(stored.xmp))
    try:
        return _WRITERS[form](stored, quality)
    except _FAULTS as fault:
        width, height = picture.size
        raise ImageError(
            f"This picture of {width} x {height} pixels cannot be written as {form} ({fault}); use png, "
            "or leave out its metadata."
        ) from fault


def as_written(picture: Picture, *, format: str = "auto", bits: Bits = "auto") -> Tensor:
    """The colours that a file of ``picture`` holds: (1, 3, H, W) float32 in [0, 1], rounded to the file's levels.

    Grey is averaged, and alpha laid over white, as the format needs it. Of a lossy format these are the pixels before
    it loses anything. The arguments are those of `encode`, and so is what is raised.
    """
    form = output_format(picture, format, bits)
    levels = _stored(picture, form, _depth(picture, form, bits), metadata=False).samples
    colours = levels[:, :, :3] if levels.shape[2] >= 3 else levels[:, :, :1].repeat(3, axis=2)
    return torch.from_numpy(from_levels(colours)).permute(2, 0, 1)[None].contiguous()


def _depth(picture: Picture, form: str, bits: Bits) -> int:
    return (picture.bits if bits == "auto" else bits) if FORMATS[form].deep else 8


def _stored(picture: Picture, format: str, bits: int, metadata: bool) -> Stored:
    values = picture.pixels.numpy(force=True)[0].transpose(1, 2, 0)
    if picture.grey:
        values = values.mean(axis=2, keepdims=True)
    alpha = None if picture.alpha is None else picture.alpha.numpy(force=True)[0].transpose(1, 2, 0)
    if alpha is not None and not FORMATS[format].alpha:
        values, alpha = values * alpha + (1 - alpha), None
    samples = to_levels(values if alpha is None else np.concatenate([values, alpha], axis=2), bits)
    if not metadata:
        return Stored(samples, picture.icc)
    return Stored(samples, picture.icc, picture.exif, picture.xmp, picture.dpi)


def _tiff(stored: Stored, quality: int) -> bytes:
    from restorer.images import tiff  # here, as tifffile is for these files alone

    return tiff.write(stored, quality)


_WRITERS: dict[str, Callable[[Stored, int], bytes]] = {
    "png": png.write,
    "jpg": pillow.write_jpg,
    "webp": pillow.write_webp,
    "tiff": _tiff,
    "avif": pillow.write_avif,
    "bmp": pillow.write_bmp,
    "ppm": netpbm.write,
}
