"""Whether two pictures lie over each other: by how many pixels one is shifted, and whether two show the same."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 512
"""So much of the middle of a picture is looked at."""
FINEST = 0.25
"""Frequencies above this, in waves a pixel, are left out: noise and blur are there."""
CLEAR = 2.0
"""A shift is believed when its peak is so many times that of no shift, and that of the shift the other way: a picture
blurred by motion has two peaks, one on each side."""
SURE = 7.0
"""And so many standard deviations above the rest, of which the largest of a picture of noise has about five."""
BETTER = 0.02
"""And so much more must the pictures correlate when it is undone, or miss half as much of 1: ends of a long way of the
camera have peaks too."""
NEAR = 2
THUMBNAIL = 16
ALIKE = 1.5 / 255
"""Thumbnails of the same picture differ by less than this in the mean, however it was compressed or scaled."""


def shift_of(picture: Tensor, other: Tensor) -> tuple[int, int] | None:
    """(right, down) in pixels by which ``other`` is shifted, both (1, 3, H, W); None where there is no clear shift.

    The peak of the phase correlation of their luma. Kuglin & Hines, The phase correlation image alignment method, 1975.
    """
    height, width = (min(side, SIDE) for side in picture.shape[-2:])
    seen = [_middle(v.mean(dim=1)[0], height, width) for v in (picture, other)]
    window = torch.outer(torch.hann_window(height), torch.hann_window(width))
    first, second = (torch.fft.rfft2((v - v.mean()) * window) for v in seen)
    cross = second * first.conj()
    low = (torch.fft.fftfreq(height).abs()[:, None] <= FINEST) & (torch.fft.rfftfreq(width)[None] <= FINEST)
    strong = cross.abs() > 1e-9 * cross.abs().max().clamp(min=1e-12)
    phases = torch.where(low & strong, cross / cross.abs().clamp(min=1e-30), 0)
    surface = torch.fft.irfft2(phases, s=(height, width))
    down, right = divmod(int(surface.argmax()), width)
    if max(min(down, height - down), min(right, width - right)) < 1:
        return None
    peak = float(surface[down, right])
    shift = right - width * (right > width // 2), down - height * (down > height // 2)
    near = max(map(abs, shift)) <= NEAR  # where the peak reaches to no shift
    rivals = [_around(surface, -down, -right, 0 if near else 1), *([] if near else [_around(surface, 0, 0, 1)])]
    if peak < CLEAR * max(rivals) or peak < SURE * float(surface.std()):
        return None
    moved, still = _agreement(*seen, shift), _agreement(*seen, (0, 0))
    return shift if moved > still + BETTER or 1 - moved < (1 - still) / 2 else None


def thumbnail(picture: Tensor) -> Tensor:
    """A picture (1, 3, H, W) as few numbers, (3 * 16 * 16), by which to know it again."""
    return F.adaptive_avg_pool2d(picture, THUMBNAIL).flatten()


def alike(thumbnails: Tensor, others: Tensor) -> list[tuple[int, int]]:
    """Indices of all that show the same, (row of ``thumbnails``, row of ``others``); both (N, 768)."""
    found = []
    for i, one in enumerate(others):
        near = ((thumbnails - one).abs().mean(dim=1) < ALIKE).nonzero().flatten()
        found += [(int(row), i) for row in near]
    return found


def _middle(plane: Tensor, height: int, width: int) -> Tensor:
    top, left = (plane.shape[0] - height) // 2, (plane.shape[1] - width) // 2
    return plane[top : top + height, left : left + width]


def _agreement(plane: Tensor, other: Tensor, shift: tuple[int, int]) -> float:
    """The correlation, 1 at most, of the first plane and the second with its shift undone, where they overlap."""
    right, down = shift
    height, width = plane.shape
    first = plane[max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    second = other[max(0, down) : height - max(0, -down), max(0, right) : width - max(0, -right)]
    return float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])


def _around(surface: Tensor, down: int, right: int, reach: int) -> float:
    """The highest value within so many pixels of a place."""
    places = zip((down, right), surface.shape, strict=True)
    rows, columns = (torch.arange(at - reach, at + reach + 1) % side for at, side in places)
    return float(surface[rows][:, columns].max())
