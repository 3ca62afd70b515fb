"""16-bit PNG pixels: header, filters, Adam7, and the colour that stands for transparent. The PNG specification,
third edition, clauses 7 to 9 and 11.3.2.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

PALETTE = 3  # the colour type that is never 16 bits deep
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # colour type -> samples a pixel
_COLOUR_TYPES = {channels: kind for kind, channels in _CHANNELS.items()}

# Adam7: first row, first column, row step, column step of each of the seven passes.
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_ONE_PASS = ((0, 0, 1, 1),)


@dataclass(frozen=True)
class Header:
    """The fields of IHDR."""

    width: int
    height: int
    depth: int
    colour: int
    compression: int
    filtering: int
    interlace: int

    @classmethod
    def parse(cls, body: bytes) -> "Header":
        """The 13 bytes of IHDR."""
        return cls(*struct.unpack(">IIBBBBB", body))


def decode(header: Header, idat: bytes, key: bytes | None) -> np.ndarray:
    """A zlib stream of 16-bit rows -> (H, W, C) uint16.

    ``key`` is the body of tRNS: the one colour that is transparent, which adds an alpha channel of 0 and 65535.
    Raises ValueError or zlib.error when the stream holds fewer pixels than the header announces.
    """
    if header.colour not in _CHANNELS or header.interlace > 1 or header.compression or header.filtering:
        raise ValueError("the header names a kind of PNG that does not exist")
    channels = _CHANNELS[header.colour]
    size = 2 * channels
    passes = list(_passes(header))
    total = sum(rows * (1 + columns * size) for _, rows, columns in passes)
    stream = zlib.decompressobj()
    plain = np.frombuffer(stream.decompress(idat, total), np.uint8)
    if len(plain) != total:
        raise ValueError(f"{len(plain)} bytes of pixels instead of {total}")
    samples = np.empty((header.height, header.width, channels), np.uint16)
    at = 0
    for place, rows, columns in passes:
        lines = plain[at : at + rows * (1 + columns * size)].reshape(rows, 1 + columns * size)
        levels = unfilter(lines[:, 0], lines[:, 1:].reshape(rows, columns, size))
        samples[place] = levels.view(">u2")
        at += lines.size
    return samples if key is None or channels not in (1, 3) else _with_key(samples, key)


def encode(samples: np.ndarray) -> tuple[bytes, bytes]:
    """(H, W, C) uint16, C in 1 to 4 -> (body of IHDR, body of IDAT). Each row is filtered with Sub."""
    height, width, channels = samples.shape
    raw = np.ascontiguousarray(samples, dtype=">u2").view(np.uint8).reshape(height, width, 2 * channels)
    lines = np.empty((height, 1 + raw[0].size), np.uint8)
    lines[:, 0] = 1
    left = np.pad(raw, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    lines[:, 1:] = (raw - left).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    return header, zlib.compress(lines)


def unfilter(filters: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Undo the row filters 0 None, 1 Sub, 2 Up, 3 Average, 4 Paeth: (H,) and (H, W, bytes a pixel) uint8 -> lines."""
    if filters.max() > 4:
        raise ValueError(f"row filter {filters.max()} does not exist")
    if (filters == 0).all():
        return np.ascontiguousarray(lines)
    if (filters == 1).all():
        return np.cumsum(lines, axis=1, dtype=np.uint8)
    if (filters == 2).all():
        return np.cumsum(lines, axis=0, dtype=np.uint8)
    return _unfilter_diagonals(filters, lines)


def _unfilter_diagonals(filters: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Any mixture of filters, one anti-diagonal at a time.

    A pixel leans on those to its left, above, and above left, all on earlier anti-diagonals: so the pixels of one
    are independent, and numpy does thousands of them together.
    """
    height, width, size = lines.shape
    done = np.pad(lines, ((1, 0), (1, 0), (0, 0)))  # a border of zeros stands for what lies outside
    pixels = done.reshape(-1, size)  # in one row, the next pixel of an anti-diagonal is always ``width`` further on
    for diagonal in range(height + width - 1):
        top, bottom = max(0, diagonal - width + 1), min(height, diagonal + 1)
        corners = top * (width + 1) + diagonal - top  # of the topmost pixel of the anti-diagonal
        left, up, corner, here = (
            pixels[first : first + (bottom - top - 1) * width + 1 : width]
            for first in (corners + width + 1, corners + 1, corners, corners + width + 2)
        )
        left, up, corner = (part.astype(np.int16) for part in (left, up, corner))
        guess = (np.zeros_like(left), left, up, (left + up) >> 1, _paeth(left, up, corner))
        here += np.choose(filters[top:bottom, None], guess).astype(np.uint8)
    return np.ascontiguousarray(done[1:, 1:])


def _paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    by_left, by_up, by_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    nearest = np.where(by_up <= by_corner, up, corner)
    return np.where((by_left <= by_up) & (by_left <= by_corner), left, nearest)


def _passes(header: Header) -> Iterator[tuple[tuple[slice, slice], int, int]]:
    """(where its pixels go, rows, columns) of each pass that is not empty."""
    for row, column, down, right in _ADAM7 if header.interlace else _ONE_PASS:
        rows, columns = -(-(header.height - row) // down), -(-(header.width - column) // right)
        if rows > 0 and columns > 0:
            yield (slice(row, None, down), slice(column, None, right)), rows, columns


def _with_key(samples: np.ndarray, key: bytes) -> np.ndarray:
    channels = samples.shape[2]
    if len(key) != 2 * channels:
        raise ValueError("the transparent colour does not fit the picture")
    opaque = (samples != np.frombuffer(key, ">u2")).any(axis=2, keepdims=True)
    return np.concatenate([samples, opaque.astype(np.uint16) * np.uint16(65535)], axis=2)
