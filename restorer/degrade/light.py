"""Too little light: what a camera makes of a dark scene.

As in pairs of one scene exposed twice [Wei 2018, "Deep Retinex decomposition for low-light enhancement"]: less light,
the noise of photons and of the sensor, which is large beside so little [Foi 2008, "Practical Poissonian-Gaussian noise
modeling", eq. 1], and what a camera's own pictures then suffer: colours off and pale, 8 bits.
"""

import math

import torch
from torch import Tensor

from restorer.degrade.chance import Range, chance, log_uniform, normal, slow_map, uniform
from restorer.degrade.srgb import to_linear, to_srgb

# Light left: exp(-DARKER · strength), spread; half at strength 0.17, a twentieth at 0.75.
DARKER = 4.1
SPREAD = 0.3  # standard deviation of ln(light left) at one strength
LEAST = 0.008
TONE: Range = (0.9, 1.15)  # exponent of the camera's own curve, after sRGB's
CAST = 0.08  # standard deviation of ln(gain) of a channel
PALE: Range = (0.0, 0.4)  # how much of the colour is lost
UNEVEN_CHANCE = 0.3  # light falls off over the picture, to
UNEVEN: Range = (0.4, 0.9)

# Noise in linear light, where white is 1: var = PHOTONS · light + SENSOR².
PHOTONS: Range = (2e-5, 1e-3)
SENSOR: Range = (1e-4, 2.5e-3)
CLEAN_CHANCE = 0.15
COARSE_CHANCE = 0.4  # neighbours share noise, as after demosaicing, by
COARSE: Range = (0.1, 0.5)
COLOUR: Range = (1.0, 1.8)  # how much noisier red and blue are than green


def lowlight(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """``x`` exposed too short, from half the light to a hundredth of it, with a camera's noise, in 8 bits."""
    left = max(LEAST, math.exp(-DARKER * strength + SPREAD * normal(rng) * min(1.0, 4 * strength)))
    light = left * to_linear(x)
    if chance(rng, UNEVEN_CHANCE):
        fall = uniform(rng, UNEVEN)
        light = light * (1 - (1 - fall) * slow_map(rng, x.shape[-2], x.shape[-1], 1))
    if not chance(rng, CLEAN_CHANCE):
        light = light + _noise(light, rng)
    light = light * torch.exp(CAST * torch.randn(1, 3, 1, 1, generator=rng))
    y = to_srgb(light) ** uniform(rng, TONE)
    grey = y.mean(1, keepdim=True)
    y = torch.lerp(y, grey, uniform(rng, PALE))
    return (y * 255).round_() / 255


def _noise(light: Tensor, rng: torch.Generator) -> Tensor:
    """Of photons and sensor, like ``light``."""
    variance = log_uniform(rng, PHOTONS) * light + log_uniform(rng, SENSOR) ** 2
    noise = torch.randn(light.shape, generator=rng)
    if chance(rng, COARSE_CHANCE):
        share = uniform(rng, COARSE)
        for side in (-1, -2):
            noise = (noise + share * (noise.roll(1, side) + noise.roll(-1, side))) / math.sqrt(1 + 2 * share**2)
    red, blue = uniform(rng, COLOUR), uniform(rng, COLOUR)
    return noise * variance.sqrt() * torch.tensor([red, 1.0, blue])[:, None, None]
