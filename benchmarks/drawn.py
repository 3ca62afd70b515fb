"""Pictures for those who time: smooth, with noise; what is in them makes nothing faster or slower."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

MULTIPLE = 4
"""Sides are multiples of it."""


def sides(megapixels: float) -> tuple[int, int]:
    """(height, width) of a picture of 4 to 3 that has about so many."""
    height, width = (round((1e6 * megapixels * ratio) ** 0.5 / MULTIPLE) * MULTIPLE for ratio in (3 / 4, 4 / 3))
    return height, width


def drawn(height: int, width: int, seed: int = 0) -> Tensor:
    """(1, 3, height, width) in [0, 1]."""
    rng = torch.Generator().manual_seed(seed)
    pixels = interpolate(torch.rand(1, 3, 9, 12, generator=rng), (height, width), mode="bilinear")
    pixels += 0.02 * torch.randn(pixels.shape, generator=rng)
    return pixels.clamp_(0, 1)
