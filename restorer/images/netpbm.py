"""16-bit PGM and PPM (binary P5 and P6 with a maximum above 255), which Pillow cuts to 8 bits, and netpbm's writer.

The other kinds of netpbm are read by `pillow`.
"""

import re

import numpy as np

from restorer.images import pillow
from restorer.images.stored import Limits, Stored

_GAP = rb"(?:\s|#[^\n\r]*[\n\r])+"
_HEADER = re.compile(rb"P([56])" + _GAP + rb"(\d{1,10})" + _GAP + rb"(\d{1,10})" + _GAP + rb"(\d{1,5})\s")


def read(data: bytes, limits: Limits) -> Stored:
    """Bytes of a netpbm file -> `Stored`. Raises `ImageError`, ValueError, OSError, SyntaxError."""
    match = _HEADER.match(data, 0, 4096)
    if match is None or int(match[4]) < 256:
        return pillow.read(data, limits, "ppm")
    channels = {b"5": 1, b"6": 3}[match[1]]
    width, height, most = (int(number) for number in match.groups()[1:])
    limits.check(width, height)
    if most > 65535:
        raise ValueError(f"its maximum is {most}, above 65535")
    count = width * height * channels
    if len(data) - match.end() < 2 * count:
        raise ValueError(f"{len(data) - match.end()} bytes of pixels instead of {2 * count}")
    levels = np.frombuffer(data, ">u2", count, match.end()).reshape(height, width, channels).astype(np.uint32)
    # In whole numbers: the nearest of 65535 levels, exact when the maximum is 65535.
    scaled = (levels.clip(0, most) * 65535 + most // 2) // most if most < 65535 else levels
    return Stored(scaled.astype(np.uint16))


def write(stored: Stored, quality: int) -> bytes:
    """`Stored` (1 or 3 channels) -> PGM or PPM of either depth. Lossless, so ``quality`` means nothing here."""
    height, width, channels = stored.samples.shape
    kind, most = ("P5" if channels == 1 else "P6"), np.iinfo(stored.samples.dtype).max
    pixels = stored.samples.astype(stored.samples.dtype.newbyteorder(">"))
    return f"{kind}\n{width} {height}\n{most}\n".encode() + pixels.tobytes()
