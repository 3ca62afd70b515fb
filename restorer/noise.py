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
_COARSE = 4  # how many times smaller a picture is where shared noise is measured
_AS_WHITE = 0.85  # noise whose share in the differences of colours is smaller is not white


def estimate_sigma(picture: Tensor) -> float:
    """Standard deviation of the noise in ``picture``, (1, C, H, W) in [0, 1], in 8-bit levels; 0 for flat ones.

    Texture that fills the picture counts as noise. Pictures smaller than a block are taken whole. Noise that pixels
    share with their neighbours, as a camera's does, is measured where the picture is four times smaller, and is that of
    the white noise that would be as strong there.
    """
    if min(picture.shape[-2:]) < 3:
        return 0.0
    picture = picture.float()
    sigma = _white(picture, picture)
    if picture.shape[1] != 3 or min(picture.shape[-2:]) < 3 * _COARSE:
        return sigma
    if _of_colours(picture) >= _AS_WHITE * sigma:
        return sigma
    # A mean over n x n pixels divides white noise by n.
    return max(sigma, _COARSE * _of_colours(F.avg_pool2d(picture, _COARSE)))


def _of_colours(picture: Tensor) -> float:
    """White noise of the differences of colours, which show less of the picture and, where it is white, all the noise.

    The colours of a camera's sensor are interpolated, and those of most files kept at half the size, so that little of
    a photograph's noise is here between neighbours.
    """
    red, green, blue = picture.split(1, dim=1)
    return _white(torch.cat([red - green, blue - green], dim=1) / 2**0.5, picture)


def _white(signal: Tensor, picture: Tensor) -> float:
    """Standard deviation of white noise in ``signal``, (1, C, H, W), each channel where ``picture`` is not cut off."""
    side = min(_BLOCK, *(n - 2 for n in signal.shape[-2:]))
    channels = signal.transpose(0, 1)
    power = F.avg_pool2d(F.conv2d(channels, _DIFFERENCE[None, None]).square(), side).flatten(1)
    inner = picture.transpose(0, 1)[..., 1:-1, 1:-1]
    clipped = F.avg_pool2d(((inner <= 0) | (inner >= 1)).float(), side).flatten(1) > _CLIPPED
    if len(clipped) != len(power):
        clipped = clipped.any(0).expand_as(power)
    calm = [_calmest(row[~out] if not out.all() else row) for row, out in zip(power, clipped, strict=True)]
    return 255 / _SHRINK * (sum(calm) / len(calm)) ** 0.5


def _calmest(power: Tensor) -> float:
    return float(power.quantile(_SMOOTHEST)) if len(power) > 1 else float(power)
