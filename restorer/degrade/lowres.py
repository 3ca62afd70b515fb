"""Too few pixels: reduced as data sets are, and enlarged again as models for ``upscale`` are shown it.

The reduction is MATLAB's ``imresize``, bicubic with antialiasing, to 8 bits: every published set of low-resolution
pictures is made so. The enlargement is that of ``prepare = "enlarge-bicubic:N"`` to the bit, so a net sees when it
restores what it saw in training; beside edges it goes beyond 0 and 1, as there.
"""

import math

import torch
from torch import Tensor

from restorer.degrade.chance import chance, uniform
from restorer.diffusion.resample import mirrored
from restorer.prepare import enlarge

# Of ``lowres``: between 2 and 2 + 2 strength, in eighths so that sizes are exact; half of them whole.
SMALLEST = 2.0
MORE = 2.0
EIGHTHS = 8
WHOLE_CHANCE = 0.5


def lowres(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Reduced by a factor of 2 to 2 + 2 ``strength`` and enlarged again."""
    factor = SMALLEST + MORE * strength * uniform(rng, (0, 1))
    return pixelated(x, round(factor) if chance(rng, WHOLE_CHANCE) else round(factor * EIGHTHS) / EIGHTHS)


def lowres2(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Reduced to half and enlarged again; ``strength`` changes nothing, but 0 leaves the picture."""
    return pixelated(x, 2)


def lowres4(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Reduced to a quarter and enlarged again; ``strength`` changes nothing, but 0 leaves the picture."""
    return pixelated(x, 4)


def pixelated(x: Tensor, factor: float) -> Tensor:
    """``x`` of any size, reduced and enlarged; what the last pixels show beyond its edge is cut off."""
    small = (reduced(x, factor).clamp(0, 1) * 255).round() / 255
    return enlarge(small, factor, "bicubic")[..., : x.shape[-2], : x.shape[-1]]


def reduced(x: Tensor, factor: float) -> Tensor:
    """(N, C, ceil(H / factor), ceil(W / factor)): each pixel a weighted mean, the picture mirrored at its edges."""
    rows, columns = (_samples(side, factor) for side in x.shape[-2:])
    return rows @ x @ columns.T


def _samples(n: int, factor: float) -> Tensor:
    """The (ceil(n / factor), n) matrix of Keys' cubic, a = -0.5, stretched by ``factor``."""
    centres = (torch.arange(math.ceil(n / factor), dtype=torch.float64) + 0.5) * factor - 0.5
    where = (centres - 2 * factor).floor().long()[:, None] + torch.arange(math.ceil(4 * factor) + 2)
    d = ((where - centres[:, None]) / factor).abs()
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    taps = torch.where(d <= 1, near, torch.where(d < 2, far, 0.0))
    matrix = torch.zeros(len(centres), n, dtype=torch.float64)
    return matrix.scatter_add_(1, mirrored(where, n), taps / taps.sum(1, keepdim=True)).float()
