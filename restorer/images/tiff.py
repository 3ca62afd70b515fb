"""TIFF: 16-bit and float samples read by tifffile, 8-bit ones by Pillow, and everything beside them kept.

tifffile alone undoes no compression but Deflate; 16-bit files in LZW or PackBits go through Pillow's libtiff, twice
(`_two_readings`).
"""

import io
import logging
import struct
import sys
import zlib
from itertools import accumulate, islice

import numpy as np
import tifffile
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile
from tifffile import COMPRESSION, PHOTOMETRIC, TiffPage

from restorer.images import exif, pillow
from restorer.images.stored import Limits, Stored, plausible_dpi

# What is wrong with a file is said once, in the error; without a handler tifffile's log would go to standard error.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_ORIENTATION, _XMP, _ICC, _DNG = 274, 700, 34675, 50706
_COLOURS = {PHOTOMETRIC.MINISWHITE: 1, PHOTOMETRIC.MINISBLACK: 1, PHOTOMETRIC.RGB: 3}
_BY_TIFFFILE = (COMPRESSION.NONE, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE)
_UNITS = {2: 1.0, 3: 2.54}  # ResolutionUnit -> units in an inch
_ASSOCIATED, _UNASSOCIATED = 1, 2  # ExtraSamples: alpha multiplied into the colours, or not
_DIFFERENCES, _FLOAT_DIFFERENCES = 2, 3  # Predictor
_PAGES = 16  # looked at in search of a second picture; a hostile file has a chain of a million
_STRIP = 1 << 20  # bytes of pixels in a strip, about
# tifffile trusts what a file says of itself, and stumbles over hostile ones in the middle of its own arithmetic.
_MUDDLES = (TypeError, LookupError, AttributeError, ArithmeticError, AssertionError)
_CAMERA_RAW = ("is a camera's raw file", "develop it to a 16-bit TIFF first")


def read(data: bytes, limits: Limits) -> Stored:
    """Bytes of a TIFF of one page -> `Stored`. Raises `ImageError`, OSError, SyntaxError, ValueError, struct.error."""
    if data[8:10] == b"CR":
        raise limits.refuse(*_CAMERA_RAW)
    try:
        return _read(data, limits)
    except _MUDDLES as fault:
        raise ValueError(f"its tags contradict each other: {fault}") from fault


def _read(data: bytes, limits: Limits) -> Stored:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = _page(tiff, limits)
        if any(offset + count > len(data) or count == 0 for offset, count in _segments(page)):
            raise ValueError("its pixels lie outside the file")
        block, xmp, icc = exif.from_tiff(data), _bytes(page, _XMP), _bytes(page, _ICC)
        if page.bitspersample <= 8:
            samples, icc = _shallow(_pillow(data, page), limits, icc)
        else:
            samples = _deep(page, data, limits)
        return Stored(samples, icc, block, xmp, _dpi(page))


def header_xmp(data: bytes) -> bytes | None:
    """The XMP packet of a TIFF, without decoding its pixels. Raises as `read`."""
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            return _bytes(tiff.pages.first, _XMP)
    except _MUDDLES as fault:
        raise ValueError(f"its tags contradict each other: {fault}") from fault


def write(stored: Stored, quality: int) -> bytes:
    """`Stored` -> TIFF, Deflate with differences. Lossless, so ``quality`` means nothing here.

    Written here, because neither library writes 16-bit colour together with EXIF.
    """
    height, width, channels = stored.samples.shape
    deltas = stored.samples.astype(stored.samples.dtype.newbyteorder("<"), order="C")
    deltas[:, 1:] -= stored.samples[:, :-1]
    rows = max(1, _STRIP // deltas[0].nbytes)
    strips = [zlib.compress(deltas[top : top + rows]) for top in range(0, height, rows)]
    ends = list(accumulate(map(len, strips)))
    directory = exif.tiff_directory(stored.exif)
    directory |= {
        256: width,
        257: height,
        258: (8 * deltas.itemsize,) * channels,
        259: int(COMPRESSION.ADOBE_DEFLATE),
        262: int(PHOTOMETRIC.RGB if channels >= 3 else PHOTOMETRIC.MINISBLACK),
        273: (0, *ends[:-1]),  # counted from the first strip: Pillow adds where that one comes to stand
        277: channels,
        278: rows,
        279: tuple(map(len, strips)),
        317: _DIFFERENCES,
    }
    if channels in (2, 4):
        directory[338] = _UNASSOCIATED
    if stored.dpi is not None:
        directory |= {282: stored.dpi[0], 283: stored.dpi[1], 296: 2}
    if stored.xmp is not None:
        directory[_XMP] = stored.xmp
    if stored.icc is not None:
        directory[_ICC] = stored.icc
    return exif.pack_directory(directory) + b"".join(strips)


def _page(tiff: tifffile.TiffFile, limits: Limits) -> TiffPage:
    """The one page that is a picture, checked by its header."""
    page = tiff.pages.first
    if page.is_reduced or _DNG in page.tags or page.photometric in (PHOTOMETRIC.CFA, PHOTOMETRIC.LINEAR_RAW):
        raise limits.refuse(*_CAMERA_RAW)
    frames = 1 + sum(not other.is_reduced for other in islice(tiff.pages, 1, _PAGES))
    limits.check(page.imagewidth, page.imagelength, max(frames, page.imagedepth))
    extra = page.samplesperpixel - _COLOURS.get(page.photometric, page.samplesperpixel)
    if extra > 1 or (extra == 1 and page.extrasamples[:1] not in ((_ASSOCIATED,), (_UNASSOCIATED,))):
        raise limits.refuse(f"has {page.samplesperpixel} channels, of which {extra} are neither colour nor alpha")
    return page


def _segments(page: TiffPage) -> zip:
    return zip(page.dataoffsets, page.databytecounts, strict=True)


class _Unchecked(TiffImageFile):
    """Pillow's reader without the limit that it measures TIFFs by, which is a global of the process and warns."""

    def load_prepare(self) -> None:
        ImageFile.load_prepare(self)


def _pillow(data: bytes, page: TiffPage) -> TiffImageFile:
    """The file in Pillow, as its samples lie: Pillow would turn a TIFF, and only a TIFF, while loading it."""
    if _ORIENTATION in page.tags:
        body = bytearray(data)
        struct.pack_into(page.parent.byteorder + "H", body, page.tags[_ORIENTATION].valueoffset, 1)
        data = bytes(body)
    image = _Unchecked(io.BytesIO(data))
    image.info.pop("xmp", None)  # where it looks for an orientation next
    return image


def _shallow(image: TiffImageFile, limits: Limits, icc: bytes | None) -> tuple[np.ndarray, bytes | None]:
    """((H, W, C) uint8, the profile that still holds for them) of a TIFF of at most 8 bits a sample."""
    if image.mode == "CMYK":
        return pillow.cmyk_samples(image, icc), None
    return pillow.samples(image, limits), icc


def _deep(page: TiffPage, data: bytes, limits: Limits) -> np.ndarray:
    """(H, W, C) uint16, or float32 in [0, 1], of a TIFF of more than 8 bits a sample."""
    if page.photometric not in _COLOURS or page.dtype is None or page.dtype.kind not in "uf":
        raise limits.refuse(f"holds {page.bitspersample}-bit samples of a kind that is not read")
    if page.dtype.kind == "u" and page.bitspersample != 16:
        raise limits.refuse(f"holds {page.bitspersample}-bit whole numbers")
    if page.predictor == _FLOAT_DIFFERENCES or (page.compression not in _BY_TIFFFILE and page.dtype.kind == "f"):
        raise limits.refuse("is compressed in a way that is not read", "save it uncompressed first")
    if page.compression in _BY_TIFFFILE:
        samples = _chunky(page.asarray(), page)
    else:
        samples = _two_readings(data, page, limits)
    if samples.dtype.kind == "f":
        samples = samples.astype(np.float32)
        if not (samples.min() >= 0 and samples.max() <= 1):
            raise limits.refuse(
                f"holds values from {samples.min():g} to {samples.max():g}", "scale them to the range from 0 to 1 first"
            )
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        samples[:, :, 0] = _most(samples) - samples[:, :, 0]
    return _unmultiplied(samples) if page.extrasamples[:1] == (_ASSOCIATED,) else samples


def _chunky(array: np.ndarray, page: TiffPage) -> np.ndarray:
    """tifffile's array of a page -> (H, W, C) in this machine's byte order, whether channels lie together or apart."""
    planes = array.reshape(page.samplesperpixel, page.imagelength, page.imagewidth)[:, :, :, None]
    if page.samplesperpixel == 1 or page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
        array = np.concatenate(list(planes), axis=2)
    return np.array(array.reshape(page.imagelength, page.imagewidth, -1), dtype=array.dtype.newbyteorder("="))


def _two_readings(data: bytes, page: TiffPage, limits: Limits) -> np.ndarray:
    """(H, W, C) uint16 through Pillow, which keeps one byte of each 16-bit colour sample: which one, the raw mode says.

    So the file is read once for the upper bytes and once for the lower. libtiff hands over samples in the byte order
    of this machine.
    """
    image = _pillow(data, page)
    if image.mode.startswith("I;16"):
        return np.array(image, dtype=np.uint16)[:, :, None]
    if image.mode not in ("RGB", "RGBA") or any(tile.args[0] != f"{image.mode};16N" for tile in image.tile):
        raise limits.refuse("is compressed in a way that is not read", "save it uncompressed or with Deflate first")
    halves = []
    for order in "LB" if sys.byteorder == "little" else "BL":
        image = _pillow(data, page)
        image.tile = [tile._replace(args=(f"{image.mode};16{order}", *tile.args[1:])) for tile in image.tile]
        halves.append(np.asarray(image).astype(np.uint16))
    return halves[0] << 8 | halves[1]


def _unmultiplied(samples: np.ndarray) -> np.ndarray:
    """Colours divided by the alpha that was multiplied into them; where alpha is 0 they are 0."""
    most = _most(samples)
    alpha = samples[:, :, -1:].astype(np.float64) / most
    colours = np.zeros(samples[:, :, :-1].shape)
    np.divide(samples[:, :, :-1], alpha, out=colours, where=alpha > 0)
    colours = colours.clip(0, most)
    if samples.dtype.kind == "u":
        colours = np.floor(colours + 0.5)
    return np.concatenate([colours.astype(samples.dtype), samples[:, :, -1:]], axis=2)


def _most(samples: np.ndarray) -> int:
    return 65535 if samples.dtype.kind == "u" else 1


def _bytes(page: TiffPage, tag: int) -> bytes | None:
    value = page.tags[tag].value if tag in page.tags else None
    return bytes(value) if isinstance(value, bytes | tuple) and value else None


def _dpi(page: TiffPage) -> tuple[float, float] | None:
    unit = _UNITS.get(int(page.resolutionunit))
    if unit is None or 282 not in page.tags or 283 not in page.tags:
        return None
    return plausible_dpi(tuple(dots * unit for dots in page.resolution))
