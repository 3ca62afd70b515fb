"""Damaged copies of clean pictures: what ``restorer degrade`` writes and what nets are trained on.

A degradation is a function ``(x, strength, rng) -> y``; a recipe chains them: ``"rain+drops"`` is rain seen through
drops on the lens. Adding one is a function and a line in ``DEGRADATIONS``. Pictures are float32, (1, 3, H, W), RGB in
[0, 1], on the CPU; lengths are pixels, angles radians from the vertical, strength runs from 0 (nothing) to 1 (heavy).

Rain is a sum of layers of streaks over the picture [Yang 2017, "Deep joint rain detection and removal", eq. 2]; how a
streak looks (a motion-blurred drop: bright, soft, long when near) follows [Garg & Nayar 2007, "Vision and rain"]. We
draw how the streaks look first, wide on purpose, and then the number of streaks that gives the light asked for.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from restorer.errors import UsageError, unknown

Degradation = Callable[[Tensor, float, torch.Generator], Tensor]
Range = tuple[float, float]

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

# Drops on the lens, for a 512 x 512 picture.
DROPS: Range = (2.0, 36.0)  # mean number at strength 0 and 1
RADIUS: Range = (3.0, 40.0)
ELONGATION: Range = (1.0, 1.4)
MINIFY: Range = (2.0, 4.0)  # how many drop radii of background a drop shows in one
EDGE: Range = (0.1, 0.5)  # width of the soft edge, in radii
GAIN: Range = (1.0, 1.15)
HIGHLIGHT: Range = (0.05, 0.4)
RIM: Range = (0.0, 0.3)

# Noise: standard deviation at strength 1, so that the field's sigma of 25 is strength 0.25.
NOISE = 100 / 255


def degrade(x: Tensor, recipe: str, *, strength: float, rng: torch.Generator) -> Tensor:
    """A damaged copy of ``x``, the same for the same ``rng`` state; ``x`` itself at strength 0.

    Raises ``UsageError`` for a word that is no degradation, or a strength outside [0, 1].
    """
    steps = parse_recipe(recipe)
    if not 0 <= strength <= 1:
        raise UsageError(f"Strength {strength} is outside 0 to 1; 0 changes nothing, 1 is the heaviest.")
    if strength == 0:
        return x
    for step in steps:
        x = step(x, strength, rng)
    return x


def parse_recipe(recipe: str) -> list[Degradation]:
    """``"rain+drops"`` as functions, in order. Raises ``UsageError`` for a word in no table."""
    words = [word.strip() for word in recipe.split("+")]
    for word in words:
        if word not in DEGRADATIONS:
            raise unknown("degradation", word, list(DEGRADATIONS))
    return [DEGRADATIONS[word] for word in words]


# ------------------------------------------------------------------------------------------------ rain


def rain(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Rain over ``x``: sometimes mist, then 1 to 5 layers of streaks, added or covering."""
    if _chance(rng, VEIL_CHANCE):
        x = _veil(x, strength, rng)
    rms = RAIN_RMS * strength**0.4 * math.exp(1.4 * (strength - 1))
    rms *= math.exp(RAIN_SPREAD * float(torch.randn((), generator=rng)))
    light = _rain_light(x.shape[-2], x.shape[-1], rms, strength, rng)
    colour = _rain_colour(x, rng)
    cover = 0.0 if _chance(rng, ADD_CHANCE) else _uniform(rng, COVER)
    return (x * (1 - cover * light) + colour * light).clamp(0, 1)


def _rain_light(height: int, width: int, rms: float, strength: float, rng: torch.Generator) -> Tensor:
    """All layers together, (height, width) in [0, 1], of about the given RMS."""
    layers = 1 + int((torch.rand(MAX_LAYERS - 1, generator=rng) < 0.1 + 0.5 * strength).sum())
    shares = 0.2 + torch.rand(layers, generator=rng)
    shares = (shares / shares.sum()).sqrt().tolist()
    crossing = _chance(rng, 0.1 + 0.4 * strength)
    wind = _wind(rng)
    light = torch.zeros(height, width)
    for i, share in enumerate(shares):
        angle = _wind(rng) if crossing and i > 0 else wind + _uniform(rng, (-0.06, 0.06))
        layer = _noise_layer if _chance(rng, NOISE_CHANCE) else _streak_layer
        light += layer(height, width, angle, rms * share, rng)
    return light.clamp_(0, 1)


def _streak_layer(height: int, width: int, angle: float, rms: float, rng: torch.Generator) -> Tensor:
    """Streaks of ``SHAPES`` shapes at Poisson positions, as many as give ``rms``; (height, width), >= 0."""
    kernels = _kernels(SHAPES, LENGTH, angle, rng)
    peak = _log_uniform(rng, (min(max(BRIGHTNESS[0], 1.5 * rms), BRIGHTNESS[1]), BRIGHTNESS[1]))
    low = _uniform(rng, (0.2, 0.9))  # faintest streak / brightest
    mean, square = (1 + low) / 2 * peak, (1 + low + low * low) / 3 * peak * peak
    area, energy = float(kernels.sum()) / SHAPES, float(kernels.square().sum()) / SHAPES
    # Campbell's theorem: density d gives E[light²] = d·square·energy + (d·mean·area)²; solved for d.
    p, q = square * energy, (mean * area) ** 2
    density = min((math.sqrt(p * p + 4 * q * rms * rms) - p) / (2 * q), MAX_COVERAGE / area)

    rows, columns = _padded(height, width, kernels)
    count = int(torch.poisson(torch.tensor(density * rows * columns, dtype=torch.float64), generator=rng))
    where = torch.randint(SHAPES * rows * columns, (count,), generator=rng)
    brightness = peak * (low + (1 - low) * torch.rand(count, generator=rng))
    impulses = torch.zeros(SHAPES * rows * columns).index_add_(0, where, brightness)
    return _convolve(impulses.view(SHAPES, rows, columns), kernels)[:height, :width].clamp_(0, 1)


def _noise_layer(height: int, width: int, angle: float, rms: float, rng: torch.Generator) -> Tensor:
    """White noise blurred along the rain and cut at a threshold, scaled to ``rms``; (height, width), >= 0."""
    kernel = _kernels(1, NOISE_LENGTH, angle, rng)
    kernel = kernel / kernel.square().sum().sqrt()  # the blurred noise stays of unit variance
    rows, columns = _padded(height, width, kernel)
    field = _convolve(torch.randn(1, rows, columns, generator=rng), kernel)[:height, :width]
    cut = _uniform(rng, NOISE_CUT)
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

    length, width = _log_uniform(rng, lengths), _log_uniform(rng, WIDTH)
    half = 0.5 * length * vary(0.4)
    radius = 0.5 * max(WIDTH[0], min(width, length / SLIMNESS)) * vary(0.3)
    soft = max(1.0, min(_log_uniform(rng, SOFTNESS), length / 5)) if _chance(rng, 0.6) else 1.0
    taper = _uniform(rng, (0.3, 2.0)) if _chance(rng, 0.5) else 0.0
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


def _convolve(maps: Tensor, kernels: Tensor) -> Tensor:
    """Σ_k maps_k * kernels_k, only where no kernel hangs over the edge: nothing wraps around."""
    size = maps.shape[-2:]
    spectrum = (torch.fft.rfft2(maps) * torch.fft.rfft2(kernels, s=size)).sum(0)
    return torch.fft.irfft2(spectrum, s=size)[kernels.shape[-2] - 1 :, kernels.shape[-1] - 1 :]


def _padded(height: int, width: int, kernels: Tensor) -> tuple[int, int]:
    """The map that ``_convolve`` turns into at least (height, width), of sizes quick to transform."""
    return _smooth(height + kernels.shape[-2] - 1), _smooth(width + kernels.shape[-1] - 1)


def _smooth(n: int) -> int:
    """The smallest number >= n with no prime factor above 5."""
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


def _rain_colour(x: Tensor, rng: torch.Generator) -> Tensor:
    """Near white or grey, sometimes tinted or lit by the scene; (1, 3, 1, 1)."""
    colour = torch.full((1, 3, 1, 1), _uniform(rng, GREY))
    if _chance(rng, TINT_CHANCE):
        colour = colour + TINT * (2 * torch.rand(1, 3, 1, 1, generator=rng) - 1)
    if _chance(rng, AMBIENT_CHANCE):
        colour = 0.5 * colour + 0.5 * x.mean((2, 3), keepdim=True)
    return colour.clamp(0, 1)


def _veil(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """``x`` through thin mist that varies slowly over the picture."""
    coarse = torch.rand(1, 1, 3, 3, generator=rng)
    mist = F.interpolate(coarse, x.shape[-2:], mode="bilinear", align_corners=True)
    return torch.lerp(x, torch.tensor(_uniform(rng, AIRLIGHT)), mist * (strength * _uniform(rng, VEIL_OPACITY)))


def _wind(rng: torch.Generator) -> float:
    return _uniform(rng, STORM if _chance(rng, STORM_CHANCE) else WIND)


# ------------------------------------------------------------------------------------------------ drops on the lens


def drops(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Drops of water on the lens: each shows the scene small and upside down, blurred, brighter, with a dark rim.

    Number and size follow the picture: sizes grow with the root of the short side, the share of the picture covered
    does not change. Pixels outside the drops keep their value.
    """
    height, width = x.shape[-2:]
    short = min(height, width)
    mean = (DROPS[0] + (DROPS[1] - DROPS[0]) * strength) * max(height, width) / 512
    count = 1 + int(torch.poisson(torch.tensor(mean), generator=rng))
    cover, shade = torch.zeros(height, width), torch.zeros(height, width)
    source = torch.zeros(2, height, width)  # where a pixel's light comes from: x, y
    for _ in range(count):
        _put_drop(cover, shade, source, math.sqrt(short / 512), rng)

    # A drop shows far more of the scene than its size, out of focus: we read a picture reduced by as much.
    blur = round(_uniform(rng, MINIFY))
    small = F.interpolate(x, (max(1, height // blur), max(1, width // blur)), mode="area")
    grid = (source + 0.5) / torch.tensor([width, height])[:, None, None] * 2 - 1
    seen = F.grid_sample(small, grid.permute(1, 2, 0)[None], padding_mode="reflection", align_corners=False)
    seen = (seen * _uniform(rng, GAIN) + shade).clamp_(0, 1)
    return x + cover * (seen - x)


def _put_drop(cover: Tensor, shade: Tensor, source: Tensor, scale: float, rng: torch.Generator) -> None:
    """Draw one drop, on top of earlier ones, into its window of the three maps, each (..., H, W)."""
    height, width = cover.shape
    cx, cy = _uniform(rng, (0, width)), _uniform(rng, (0, height))
    radius = max(1.5, scale * _log_uniform(rng, RADIUS))
    stretch = math.sqrt(_uniform(rng, ELONGATION))
    tilt, edge, minify = _uniform(rng, (0, math.pi)), _uniform(rng, EDGE), _uniform(rng, MINIFY)
    highlight, rim = _uniform(rng, HIGHLIGHT), _uniform(rng, RIM)

    reach = math.ceil(radius * stretch) + 1
    top, left = max(0, int(cy) - reach), max(0, int(cx) - reach)
    window = (..., slice(top, int(cy) + reach + 1), slice(left, int(cx) + reach + 1))
    rows, columns = cover[window].shape
    dy = (torch.arange(top, top + rows) - cy)[:, None]
    dx = (torch.arange(left, left + columns) - cx)[None, :]
    u = (dx * math.cos(tilt) + dy * math.sin(tilt)) / (radius * stretch)
    v = (dy * math.cos(tilt) - dx * math.sin(tilt)) / (radius / stretch)
    rho = torch.hypot(u, v)  # 1 on the outline

    opacity = ((1 - rho) / edge).clamp_(0, 1)
    glint = torch.exp(-((u + 0.3).square() + (v + 0.4).square()) * 12)
    bend = -minify * (1 + rho.square())  # upside down; wider towards the outline, as in a ball
    front = opacity > cover[window]  # where drops meet, the one further inside its outline shows
    shade[window] = torch.where(front, highlight * glint - rim * rho**4, shade[window])
    source[window] = torch.where(front, torch.stack([cx + bend * dx, cy + bend * dy]), source[window])
    cover[window] = torch.where(front, opacity, cover[window])


# ------------------------------------------------------------------------------------------------ noise


def noise(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """White Gaussian noise of 100 strength 8-bit levels; not cut off at 0 and 1, which only a file does."""
    return x + strength * NOISE * torch.randn(x.shape, generator=rng)


# ------------------------------------------------------------------------------------------------ chance


def _uniform(rng: torch.Generator, bounds: Range) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * float(torch.rand((), generator=rng))


def _log_uniform(rng: torch.Generator, bounds: Range) -> float:
    return math.exp(_uniform(rng, (math.log(bounds[0]), math.log(bounds[1]))))


def _chance(rng: torch.Generator, probability: float) -> bool:
    return float(torch.rand((), generator=rng)) < probability


DEGRADATIONS: dict[str, Degradation] = {"rain": rain, "drops": drops, "noise": noise}
