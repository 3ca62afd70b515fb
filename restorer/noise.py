"""How much noise is in a picture: its standard deviation, guessed from where the picture is smoothest."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# A second difference both ways: 0 on any ramp, and noise keeps its variance (Immerkaer, Fast Noise Variance
# Estimation, 1996).
_DIFFERENCE = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]) / 6
_BLOCK = 12
_SMOOTHEST = 0.1  # the share of blocks that are taken to hold noise alone
_SHRINK = 0.859  # what white noise of unit variance gives: the calmest tenth of its blocks is calmer than the rest
_CLIPPED = 0.02  # blocks with more pixels than this at black or white hide some of their noise


def estimate_sigma(picture: Tensor) -> float:
    """Standard deviation of white noise in ``picture``, (1, C, H, W) in [0, 1], in 8-bit levels; 0 for flat ones.

    Texture that fills the picture counts as noise. Pictures smaller than a block are taken whole.
    """
    side = min(_BLOCK, *(n - 2 for n in picture.shape[-2:]))
    if side < 1:
        return 0.0
    channels = picture.float().transpose(0, 1)
    power = F.avg_pool2d(F.conv2d(channels, _DIFFERENCE[None, None]).square(), side).flatten(1)
    inner = channels[..., 1:-1, 1:-1]
    clipped = F.avg_pool2d(((inner <= 0) | (inner >= 1)).float(), side).flatten(1) > _CLIPPED
    calm = [_calmest(row[~out] if not out.all() else row) for row, out in zip(power, clipped, strict=True)]
    return 255 / _SHRINK * (sum(calm) / len(calm)) ** 0.5


def _calmest(power: Tensor) -> float:
    return float(power.quantile(_SMOOTHEST)) if len(power) > 1 else float(power)
