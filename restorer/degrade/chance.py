"""What is drawn: numbers from one generator a picture, and maps that vary slowly over it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

Range = tuple[float, float]


def uniform(rng: torch.Generator, bounds: Range) -> float:
    """A number between the bounds."""
    return bounds[0] + (bounds[1] - bounds[0]) * float(torch.rand((), generator=rng))


def log_uniform(rng: torch.Generator, bounds: Range) -> float:
    """A number between the bounds, as often below their geometric mean as above."""
    return math.exp(uniform(rng, (math.log(bounds[0]), math.log(bounds[1]))))


def normal(rng: torch.Generator) -> float:
    """A number of the standard normal distribution."""
    return float(torch.randn((), generator=rng))


def chance(rng: torch.Generator, probability: float) -> bool:
    """True as often as ``probability`` says."""
    return float(torch.rand((), generator=rng)) < probability


def whole(rng: torch.Generator, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``, both among them."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def slow_map(rng: torch.Generator, height: int, width: int, cells: int) -> Tensor:
    """(1, 1, height, width) in [0, 1], varying over about ``cells`` hills a side."""
    coarse = torch.rand(1, 1, cells + 1, cells + 1, generator=rng)
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True).clamp_(0, 1)
