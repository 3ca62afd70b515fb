"""Several pictures as one: a sheet, and an animation."""

import io
import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from restorer.images.picture import to_levels

_GAP = 2


def sheet(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures (1, 3, H, W) of one size in rows, as near to a square as their number allows; white between and after.

    All float32 RGB in [0, 1]; the first ones are on top.
    """
    _, _, height, width = pictures[0].shape
    columns = math.ceil(math.sqrt(len(pictures) * height / width))
    rows = math.ceil(len(pictures) / columns)
    laid = torch.ones(1, 3, rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + _GAP), i % columns * (width + _GAP)
        laid[:, :, top : top + height, left : left + width] = picture
    return laid


def gif(frames: Sequence[Tensor], seconds: float = 3.0, hold: float = 2.0) -> bytes:
    """An endless animation of frames (1, 3, H, W) in [0, 1] that takes ``seconds`` and holds its last frame longer."""
    drawn = [Image.fromarray(to_levels(frame[0].permute(1, 2, 0).numpy(), 8)) for frame in frames]
    each = max(20, round(1000 * seconds / len(drawn)))
    durations = [each] * (len(drawn) - 1) + [each + round(1000 * hold)]
    file = io.BytesIO()
    drawn[0].save(file, "GIF", save_all=True, append_images=drawn[1:], duration=durations, loop=0)
    return file.getvalue()
