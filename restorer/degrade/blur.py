"""Blur: the camera shook, something moved, or the lens was out of focus.

Light adds up in linear light, and so do the frames of a video that are averaged into a blurred one; data sets do it
with sRGB values too [Nah 2017, "Deep multi-scale CNN for dynamic scene deblurring", sec. 2], and so do we, by chance.
Where a scene is deep or moves, the blur varies: two blurred pictures then share the place [Nah 2017, GoPro].
"""

import math
from functools import partial

import torch
from torch import Tensor

from restorer.degrade.chance import Range, chance, slow_map, uniform, whole
from restorer.degrade.convolve import blurred
from restorer.degrade.motion import kernel, way
from restorer.degrade.srgb import to_linear, to_srgb

MOTION = 35.0  # length at strength 1, of which a picture has a share
DISC = 6.0  # radius at strength 1, of which a picture has a share
GAUSSIAN = 4.0  # standard deviation at strength 1, of which a picture has a share
SHARE: Range = (0.4, 1.0)
MOTION_CHANCE = 0.7  # of ``blur``; otherwise defocus
LINEAR_CHANCE = 0.5
REFLECT_CHANCE = 0.5

# A scene that moves, or is deep.
VARYING_CHANCE = 0.4
STILL_CHANCE = 0.4  # what does not move beside what does
OTHER_CHANCE = 0.3  # two that move on their own; otherwise the same way, shorter
SHORTER: Range = (0.2, 0.8)
HILLS = (1, 4)  # of the map that says where
STEEP: Range = (1.0, 8.0)  # how sharply the map divides: 1 blends all over

# Light sources beyond what the sensor holds leave bright traces.
GLARE_CHANCE = 0.25
GLARE: Range = (0.5, 4.0)  # how many times brighter than white
GLARE_FROM = 0.85  # in linear light

# The aperture.
GAUSSIAN_CHANCE = 0.35
ROUND_CHANCE = 0.5  # otherwise a polygon
BLADES = (5, 8)
STRETCH: Range = (1.0, 1.4)  # of a Gaussian
RIM: Range = (0.8, 2.5)  # width of a disc's edge

NOISE_CHANCE = 0.5
NOISE: Range = (0.0, 2.0)  # standard deviation, in 8-bit levels


def blur(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Motion or defocus, sometimes with a little noise."""
    y = motion(x, strength, rng) if chance(rng, MOTION_CHANCE) else defocus(x, strength, rng)
    if chance(rng, NOISE_CHANCE):
        sigma = uniform(rng, NOISE) * min(1.0, 2 * strength) / 255
        y = (y + sigma * torch.randn(y.shape, generator=rng)).clamp_(0, 1)
    return y


def motion(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """The camera shook or something moved, by up to 35 pixels at strength 1."""
    length = max(1.0, MOTION * strength * uniform(rng, SHARE))
    points = way(rng)
    kernels = [kernel(points, length, rng)]
    if chance(rng, VARYING_CHANCE):
        kernels.append(_second_motion(points, length, rng))
    return _through(x, kernels, rng)


def defocus(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Out of focus: each point becomes a disc, a polygon of the aperture's blades, or a Gaussian."""
    shape = _gaussian if chance(rng, GAUSSIAN_CHANCE) else partial(_disc, uniform(rng, RIM), _aperture(rng))
    size = strength * uniform(rng, SHARE)
    kernels = [shape(size, rng)]
    if chance(rng, VARYING_CHANCE):
        kernels.append(SHARP if chance(rng, STILL_CHANCE) else shape(size * uniform(rng, SHORTER), rng))
    return _through(x, kernels, rng)


def _second_motion(points: Tensor, length: float, rng: torch.Generator) -> Tensor:
    if chance(rng, STILL_CHANCE):
        return SHARP
    if chance(rng, OTHER_CHANCE):
        return kernel(way(rng), length * uniform(rng, SHARE), rng)
    return kernel(points, max(1.0, length * uniform(rng, SHORTER)), rng)


def _through(x: Tensor, kernels: list[Tensor], rng: torch.Generator) -> Tensor:
    """``x`` blurred by one kernel, or by two that share the picture by a map."""
    linear = chance(rng, LINEAR_CHANCE)
    edge = "reflect" if chance(rng, REFLECT_CHANCE) else "replicate"
    light = to_linear(x) if linear else x
    if linear and chance(rng, GLARE_CHANCE):
        glare = ((light - GLARE_FROM) / (1 - GLARE_FROM)).clamp_(0, 1).square()
        light = light * (1 + uniform(rng, GLARE) * glare)
    y = blurred(light, kernels[0], edge)
    if len(kernels) == 2:
        other = light if kernels[1] is SHARP else blurred(light, kernels[1], edge)
        y = torch.lerp(y, other, _where(x.shape[-2], x.shape[-1], rng))
    # Transforms leave 1e-7 of noise, and glare ends at white.
    return to_srgb(y) if linear else y.clamp_(0, 1)


def _where(height: int, width: int, rng: torch.Generator) -> Tensor:
    """The second kernel's share of each pixel, (1, 1, height, width) in [0, 1]."""
    share = slow_map(rng, height, width, whole(rng, *HILLS))
    return ((share - uniform(rng, (0.35, 0.65))) * uniform(rng, STEEP) + 0.5).clamp_(0, 1)


def _gaussian(size: float, rng: torch.Generator) -> Tensor:
    """A Gaussian, a little longer than wide at any angle, (odd, odd)."""
    sigma = max(0.2, GAUSSIAN * size)
    stretch, angle = math.sqrt(uniform(rng, STRETCH)), uniform(rng, (0, math.pi))
    y, x = _grid(math.ceil(3 * sigma * stretch))
    u = (x * math.cos(angle) + y * math.sin(angle)) / (sigma * stretch)
    v = (y * math.cos(angle) - x * math.sin(angle)) / (sigma / stretch)
    made = torch.exp(-0.5 * (u.square() + v.square()))
    return made / made.sum()


def _aperture(rng: torch.Generator) -> tuple[int, float]:
    """How many blades, 0 for a round one, and the angle they stand at."""
    blades = 0 if chance(rng, ROUND_CHANCE) else whole(rng, *BLADES)
    return blades, uniform(rng, (0, 2 * math.pi))


def _disc(rim: float, aperture: tuple[int, float], size: float, rng: torch.Generator) -> Tensor:
    """An evenly lit aperture with a soft rim, (odd, odd); one smaller than a pixel is dimmer about the middle."""
    radius, (blades, turn) = DISC * size, aperture
    y, x = _grid(math.ceil(radius + rim))
    distance = torch.hypot(x, y)
    if blades:
        half = math.pi / blades
        distance = distance * ((torch.atan2(y, x) - turn) % (2 * half) - half).cos() / math.cos(half)
    made = ((radius - distance) / rim + 0.5).clamp_(0, 1)
    made[made.shape[0] // 2, made.shape[1] // 2] += 1e-3  # never nothing at all
    return made / made.sum()


def _grid(reach: int) -> tuple[Tensor, Tensor]:
    side = torch.arange(-reach, reach + 1.0)
    return side[:, None], side[None, :]


SHARP = torch.ones(1, 1)
"""The kernel of what is sharp."""
