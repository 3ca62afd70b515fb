"""Pairs as pictures: one beside the other, and many in a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import interpolate

from restorer.images.picture import from_levels, to_levels

GAP = 8
CELL = 480
"""Longest side of a picture in a sheet."""
WORDS = ("before", "after", "ground truth")


def side(before: Tensor, after: Tensor, target: Tensor | None = None, *, labels: bool = True) -> Tensor:
    """One beside the other, (1, 3, H, W) in [0, 1] all; a smaller ``before`` is shown as large as ``after``."""
    size = tuple(after.shape[-2:])
    shown = [_at(v, size) for v in (before, after, target) if v is not None]
    if labels:
        shown = [_labelled(v, word) for v, word in zip(shown, WORDS, strict=False)]
    gap = torch.ones(1, 3, size[0], GAP)
    parts = [part for v in shown for part in (gap, v)][1:]
    return torch.cat(parts, dim=3)


def small(*pictures: Tensor | None) -> list[Tensor]:
    """Pictures for a sheet: no longer than CELL, and of the size of the second."""
    height, width = pictures[1].shape[-2:]
    ratio = min(1, CELL / max(height, width))
    size = max(1, round(height * ratio)), max(1, round(width * ratio))
    return [_at(v, size) for v in pictures if v is not None]


def grid(rows: Sequence[Sequence[Tensor]], *, labels: bool = True, words: Sequence[str] = WORDS) -> Tensor:
    """Rows of small pictures as one sheet, white between them; the rows may differ in size. ``words``: of columns."""
    width = max(sum(v.shape[-1] + GAP for v in row) for row in rows) - GAP
    lines = []
    for i, row in enumerate(rows):
        height = max(v.shape[-2] for v in row)
        line, left = torch.ones(1, 3, height + GAP, width), 0
        for v, word in zip_longest(row, words[: len(row)]):
            drawn = _labelled(v, word) if labels and word and i == 0 else v
            line[..., : v.shape[-2], left : left + v.shape[-1]] = drawn
            left += v.shape[-1] + GAP
        lines.append(line)
    return torch.cat(lines, dim=2)[..., :-GAP, :]


def _at(picture: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(picture.shape[-2:]) == size:
        return picture
    return interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)


def _labelled(picture: Tensor, word: str) -> Tensor:
    """The picture with a word in its upper left corner."""
    image = Image.fromarray(to_levels(picture[0].permute(1, 2, 0).contiguous().numpy(), 8))
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(10, min(28, image.width // 12)))
    box = draw.textbbox((6, 4), word, font=font)
    draw.rectangle((box[0] - 4, box[1] - 3, box[2] + 4, box[3] + 3), fill=(0, 0, 0))
    draw.text((6, 4), word, font=font, fill=(255, 255, 255))
    return torch.from_numpy(from_levels(np.asarray(image))).permute(2, 0, 1)[None].contiguous()
