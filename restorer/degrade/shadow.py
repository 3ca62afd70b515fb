"""Shadows that something outside the picture casts upon it.

A shadow takes the sun's light and leaves the sky's, which is bluer [Barrow & Tenenbaum 1978]; its edge is as soft as
what casts it is far. In linear light y = x (1 - m (1 - k)): m is how much of the sun is hidden, k what is left of it.
"""

import math

import torch
from torch import Tensor

from restorer.degrade.chance import Range, chance, log_uniform, slow_map, uniform, whole
from restorer.degrade.srgb import to_linear, to_srgb

# Light left: DARKEST^(share of strength); 0.33 to 0.68 at strength 0.5.
DARKEST = 0.14
SHARE: Range = (0.4, 1.15)
BLUE: Range = (-0.03, 0.15)  # how much less blue is taken than green, and red more, as exponents
VARIES: Range = (0.0, 0.2)  # how much less is taken in places

SHAPES = (1, 3)
CORNERS = (3, 8)
RADIUS: Range = (0.12, 0.55)  # in short sides of the picture
ROUND_CHANCE = 0.3
STRIP_CHANCE = 0.2  # poles, walls: long and straight
HALF_CHANCE = 0.15  # a large building: one straight edge
LEAVES_CHANCE = 0.15
PENUMBRA: Range = (1.0, 30.0)  # width of the soft edge, in pixels
PENUMBRA_VARIES = 3.0  # at most so many times softer in places


def shadow(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Soft shadows of a few shapes; pixels outside them keep their value."""
    hidden = _hidden(x.shape[-2], x.shape[-1], rng)
    left = DARKEST ** (strength * uniform(rng, SHARE))
    blue = uniform(rng, BLUE)
    kept = torch.tensor([left ** (1 + blue), left, left ** (1 - blue)])[:, None, None]
    less = 1 - uniform(rng, VARIES) * slow_map(rng, x.shape[-2], x.shape[-1], 3)
    light = to_linear(x) * (1 - hidden * less * (1 - kept))
    return torch.where(hidden > 0, to_srgb(light).minimum(x), x)


def _hidden(height: int, width: int, rng: torch.Generator) -> Tensor:
    """How much of the sun is hidden at each pixel, (1, 1, height, width) in [0, 1]."""
    edge = log_uniform(rng, PENUMBRA) * (1 + (PENUMBRA_VARIES - 1) * slow_map(rng, height, width, 1))
    if chance(rng, LEAVES_CHANCE):
        inside = _leaves(height, width, rng)
    else:
        shapes = [_shape(height, width, rng) for _ in range(whole(rng, *SHAPES))]
        inside = torch.stack(shapes).amax(0)
    hidden = (inside / edge + 0.5).clamp_(0, 1)
    return hidden * hidden * (3 - 2 * hidden)


def _shape(height: int, width: int, rng: torch.Generator) -> Tensor:
    """How far inside a shape each pixel lies, in pixels, below 0 outside; (height, width)."""
    kind = uniform(rng, (0, 1))
    y = torch.arange(height)[:, None] - uniform(rng, (0, height))
    x = torch.arange(width)[None, :] - uniform(rng, (0, width))
    short, turn = min(height, width), uniform(rng, (0, 2 * math.pi))
    along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    if kind < HALF_CHANCE:
        return along
    if kind < HALF_CHANCE + STRIP_CHANCE:
        return uniform(rng, (0.03, 0.2)) * short - along.abs()
    radius = uniform(rng, RADIUS) * short
    if kind < HALF_CHANCE + STRIP_CHANCE + ROUND_CHANCE:
        return radius - torch.hypot(along, across * uniform(rng, (1, 2.5)))
    return _polygon(along, across, radius, rng)


def _polygon(x: Tensor, y: Tensor, radius: float, rng: torch.Generator) -> Tensor:
    """As ``_shape``, for a polygon: each side is a line at about ``radius`` from its middle."""
    sides = whole(rng, *CORNERS)
    jitter = torch.rand(2, sides, generator=rng).tolist()
    inside = None
    for side in range(sides):
        angle = 2 * math.pi * (side + 0.6 * (jitter[0][side] - 0.5)) / sides
        line = radius * (0.5 + jitter[1][side]) - x * math.cos(angle) - y * math.sin(angle)
        inside = line if inside is None else torch.minimum(inside, line)
    return inside


def _leaves(height: int, width: int, rng: torch.Generator) -> Tensor:
    """As ``_shape``, for the patches that foliage leaves: where slow noise is above a level."""
    cells = whole(rng, 4, 16)
    field = slow_map(rng, height, width, cells) - uniform(rng, (0.4, 0.6))
    return field * (2 * max(height, width) / cells)
