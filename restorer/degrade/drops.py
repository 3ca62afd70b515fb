"""Drops of water on the lens."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from restorer.degrade.chance import Range, log_uniform, uniform

# Drops on the lens, for a 512 x 512 picture.
DROPS: Range = (2.0, 36.0)  # mean number at strength 0 and 1
RADIUS: Range = (3.0, 40.0)
ELONGATION: Range = (1.0, 1.4)
MINIFY: Range = (2.0, 4.0)  # how many drop radii of background a drop shows in one
EDGE: Range = (0.1, 0.5)  # width of the soft edge, in radii
GAIN: Range = (1.0, 1.15)
HIGHLIGHT: Range = (0.05, 0.4)
RIM: Range = (0.0, 0.3)


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
    blur = round(uniform(rng, MINIFY))
    small = F.interpolate(x, (max(1, height // blur), max(1, width // blur)), mode="area")
    grid = (source + 0.5) / torch.tensor([width, height])[:, None, None] * 2 - 1
    seen = F.grid_sample(small, grid.permute(1, 2, 0)[None], padding_mode="reflection", align_corners=False)
    seen = (seen * uniform(rng, GAIN) + shade).clamp_(0, 1)
    return x + cover * (seen - x)


def _put_drop(cover: Tensor, shade: Tensor, source: Tensor, scale: float, rng: torch.Generator) -> None:
    """Draw one drop, on top of earlier ones, into its window of the three maps, each (..., H, W)."""
    height, width = cover.shape
    cx, cy = uniform(rng, (0, width)), uniform(rng, (0, height))
    radius = max(1.5, scale * log_uniform(rng, RADIUS))
    stretch = math.sqrt(uniform(rng, ELONGATION))
    tilt, edge, minify = uniform(rng, (0, math.pi)), uniform(rng, EDGE), uniform(rng, MINIFY)
    highlight, rim = uniform(rng, HIGHLIGHT), uniform(rng, RIM)

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
