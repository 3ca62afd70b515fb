"""Rain over the picture.

Rain is a sum of layers of streaks over the picture [Yang 2017, "Deep joint rain detection and removal", eq. 2]; how a
streak looks (a motion-blurred drop: bright, soft, long when near) follows [Garg & Nayar 2007, "Vision and rain"]. We
draw how the streaks look first, wide on purpose, and then the number of streaks that gives the light asked for.
Lengths are pixels, angles radians from the vertical.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from restorer.degrade.chance import Range, chance, log_uniform, uniform
from restorer.degrade.convolve import convolve, padded

# Rain, a picture. The light of all layers together, as RMS: RAIN_RMS · strength^0.4 · exp(1.4 (strength - 1)), spread.
RAIN_RMS = 0.43
RAIN_SPREAD = 0.25  # standard deviation of ln(rms) at one strength
MAX_LAYERS = 5
WIND: Range = (-0.8, 0.8)  # the angle of most rain
STORM: Range = (-1.4, 1.4)  # the angle of some of it
STORM_CHANCE = 0.12
ADD_CHANCE = 0.6  # light added to the picture; otherwise it covers the picture, by a share in COVER
COVER: Range = (0.5, 1.0)
GREY: Range = (0.7, 1.0)  # colour of the rain
TINT = 0.08  # how far a tinted rain's channels stray
TINT_CHANCE = 0.15
AMBIENT_CHANCE = 0.2  # rain that takes half its colour from the scene
VEIL_CHANCE = 0.25
VEIL_OPACITY: Range = (0.05, 0.25)  # at strength 1
AIRLIGHT: Range = (0.6, 0.95)

# Rain, a layer.
LENGTH: Range = (6.0, 90.0)  # streaks of the layer vary about it by 40 %
WIDTH: Range = (0.7, 5.0)  # by 30 %
SOFTNESS: Range = (1.0, 6.0)  # width of a streak's edge; 1 is a plain anti-aliased edge
BRIGHTNESS: Range = (0.2, 1.0)  # peak of the brightest streak
MAX_COVERAGE = 0.5  # streak area for each pixel: more would be fog
SLIMNESS = 7.0  # a layer's length is at least so many widths
SHAPES = 4  # kernels a layer
NOISE_CHANCE = 0.2  # a layer of blurred noise cut at a threshold, as rain is painted in photo editors
NOISE_LENGTH: Range = (20.0, 90.0)  # shorter blur looks like snow
NOISE_CUT: Range = (0.0, 2.0)  # in standard deviations


def rain(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Rain over ``x``: sometimes mist, then 1 to 5 layers of streaks, added or covering."""
    if chance(rng, VEIL_CHANCE):
        x = _veil(x, strength, rng)
    rms = RAIN_RMS * strength**0.4 * math.exp(1.4 * (strength - 1))
    rms *= math.exp(RAIN_SPREAD * float(torch.randn((), generator=rng)))
    light = _rain_light(x.shape[-2], x.shape[-1], rms, strength, rng)
    colour = _rain_colour(x, rng)
    cover = 0.0 if chance(rng, ADD_CHANCE) else uniform(rng, COVER)
    return (x * (1 - cover * light) + colour * light).clamp(0, 1)


def _rain_light(height: int, width: int, rms: float, strength: float, rng: torch.Generator) -> Tensor:
    """All layers together, (height, width) in [0, 1], of about the given RMS."""
    layers = 1 + int((torch.rand(MAX_LAYERS - 1, generator=rng) < 0.1 + 0.5 * strength).sum())
    shares = 0.2 + torch.rand(layers, generator=rng)
    shares = (shares / shares.sum()).sqrt().tolist()
    crossing = chance(rng, 0.1 + 0.4 * strength)
    wind = _wind(rng)
    light = torch.zeros(height, width)
    for i, share in enumerate(shares):
        angle = _wind(rng) if crossing and i > 0 else wind + uniform(rng, (-0.06, 0.06))
        layer = _noise_layer if chance(rng, NOISE_CHANCE) else _streak_layer
        light += layer(height, width, angle, rms * share, rng)
    return light.clamp_(0, 1)


def _streak_layer(height: int, width: int, angle: float, rms: float, rng: torch.Generator) -> Tensor:
    """Streaks of ``SHAPES`` shapes at Poisson positions, as many as give ``rms``; (height, width), >= 0."""
    kernels = _kernels(SHAPES, LENGTH, angle, rng)
    peak = log_uniform(rng, (min(max(BRIGHTNESS[0], 1.5 * rms), BRIGHTNESS[1]), BRIGHTNESS[1]))
    low = uniform(rng, (0.2, 0.9))  # faintest streak / brightest
    mean, square = (1 + low) / 2 * peak, (1 + low + low * low) / 3 * peak * peak
    area, energy = float(kernels.sum()) / SHAPES, float(kernels.square().sum()) / SHAPES
    # Campbell's theorem: density d gives E[light²] = d·square·energy + (d·mean·area)²; solved for d.
    p, q = square * energy, (mean * area) ** 2
    density = min((math.sqrt(p * p + 4 * q * rms * rms) - p) / (2 * q), MAX_COVERAGE / area)

    rows, columns = padded(height, width, kernels)
    count = int(torch.poisson(torch.tensor(density * rows * columns, dtype=torch.float64), generator=rng))
    where = torch.randint(SHAPES * rows * columns, (count,), generator=rng)
    brightness = peak * (low + (1 - low) * torch.rand(count, generator=rng))
    impulses = torch.zeros(SHAPES * rows * columns).index_add_(0, where, brightness)
    return convolve(impulses.view(SHAPES, rows, columns), kernels)[:height, :width].clamp_(0, 1)


def _noise_layer(height: int, width: int, angle: float, rms: float, rng: torch.Generator) -> Tensor:
    """White noise blurred along the rain and cut at a threshold, scaled to ``rms``; (height, width), >= 0."""
    kernel = _kernels(1, NOISE_LENGTH, angle, rng)
    kernel = kernel / kernel.square().sum().sqrt()  # the blurred noise stays of unit variance
    rows, columns = padded(height, width, kernel)
    field = convolve(torch.randn(1, rows, columns, generator=rng), kernel)[:height, :width]
    cut = uniform(rng, NOISE_CUT)
    # E[max(z - c, 0)²] for a normal z
    above = 0.5 * math.erfc(cut / math.sqrt(2))
    energy = (1 + cut * cut) * above - cut * math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    return ((field - cut).clamp_(min=0) * (rms / math.sqrt(energy))).clamp_(max=1)


def _kernels(count: int, lengths: Range, angle: float, rng: torch.Generator) -> Tensor:
    """Streaks of one layer at the centre of (count, rows, columns), odd sizes, peak <= 1.

    Lengths, widths and angles vary about the layer's. A streak is a capsule with soft edges; ``taper`` 0 keeps it flat
    along its length, more lets the ends fade.
    """

    def vary(spread: float) -> Tensor:
        return 1 + spread * (2 * torch.rand(count, 1, 1, generator=rng) - 1)

    length, width = log_uniform(rng, lengths), log_uniform(rng, WIDTH)
    half = 0.5 * length * vary(0.4)
    radius = 0.5 * max(WIDTH[0], min(width, length / SLIMNESS)) * vary(0.3)
    soft = max(1.0, min(log_uniform(rng, SOFTNESS), length / 5)) if chance(rng, 0.6) else 1.0
    taper = uniform(rng, (0.3, 2.0)) if chance(rng, 0.5) else 0.0
    angles = angle + 0.05 * (vary(1.0) - 1)

    across, down = angles.sin(), angles.cos()
    reach = float(radius.max()) + 0.5 * soft
    top = math.ceil(float((half * down).abs().max()) + reach)
    left = math.ceil(float((half * across).abs().max()) + reach)
    y = torch.arange(-top, top + 1.0)[:, None]
    x = torch.arange(-left, left + 1.0)[None, :]
    along = x * across + y * down
    beyond = (along.abs() - half).clamp_(min=0)
    distance = torch.hypot(x * down - y * across, beyond)
    # A streak thinner than a pixel is dimmer, not narrower.
    profile = ((radius + 0.5 * soft - distance) / soft).clamp_(min=0).minimum((2 * radius).clamp(max=1))
    return profile * (1 - (along / half).clamp(-1, 1).square()) ** taper


def _rain_colour(x: Tensor, rng: torch.Generator) -> Tensor:
    """Near white or grey, sometimes tinted or lit by the scene; (1, 3, 1, 1)."""
    colour = torch.full((1, 3, 1, 1), uniform(rng, GREY))
    if chance(rng, TINT_CHANCE):
        colour = colour + TINT * (2 * torch.rand(1, 3, 1, 1, generator=rng) - 1)
    if chance(rng, AMBIENT_CHANCE):
        colour = 0.5 * colour + 0.5 * x.mean((2, 3), keepdim=True)
    return colour.clamp(0, 1)


def _veil(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """``x`` through thin mist that varies slowly over the picture."""
    coarse = torch.rand(1, 1, 3, 3, generator=rng)
    mist = F.interpolate(coarse, x.shape[-2:], mode="bilinear", align_corners=True)
    return torch.lerp(x, torch.tensor(uniform(rng, AIRLIGHT)), mist * (strength * uniform(rng, VEIL_OPACITY)))


def _wind(rng: torch.Generator) -> float:
    return uniform(rng, STORM if chance(rng, STORM_CHANCE) else WIND)
