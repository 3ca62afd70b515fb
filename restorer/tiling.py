"""A canvas larger than what is computed at once: overlapping windows, whose predictions are blended at every step.

The canvas is one: its noise is drawn once, and what is done to a whole prediction, such as holding it to a measurement,
is done to the whole canvas. So there is no seam to hide afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise, product

import torch
from torch import Tensor

from restorer.diffusion.predict import Prediction
from restorer.diffusion.steps import Predict
from restorer.errors import UsageError

OVERLAP = 128
"""Pixels that windows of trained models share, unless told otherwise, or three eighths of a small window's side.

At 64 and 128 pixels, windows of 512 moved a heavily rained picture of 1024 x 1024 by 0.08 and 0.02 dB from the whole.
"""
MARGIN = 4
"""Such windows count for nothing along their edges, a fourth of the overlap wide: there the net misses most."""


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut for computing: ``side`` of a window at most, None for what fits, 0 for the whole at once.

    ``overlap``: pixels that neighbours share, None for OVERLAP; ``batch``: so many windows go through the net together,
    None for 1 or what was tuned.
    Raises ``UsageError`` for numbers that cannot be.
    """

    side: int | None = None
    overlap: int | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        if (self.side or 0) < 0 or (self.overlap or 0) < 0 or self.together < 1:
            raise UsageError(
                f"Windows have a side and an overlap of 0 or more and go 1 or more at once, not {self.side}, "
                f"{self.overlap} and {self.together}."
            )
        if self.side and self.overlap is not None and self.overlap >= self.side:
            raise UsageError(
                f"Windows of {self.side} pixels cannot overlap by {self.overlap}; lower --tile-overlap or raise --tile."
            )

    @property
    def together(self) -> int:
        """How many, unless a better number is known."""
        return 1 if self.batch is None else self.batch

    def shared(self, side: int) -> int:
        """The overlap of windows of that side."""
        return min(OVERLAP, 3 * side // 8) if self.overlap is None else min(self.overlap, side - 1)


@dataclass(frozen=True)
class Windows:
    """Where the windows of a canvas lie: the upper left corners, and the (height, width) that all of them have.

    What is within ``margin`` of an edge counts only where no other window shows it.
    """

    corners: tuple[tuple[int, int], ...]
    size: tuple[int, int]
    overlap: int
    margin: int = 0

    def cut(self, canvas: Tensor) -> Iterator[Tensor]:
        """(N, C, H, W) to a view of each window, (N, C, *size)."""
        height, width = self.size
        for top, left in self.corners:
            yield canvas[..., top : top + height, left : left + width]

    def weights(self) -> Tensor:
        """(height, width), above 0: 1 inside, falling as a squared sine towards the edges over the overlap."""
        across, down = (_ramp(side, self.overlap, self.margin) for side in reversed(self.size))
        return down[:, None] * across


def windows(size: tuple[int, int], side: int | None, overlap: int, multiple: int = 1) -> Windows:
    """The windows of a canvas of (height, width), both multiples of ``multiple``; ``side`` None: one, as large as it.

    They are squares, spread evenly, so that neighbours share at least ``overlap`` pixels. Raises ValueError for an
    overlap of a whole side, and for sides that are no multiple.
    """
    if side is None:
        return Windows(((0, 0),), size, 0)
    _check(side, overlap, multiple)
    height, width = (min(side, length) for length in size)
    corners = product(_starts(size[0], height, overlap), _starts(size[1], width, overlap))
    return Windows(tuple(corners), (height, width), overlap)


def snug_windows(size: tuple[int, int], side: int | None, overlap: int, multiple: int) -> Windows:
    """As few windows as ``windows`` has, and no larger than they must be; their corners, too, lie on the multiples.

    So a net sees each pixel at the same place of its grid as in the whole picture. The arguments are those of
    ``windows``.
    """
    if side is None or side >= max(size):
        return Windows(((0, 0),), size, 0)
    _check(side, overlap, multiple)
    (height, tops), (width, lefts) = (_snug(length, side, overlap, multiple) for length in size)
    return Windows(tuple(product(tops, lefts)), (height, width), overlap, overlap // MARGIN)


def _check(side: int, overlap: int, multiple: int) -> None:
    if side < 1 or side % multiple:
        raise ValueError(f"A window's side is a multiple of {multiple}, not {side}.")
    if not 0 <= overlap < side:
        raise ValueError(f"Windows of {side} pixels overlap by 0 to {side - 1}, not {overlap}.")


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Evenly from 0 to length - side."""
    count = 1 if length <= side else math.ceil((length - overlap) / (side - overlap))
    return [round(i * (length - side) / max(count - 1, 1)) for i in range(count)]


def _snug(length: int, side: int, overlap: int, multiple: int) -> tuple[int, list[int]]:
    """(the side that is enough, the starts on the grid) for windows of at most ``side`` along ``length``."""
    if length <= side:
        return length, [0]
    # In steps of the grid, of which a window must begin where one begins.
    cells, most, shared = length // multiple, side // multiple, -(-overlap // multiple)
    count = math.ceil((cells - shared) / max(most - shared, 1))
    needed = min(most, math.ceil((cells + (count - 1) * shared) / count))
    starts = [i * (cells - needed) // (count - 1) for i in range(count)]
    # Rounding down may leave one gap a cell wider than the others; the next cell closes it.
    while needed < most and any(b - a > needed - shared for a, b in pairwise(starts)):
        needed += 1
        starts = [i * (cells - needed) // (count - 1) for i in range(count)]
    return needed * multiple, [start * multiple for start in starts]


def _ramp(side: int, overlap: int, margin: int) -> Tensor:
    place = torch.arange(side) + 0.5
    inside = torch.minimum(place, side - place)
    weights = torch.sin(math.pi / 2 * ((inside - margin) / max(overlap - 2 * margin, 1)).clamp(0, 1)).square()
    # Along the edge of the canvas every window may show its margin only; the one that shows most around it counts.
    depth = (inside / max(margin, 1)).clamp(max=1)
    return torch.maximum(weights, 10 ** (6 * depth - 12))


def blended(
    ask: Callable[..., Prediction], over: Windows, batch: int = 16, beside: tuple[Tensor | None, ...] = ()
) -> Predict:
    """A prediction for a canvas (N, C, H, W), from windows of it, ``batch`` of them at a time.

    ``ask``: (x, t, *beside) -> ``Prediction``, on any device; ``beside``: canvases that it is shown windows of.
    """
    if len(over.corners) == 1:
        return lambda x, t: ask(x, t, *beside)
    weights = over.weights()

    def whole(x: Tensor, t: int) -> Prediction:
        here = weights.to(x)
        total = torch.zeros_like(x[:1, :1])
        for part in over.cut(total):
            part += here
        sums = Prediction(*(torch.zeros_like(x) for _ in Prediction._fields))
        for first in range(0, len(over.corners), batch):
            some = replace(over, corners=over.corners[first : first + batch])
            shown = (None if v is None else torch.cat(list(some.cut(v))) for v in (x, *beside))
            windows, *others = shown
            said = ask(windows, t, *others)
            for target, value in zip(sums, said, strict=True):
                for part, answer in zip(some.cut(target), value.to(x.device).split(len(x)), strict=True):
                    part.addcmul_(answer, here)
        for v in sums:
            v /= total
        return sums

    return whole
