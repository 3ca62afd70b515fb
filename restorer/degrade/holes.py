"""What is lost or painted over: single pixels, strokes, lines and blocks.

Each can tell where: ``..._with_mask`` gives (y, mask), the mask float32 (1, 1, H, W), 1 where the picture is damaged.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from restorer.degrade.chance import Range, chance, log_uniform, uniform, whole

MOST = 0.95  # of the pixels are lost at most
MASK_CHANCE = 0.5  # of ``holes``; otherwise scratches

# Scratches. At strength 1 this share of the picture would be covered if nothing overlapped, of which it has a part.
COVER = 0.45
PART: Range = (0.5, 1.0)
COLOURS: tuple[float | None, ...] = (0.0, 0.0, 1.0, 1.0, None)  # black, white; None draws one
THICKNESS: Range = (1.0, 6.0)
KINDS = (1, 2)  # how many kinds share a picture
WRITING: Range = (8.0, 32.0)  # height of letters, in pixels
STROKES = 3  # a letter
BEND = 0.35  # how far curves leave the straight line, in their lengths
BLOCK: Range = (0.03, 0.3)  # a block's side, in short sides of the picture


def holes(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Lost pixels or scratches."""
    return holes_with_mask(x, strength, rng)[0]


def holes_with_mask(x: Tensor, strength: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """As ``holes``, and where."""
    damage = mask_with_mask if chance(rng, MASK_CHANCE) else scratches_with_mask
    return damage(x, strength, rng)


def mask(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Pixels that are black: each with a probability of ``strength``, at most 0.95."""
    return mask_with_mask(x, strength, rng)[0]


def mask_with_mask(x: Tensor, strength: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """As ``mask``, and where."""
    kept = torch.rand(1, 1, *x.shape[-2:], generator=rng) >= min(strength, MOST)
    return x * kept, 1 - kept.float()


def scratches(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Writing, lines, curves and blocks of one colour."""
    return scratches_with_mask(x, strength, rng)[0]


def scratches_with_mask(x: Tensor, strength: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """As ``scratches``, and where."""
    height, width = x.shape[-2:]
    kinds = whole(rng, *KINDS)
    area = COVER * strength * uniform(rng, PART) * height * width / kinds
    marked = torch.zeros(height, width, dtype=torch.bool)
    for _ in range(kinds):
        draw = SCRATCHES[whole(rng, 0, len(SCRATCHES) - 1)]
        marked |= draw(height, width, area, rng)
    colour = COLOURS[whole(rng, 0, len(COLOURS) - 1)]
    paint = torch.rand(1, 3, 1, 1, generator=rng) if colour is None else torch.full((1, 3, 1, 1), colour)
    return torch.where(marked, paint, x), marked.float()[None, None]


def _writing(height: int, width: int, area: float, rng: torch.Generator) -> Tensor:
    """Lines of letters that no one can read, as many as cover ``area``; (height, width), true where drawn."""
    size = log_uniform(rng, WRITING)
    thick = max(1, round(size * uniform(rng, (0.08, 0.16))))
    count = 1 + int(area / (STROKES * thick * 0.7 * size))
    # Letters stand in lines one and a half letters high, begun anywhere.
    columns = max(1, math.ceil(width / (0.8 * size)))
    place = torch.arange(count) + whole(rng, 0, 9999)
    rows = max(1, math.ceil(height / (1.5 * size)))
    corner = torch.stack([place % columns * 0.8 * size, place // columns % rows * 1.5 * size], 1)
    corner = corner - size * torch.rand(2, generator=rng)
    inside = torch.rand(count, STROKES, 3, 2, generator=rng) * torch.tensor([0.7, 1.0]) * size
    ends = (corner[:, None, None] + inside).flatten(0, 1)
    return _drawn(height, width, ends, thick)


def _curves(height: int, width: int, area: float, rng: torch.Generator) -> Tensor:
    """Thin curves from anywhere to anywhere."""
    thick, count = _thickness(height, width, area, 0.5, rng)
    size = torch.tensor([float(width), float(height)])
    ends = torch.rand(count, 3, 2, generator=rng) * size
    middle = (ends[:, 0] + ends[:, 2]) / 2
    ends[:, 1] = middle + 2 * BEND * (ends[:, 1] - middle)
    return _drawn(height, width, ends, thick)


def _lines(height: int, width: int, area: float, rng: torch.Generator) -> Tensor:
    """Straight lines across the picture, nearly parallel, as scratches of a film are."""
    thick, count = _thickness(height, width, area, 1.0, rng)
    turn, length = uniform(rng, (0, math.pi)), math.hypot(height, width)
    angle = turn + 0.15 * torch.randn(count, generator=rng)
    middle = torch.rand(count, 2, generator=rng) * torch.tensor([float(width), float(height)])
    half = torch.stack([angle.cos(), angle.sin()], 1) * (length * torch.rand(count, 1, generator=rng))
    return _drawn(height, width, torch.stack([middle - half, middle, middle + half], 1), thick)


def _blocks(height: int, width: int, area: float, rng: torch.Generator) -> Tensor:
    """Rectangles, as many as cover ``area``."""
    marked = torch.zeros(height, width, dtype=torch.bool)
    short = min(height, width)
    while area > 0:
        rows, columns = (max(1, round(short * log_uniform(rng, BLOCK))) for _ in range(2))
        top, left = (whole(rng, -side // 2, size - 1) for side, size in ((rows, height), (columns, width)))
        marked[max(0, top) : top + rows, max(0, left) : left + columns] = True
        area -= rows * columns
    return marked


def _thickness(height: int, width: int, area: float, length: float, rng: torch.Generator) -> tuple[int, int]:
    """How thick lines are that are ``length`` short sides long, and how many of them cover ``area``."""
    thick = round(log_uniform(rng, THICKNESS))
    return thick, 1 + int(area / (thick * length * min(height, width)))


def _drawn(height: int, width: int, ends: Tensor, thick: int) -> Tensor:
    """Quadratic curves (n, 3, 2) of begin, handle and end, each (x, y), drawn with a square pen."""
    points = 1 + math.ceil(float((ends.diff(dim=1)).norm(dim=-1).sum(-1).max()))
    t = torch.linspace(0, 1, points)[:, None]
    begin, handle, end = (ends[:, i, None] for i in range(3))
    path = (begin * (1 - t) ** 2 + 2 * handle * t * (1 - t) + end * t**2).round().long().flatten(0, 1)
    x, y = path.unbind(1)
    seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    canvas = torch.zeros(height * width)
    canvas[y[seen] * width + x[seen]] = 1
    canvas = canvas.view(1, 1, height, width)
    if thick > 1:
        grown = F.pad(canvas, (thick // 2, (thick - 1) // 2, thick // 2, (thick - 1) // 2))
        canvas = F.max_pool2d(grown, thick, 1)
    return canvas[0, 0] > 0


SCRATCHES = (_writing, _curves, _lines, _blocks)
"""Each draws what covers an area: (height, width, area, rng) -> (height, width), true where it covers."""
