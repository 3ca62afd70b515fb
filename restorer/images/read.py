"""File -> `Picture`: any of the formats in `FORMATS`, whole and still, or an `ImageError` with one sentence."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from restorer.errors import ImageError
from restorer.images import exif, heif, netpbm, pillow, png, xmp
from restorer.images.formats import FORMATS, sniff
from restorer.images.picture import Picture, from_levels
from restorer.images.stored import Limits, Stored

MAX_PIXELS = 250_000_000

# What the decoders raise on files that are damaged, or made to do damage. A Warning is raised where the interpreter
# is told to (-W error).
FAULTS = (
    *(OSError, SyntaxError, ValueError, RuntimeError, MemoryError, struct.error, zlib.error),
    *(Image.DecompressionBombError, Warning),
)


def read(path: Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in a file.

    Its pixels are turned upright by its EXIF orientation. The format is found by the content, not by the name.
    Raises `ImageError` for anything that is not one whole still picture of at most ``max_pixels`` in a known format.
    """
    return decode(read_bytes(Path(path)), str(path), max_pixels=max_pixels)


def decode(data: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in the bytes of a file, as `read`; ``name`` stands in the messages."""
    format = sniff(data)
    if not data:
        raise ImageError(f"{name} is empty; copy or download it again.")
    if format is None:
        raise ImageError(
            f"{name} is not a picture in a format that is read ({', '.join(FORMATS)}); convert it to PNG or TIFF first."
        )
    try:
        stored = _READERS[format](data, Limits(name, max_pixels))
        return _picture(stored, format)
    except MemoryError as fault:
        raise ImageError(f"{name} does not fit into memory; close other programs, or cut the picture.") from fault
    except FAULTS as fault:
        reason = str(fault).strip().rstrip(".") or type(fault).__name__
        raise ImageError(
            f"{name} cannot be decoded ({reason}): it is damaged, cut short, or of a rare kind; "
            "get a whole copy of it, or save it again as PNG."
        ) from fault


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises `ImageError` when there is no such file, or it cannot be opened."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe may be waited for without end
            raise ImageError(f"{path} is a pipe or a device, no file; to read from a pipe use - for standard input.")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{path} does not exist; check the path.") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder; name a picture in it.") from None
    except PermissionError:
        raise ImageError(f"{path} may not be read; change its permissions.") from None
    except (OSError, ValueError, MemoryError) as fault:
        raise ImageError(f"{path} cannot be read ({fault}); check the path and the disk.") from fault


def _picture(stored: Stored, format: str) -> Picture:
    block, turned = exif.take_orientation(stored.exif)
    packet, turned_by_xmp = xmp.take_orientation(stored.xmp)
    # EXIF goes before XMP, as in Pillow and in the guidelines of the Metadata Working Group.
    orientation = turned or turned_by_xmp or 1
    samples = exif.upright(stored.samples, orientation)
    values = samples if samples.dtype == np.float32 else from_levels(samples)
    planes = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]
    channels = planes.shape[1]
    return Picture(
        pixels=planes[:, :3].contiguous() if channels >= 3 else planes[:, :1].repeat(1, 3, 1, 1),
        alpha=planes[:, -1:].contiguous() if channels in (2, 4) else None,
        grey=channels <= 2,
        bits=8 if samples.dtype == np.uint8 else 16,
        format=format,
        icc=stored.icc,
        exif=block,
        xmp=packet,
        dpi=stored.dpi[::-1] if stored.dpi and orientation >= 5 else stored.dpi,
    )


def _through_pillow(format: str) -> Callable[[bytes, Limits], Stored]:
    return lambda data, limits: pillow.read(data, limits, format)


def _tiff(data: bytes, limits: Limits) -> Stored:
    from restorer.images import tiff  # here, as tifffile is for these files alone

    return tiff.read(data, limits)


_READERS: dict[str, Callable[[bytes, Limits], Stored]] = {
    "png": png.read,
    "jpg": _through_pillow("jpg"),
    "webp": _through_pillow("webp"),
    "tiff": _tiff,
    "avif": _through_pillow("avif"),
    "heic": heif.read,
    "bmp": _through_pillow("bmp"),
    "ppm": netpbm.read,
}
