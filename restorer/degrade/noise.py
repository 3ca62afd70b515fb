"""Noise."""

import torch
from torch import Tensor

# Noise: standard deviation at strength 1, so that the field's sigma of 25 is strength 0.25.
NOISE = 100 / 255


def noise(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """White Gaussian noise of 100 strength 8-bit levels; not cut off at 0 and 1, which only a file does."""
    return x + strength * NOISE * torch.randn(x.shape, generator=rng)
