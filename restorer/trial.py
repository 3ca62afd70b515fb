"""What a model makes of the middle of a picture, to see whether it helps."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from torch import Tensor

from restorer import images
from restorer.errors import ImageError, InputError
from restorer.restore import Restorer
from restorer.settings import Settings

SIDE = 256
"""Of the middle that is tried, in pixels of the result."""


class Trial(NamedTuple):
    """The middle restored, (1, 3, h, w) in [0, 1], and how long that took, without loading the model."""

    pixels: Tensor
    seconds: float


def look(file: Path) -> Tensor:
    """The picture's pixels (1, 3, H, W). Raises ``InputError`` where it is not there or cannot be read."""
    if not file.exists():
        raise InputError(f"{file} does not exist; check the path.")
    try:
        return images.read(file).pixels
    except ImageError as error:
        raise InputError(str(error)) from error


def middle(pixels: Tensor, side: int = SIDE) -> Tensor:
    """The central square, or as much of it as there is."""
    top, left = (max(0, (length - side) // 2) for length in pixels.shape[-2:])
    return pixels[..., top : top + side, left : left + side]


def attempt(pixels: Tensor, task: str, model: str, scale: int, device: str) -> Trial:
    """The middle of a picture as the model makes it; of one that enlarges as many pixels as of the others.

    Raises as ``Restorer.from_pretrained`` and ``Restorer.restore``.
    """
    restorer = Restorer.from_pretrained(model, task=task, scale=scale, device=device)
    part = middle(pixels, SIDE // scale).contiguous()
    started = perf_counter()
    made = restorer.restore(part, Settings())
    return Trial(made, perf_counter() - started)
