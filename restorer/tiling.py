"""A canvas larger than a net's pictures: overlapping windows, whose predictions are blended at every step.

The canvas is one: its noise is drawn once, and what is done to a whole prediction, such as holding it to a measurement,
is done to the whole canvas. So there is no seam to hide afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from restorer.diffusion.predict import Prediction
from restorer.diffusion.steps import Predict


@dataclass(frozen=True)
class Windows:
    """Where the windows of a canvas lie: the upper left corners, and the (height, width) that all of them have."""

    corners: tuple[tuple[int, int], ...]
    size: tuple[int, int]
    overlap: int

    def cut(self, canvas: Tensor) -> Iterator[Tensor]:
        """(N, C, H, W) to a view of each window, (N, C, *size)."""
        height, width = self.size
        for top, left in self.corners:
            yield canvas[..., top : top + height, left : left + width]

    def weights(self) -> Tensor:
        """(height, width), above 0: 1 inside, falling as a squared sine towards the edges over the overlap."""
        across, down = (_ramp(side, self.overlap) for side in reversed(self.size))
        return down[:, None] * across


def windows(size: tuple[int, int], side: int | None, overlap: int, multiple: int = 1) -> Windows:
    """The windows of a canvas of (height, width), both multiples of ``multiple``; ``side`` None: one, as large as it.

    They are spread evenly, so that neighbours share at least ``overlap`` pixels. Raises ValueError for an overlap of a
    whole side, and for sides that are no multiple.
    """
    if side is None:
        return Windows(((0, 0),), size, 0)
    if side < 1 or side % multiple:
        raise ValueError(f"A window's side is a multiple of {multiple}, not {side}.")
    if not 0 <= overlap < side:
        raise ValueError(f"Windows of {side} pixels overlap by 0 to {side - 1}, not {overlap}.")
    height, width = (min(side, length) for length in size)
    corners = product(_starts(size[0], height, overlap), _starts(size[1], width, overlap))
    return Windows(tuple(corners), (height, width), overlap)


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Evenly from 0 to length - side."""
    count = 1 if length <= side else math.ceil((length - overlap) / (side - overlap))
    return [round(i * (length - side) / max(count - 1, 1)) for i in range(count)]


def _ramp(side: int, overlap: int) -> Tensor:
    place = torch.arange(side) + 0.5
    inside = torch.minimum(place, side - place)
    return torch.sin(math.pi / 2 * (inside / max(overlap, 1)).clamp(max=1)).square()


def blended(predict: Predict, over: Windows, batch: int = 16) -> Predict:
    """``predict`` for a canvas (1, C, H, W), from windows of it, ``batch`` at a time."""
    if len(over.corners) == 1:
        return predict
    weights = over.weights()

    def whole(x: Tensor, t: int) -> Prediction:
        here = weights.to(x)
        total = torch.zeros_like(x[:, :1])
        for part in over.cut(total):
            part += here
        sums = Prediction(*(torch.zeros_like(x) for _ in Prediction._fields))
        places = list(zip(over.cut(x), *(over.cut(v) for v in sums), strict=True))
        for first in range(0, len(places), batch):
            some = places[first : first + batch]
            said = predict(torch.cat([window for window, *_ in some]), t)
            for i, (_, *targets) in enumerate(some):
                for target, value in zip(targets, said, strict=True):
                    target += here * value[i : i + 1]
        return Prediction(*(v / total for v in sums))

    return whole
