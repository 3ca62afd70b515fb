"""EXIF: orientation read, applied to samples, and taken out of the block without moving another byte.

The block is a small TIFF file after ``Exif\\0\\0``. It is edited in place, never written anew: maker notes hold
offsets of their own, which any rewriting breaks. The thumbnail directory is unlinked, because it shows the picture
before restoration.
"""

import struct

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

PREFIX = b"Exif\0\0"
_ORIENTATION = 0x0112
_DIRECTORIES = (0x8769, 0x8825)  # Exif and GPS

# Tags of a TIFF's own directory that speak of the photograph; the others tell how the file stores its pixels.
_DESCRIPTIVE = (
    *(270, 271, 272, 305, 306, 315, 316, 33432),  # description, make, model, software, date, artist, host, copyright
    *(40091, 40092, 40093, 40094, 40095),  # Windows: title, comment, author, keywords, subject
    *_DIRECTORIES,
)

# Tags that tell how large the picture is, in width and in height, in the first directory and in that of EXIF; and those
# that tell its pixels in an inch, or in a unit of the camera's sensor.
_SIDES = (0x0100, 0xA002), (0x0101, 0xA003)
_PER_UNIT = (0x011A, 0xA20E), (0x011B, 0xA20F)
_LONG, _RATIONAL = 4, 5

_FAULTS = (SyntaxError, ValueError, TypeError, KeyError, OSError, EOFError, struct.error, Warning)


def take_orientation(exif: bytes | None) -> tuple[bytes | None, int | None]:
    """(the block without its orientation tag and thumbnail, orientation 1 to 8 or None).

    A block that cannot be parsed is dropped: nothing can read it, and some writers fail on it.
    """
    if exif is None:
        return None, None
    body = bytearray(exif.removeprefix(PREFIX))
    try:
        order = {b"II": "<", b"MM": ">"}[bytes(body[:2])]
        magic, start = struct.unpack_from(order + "HI", body, 2)
        if magic != 42 or start < 8:
            return None, None
        count = struct.unpack_from(order + "H", body, start)[0]
        end = start + 2 + 12 * count
        tags = [body[at : at + 12] for at in range(start + 2, end, 12)]
        if end + 4 > len(body):
            # The pointer to the next directory is left out by some cameras; then there is no thumbnail to unlink.
            body += bytes(end + 4 - len(body))
        found = [tag for tag in tags if struct.unpack_from(order + "H", tag)[0] == _ORIENTATION]
        kept = [tag for tag in tags if tag not in found]
        struct.pack_into(order + "H", body, start, len(kept))
        body[start + 2 : end + 4] = b"".join(kept).ljust(12 * count + 4, b"\0")
        value = struct.unpack_from(order + "H", found[0], 8)[0] if found else None
    except (KeyError, struct.error):
        return None, None
    return PREFIX + bytes(body), value if value in range(1, 9) else None


def resized(exif: bytes, size: tuple[int, int], ratio: tuple[float, float]) -> bytes:
    """The block with the sizes in it made ``size`` (width, height), and resolutions ``ratio`` (x, y) times as much.

    A block that cannot be parsed is left as it is.
    """
    body = bytearray(exif.removeprefix(PREFIX))
    sizes = {tag: side for tags, side in zip(_SIDES, size, strict=True) for tag in tags}
    ratios = {tag: times for tags, times in zip(_PER_UNIT, ratio, strict=True) for tag in tags}
    told = set()  # both resolutions may stand in one place
    try:
        order = {b"II": "<", b"MM": ">"}[bytes(body[:2])]
        directories = [struct.unpack_from(order + "I", body, 4)[0]]
        for start in directories:
            count = struct.unpack_from(order + "H", body, start)[0]
            for at in range(start + 2, start + 2 + 12 * count, 12):
                tag, kind, number, value = struct.unpack_from(order + "HHII", body, at)
                if tag == _DIRECTORIES[0] and len(directories) == 1:
                    directories.append(value)
                elif tag in sizes and number == 1:
                    struct.pack_into(order + "HHII", body, at, tag, _LONG, 1, sizes[tag])
                elif tag in ratios and kind == _RATIONAL and value not in told:
                    upper = round(struct.unpack_from(order + "I", body, value)[0] * ratios[tag])
                    struct.pack_into(order + "I", body, value, upper)
                    told.add(value)
    except (KeyError, struct.error):
        return exif
    return PREFIX + bytes(body)


def upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Samples (H, W, C) turned and mirrored so that the picture stands upright; orientation 1 to 8 as in EXIF."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples


def from_tiff(data: bytes) -> bytes | None:
    """The EXIF block for a TIFF file's bytes, made from its descriptive tags; None when there are none."""
    source, exif = Image.Exif(), Image.Exif()
    try:
        source.load(data)
        for tag in (*_DESCRIPTIVE, _ORIENTATION):
            if tag in source:
                exif[tag] = source.get_ifd(tag) if tag in _DIRECTORIES else source[tag]
        return exif.tobytes() if len(exif) else None
    except _FAULTS:
        return None


def tiff_directory(exif: bytes | None) -> dict[int, object]:
    """The descriptive tags of a block, as a TIFF file holds them in its own directory: tag -> value."""
    source = Image.Exif()
    if exif is not None:
        source.load(exif)
    found = {tag: source.get_ifd(tag) if tag in _DIRECTORIES else source.get(tag) for tag in _DESCRIPTIVE}
    return {tag: value for tag, value in found.items() if value}


def pack_directory(entries: dict[int, object]) -> bytes:
    """The beginning of a little-endian TIFF file, up to its strips: header, directory, and the values behind it."""
    directory = ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    for tag, value in entries.items():
        directory[tag] = value
    return b"II*\0\x08\0\0\0" + directory.tobytes(8)
