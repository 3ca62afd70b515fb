"""Haze: the further away a thing is, the more of what we see is light scattered on the way.

I = J t + A (1 - t), t = exp(-beta d) [Koschmieder 1924; He 2009, "Single image haze removal using dark channel prior",
eq. 1 and 2]. We do not know the depth d of a photograph and make one up: planes as of ground and sky, soft clouds, and
depths that follow the picture's own areas of light and dark, so that haze changes where things end.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from restorer.degrade.chance import Range, chance, slow_map, uniform, whole
from restorer.degrade.srgb import to_linear, to_srgb

BETA = 3.0  # at strength 1, of which a picture has a share
SHARE: Range = (0.6, 1.0)
NEAR: Range = (0.05, 0.8)  # depth of the nearest thing; of the farthest it is 1
AIRLIGHT: Range = (0.6, 1.0)
TINT_CHANCE = 0.6
WARMTH = 0.07  # how much more red and less blue a tinted airlight has at most, or the other way round
TINT = 0.02  # how far its channels stray besides
LINEAR_CHANCE = 0.3  # light adds up so; data sets add sRGB values up

# How much each kind of depth counts, before it is stretched to NEAR and 1.
PLANE: Range = (0.0, 1.0)
CLOUDS: Range = (0.0, 0.6)
AREAS: Range = (0.0, 0.8)
UPWARDS_CHANCE = 0.7  # planes that are further at the top; otherwise at any side
LEVELS = (3, 8)  # of light and dark
SMOOTH = (2, 9)  # radius over which areas are smoothed


def haze(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Haze over ``x``: at strength 1 the farthest lets a twentieth of its light through."""
    beta = BETA * strength * uniform(rng, SHARE)
    transmission = torch.exp(-beta * depth(x, rng))
    airlight = _airlight(rng)
    if chance(rng, LINEAR_CHANCE):
        return to_srgb(veiled(to_linear(x), transmission, to_linear(airlight)))
    return veiled(x, transmission, airlight).clamp_(0, 1)


def _airlight(rng: torch.Generator) -> Tensor:
    """The colour of haze, (1, 3, 1, 1): grey, often a little bluish as in the distance, or brownish as of dust."""
    grey = uniform(rng, AIRLIGHT)
    if not chance(rng, TINT_CHANCE):
        return torch.full((1, 3, 1, 1), grey)
    warmth = uniform(rng, (-WARMTH, WARMTH))
    tint = torch.tensor([warmth, 0.0, -warmth]) + TINT * (2 * torch.rand(3, generator=rng) - 1)
    return (grey + tint)[:, None, None][None].clamp(0, 1)


def veiled(x: Tensor, transmission: Tensor, airlight: Tensor) -> Tensor:
    """I = J t + A (1 - t) [He 2009, eq. 1]."""
    return airlight + (x - airlight) * transmission


def depth(x: Tensor, rng: torch.Generator) -> Tensor:
    """A depth for each pixel of ``x``, (1, 1, H, W): 1 is the farthest."""
    height, width = x.shape[-2:]
    made = uniform(rng, PLANE) * _plane(height, width, rng)
    made = made + uniform(rng, CLOUDS) * slow_map(rng, height, width, whole(rng, 2, 5))
    made = made + uniform(rng, AREAS) * _areas(x, rng)
    made = made - made.amin()
    near = uniform(rng, NEAR)
    return near + (1 - near) * made / made.amax().clamp(min=1e-6)


def _plane(height: int, width: int, rng: torch.Generator) -> Tensor:
    """(1, 1, height, width) in [0, 1], rising evenly, or faster and faster as ground does towards the horizon."""
    tilt = uniform(rng, (-0.5, 0.5)) if chance(rng, UPWARDS_CHANCE) else uniform(rng, (-math.pi, math.pi))
    y = torch.linspace(0.5, -0.5, height)[:, None] * math.cos(tilt)
    x = torch.linspace(-0.5, 0.5, width)[None, :] * math.sin(tilt)
    rise = (x + y + 0.71) / 1.42
    return rise[None, None] ** uniform(rng, (0.7, 3.0))


def _areas(x: Tensor, rng: torch.Generator) -> Tensor:
    """A depth drawn for each level of smoothed brightness, (1, 1, H, W) in [0, 1]."""
    levels = whole(rng, *LEVELS)
    brightness = _box(x.mean(1, keepdim=True), whole(rng, *SMOOTH))
    depths = torch.rand(levels, generator=rng)
    areas = depths[(brightness * levels).long().clamp_(0, levels - 1)]
    return _box(areas, whole(rng, *SMOOTH))


def _box(x: Tensor, radius: int) -> Tensor:
    """Means over squares, of what of them lies within the picture."""
    for size in ((2 * radius + 1, 1), (1, 2 * radius + 1)):
        x = F.avg_pool2d(x, size, 1, (size[0] // 2, size[1] // 2), count_include_pad=False)
    return x
