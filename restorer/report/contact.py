"""A contact sheet: small pictures of one size in rows, each with a line of words above it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from restorer import images
from restorer.errors import ImageError, UsageError
from restorer.images.picture import from_levels, to_levels
from restorer.plan import file_id
from restorer.report.comparison import check_place, write_sheet

GAP = 8
WORDS = 14
"""Height of the letters, in pixels."""
STRIP = 22
"""Height of the line that they stand in."""
NARROWEST = 256
"""Of a cell: narrower ones have no room for words."""
LEFT_OUT = "…"


def place_for(picture: Path, asked: Path | None) -> Path:
    """Where the sheet goes, beside the picture unless asked for elsewhere; never onto it, nor onto another's file.

    Raises ``ImageError`` and ``UsageError``.
    """
    place = picture.with_name(f"{picture.stem}_tasks.jpg") if asked is None else asked
    place = place / f"{picture.stem}_tasks.jpg" if place.is_dir() else place
    if images.format_of(place) is None:
        raise UsageError(f"{place}: its ending is that of no picture; name it .jpg or .png.")
    if place.exists() and file_id(place) == file_id(picture):
        raise ImageError(f"{picture}: the sheet would be written onto it; choose another --output.")
    check_place(place)
    return place


def contact(cells: Sequence[tuple[Tensor, str]], place: Path) -> None:
    """Write the pictures (1, 3, h, w) in [0, 1], each under its words. Raises ``ImageError``."""
    write_sheet(sheet(cells), place)


def sheet(cells: Sequence[tuple[Tensor, str]]) -> Tensor:
    """As one picture (1, 3, H, W), as square as may be, white between them."""
    height = max(pixels.shape[-2] for pixels, _ in cells)
    width = max(NARROWEST, *(pixels.shape[-1] for pixels, _ in cells))
    drawn = [_cell(pixels, words, (height, width)) for pixels, words in cells]
    columns = math.ceil(math.sqrt(len(drawn)))
    blank = torch.ones_like(drawn[0])
    drawn += [blank] * (-len(drawn) % columns)
    gaps = blank[..., :GAP], torch.ones(1, 3, GAP, columns * (width + GAP) - GAP)
    rows = [_joined(drawn[i : i + columns], gaps[0], 3) for i in range(0, len(drawn), columns)]
    return _joined(rows, gaps[1], 2)


def _joined(parts: Sequence[Tensor], gap: Tensor, dim: int) -> Tensor:
    return torch.cat([part for one in parts for part in (gap, one)][1:], dim=dim)


def _cell(pixels: Tensor, words: str, size: tuple[int, int]) -> Tensor:
    height, width = size
    image = Image.new("RGB", (width, STRIP + height), "white")
    font = ImageFont.load_default(WORDS)
    ImageDraw.Draw(image).text((2, STRIP // 2), _fitting(words, font, width - 4), "black", font, anchor="lm")
    own = Image.fromarray(to_levels(pixels[0].permute(1, 2, 0).contiguous().numpy(), 8))
    image.paste(own, (0, STRIP))
    return torch.from_numpy(from_levels(np.asarray(image))).permute(2, 0, 1)[None]


def _fitting(words: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The words, without some of their middle where they are too long."""
    words = words.encode("utf-8", "replace").decode("utf-8")  # a file's name need not be text
    for kept in range(len(words), 1, -1):
        shown = words if kept == len(words) else f"{words[: kept - kept // 3]}{LEFT_OUT}{words[-(kept // 3) :]}"
        if font.getlength(shown) <= width:
            return shown
    return LEFT_OUT
