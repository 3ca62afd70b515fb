"""JPEG."""

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from restorer.degrade.chance import chance, whole

# Quality BEST at strength 0 and WORST at 1, in equal ratios between: quality 40, 30, 20, 10 at strength 0.294, 0.391,
# 0.529, 0.765.
BEST = 95
WORST = 5
FULL_COLOUR_CHANCE = 0.2  # 4:4:4; otherwise colours have half the pixels a side
CROPPED_CHANCE = 0.2  # blocks need not begin at the corner: pictures are cropped after they were saved
BLOCK = 16


def jpeg(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """``x`` saved as JPEG of ``quality(strength)``."""
    colours = 0 if chance(rng, FULL_COLOUR_CHANCE) else 2
    top, left = (whole(rng, 0, BLOCK - 1) for _ in range(2)) if chance(rng, CROPPED_CHANCE) else (0, 0)
    height, width = x.shape[-2:]
    saved = coded(F.pad(x, (left, 0, top, 0), mode="replicate"), quality(strength), colours)
    return saved[..., top : top + height, left : left + width]


def quality(strength: float) -> int:
    """95 (95 / 5)^-strength, rounded."""
    return round(BEST * (BEST / WORST) ** -strength)


def coded(x: Tensor, quality: int, subsampling: int) -> Tensor:
    """``x`` (1, 3, H, W) as it comes back from a JPEG; ``subsampling`` is Pillow's: 0 is 4:4:4, 2 is 4:2:0."""
    levels = (x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    back = torch.from_numpy(np.array(Image.open(file)))
    return (back.permute(2, 0, 1)[None].float() / 255).contiguous()
