"""How close a restored picture is to the clean one: numbers as the papers of the field report them.

All take two tensors (N, 3, H, W) of one size, RGB in [0, 1], on any device, and compute in float64. ``crop``: so many
pixels at each side are left out, as super-resolution papers do.

[MS-SSIM] Wang et al., Multiscale structural similarity for image quality assessment, Asilomar 2003.
[SSIM] Wang et al., Image quality assessment: from error visibility to structural similarity, IEEE TIP 2004.
[BT.601] ITU-R BT.601-7, in its 8-bit studio range: Y from 16 to 235, which is what MATLAB's rgb2ycbcr gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from restorer.errors import ImageError

WINDOW, WIDTH = 11, 1.5
"""Side of SSIM's Gaussian window, and its standard deviation, in pixels."""
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of MS-SSIM's scales, the finest first."""


def psnr(restored: Tensor, clean: Tensor, *, crop: int = 0) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels, the peak being 1. Equal pictures give inf.

    Raises ``ImageError`` when the sizes differ, or ``crop`` leaves nothing.
    """
    restored, clean = _pair(restored, clean, crop)
    error = float((restored - clean).square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(restored: Tensor, clean: Tensor, *, crop: int = 0) -> float:
    """Structural similarity, 1 for equal pictures: its mean over all places of the window, channels and pictures.

    [SSIM] eq. 13 with its own constants: a Gaussian window of 11 x 11 pixels that stays inside the picture,
    K1 = 0.01, K2 = 0.03, data range 1. Raises ``ImageError`` when the sizes differ, or a side is below 11 pixels.
    """
    restored, clean = _pair(restored, clean, crop)
    height, width = clean.shape[-2:]
    if min(height, width) < WINDOW:
        raise ImageError(f"SSIM needs {WINDOW} pixels on each side, not {width}x{height}; measure PSNR alone.")
    # One channel at a time: five maps of a large picture in float64 are what memory goes to.
    channels = [_similarity(a, b) for a, b in zip(restored.split(1, dim=1), clean.split(1, dim=1), strict=True)]
    return sum(channels) / len(channels)


def psnr_y(restored: Tensor, clean: Tensor, *, crop: int = 0) -> float:
    """``psnr`` of luma alone, the peak being 255 on the scale on which white is 235. [BT.601]"""
    return psnr(luma(restored), luma(clean), crop=crop)


def ssim_y(restored: Tensor, clean: Tensor, *, crop: int = 0) -> float:
    """``ssim`` of luma alone, its data range being 255 on the scale on which white is 235. [BT.601]"""
    return ssim(luma(restored), luma(clean), crop=crop)


def ms_ssim(restored: Tensor, clean: Tensor, *, crop: int = 0) -> float:
    """Structural similarity at five scales, 1 for equal pictures; luminance counts at the coarsest alone.

    [MS-SSIM] eq. 7 with its weights; each scale is the means of 2 x 2 blocks of the one before. Where structure is
    opposite at some scale the product is 0. Raises ``ImageError`` when the sizes differ, or a side is below 176 pixels.
    """
    restored, clean = _pair(restored, clean, crop)
    least = WINDOW * 2 ** (len(SCALES) - 1)
    height, width = clean.shape[-2:]
    if min(height, width) < least:
        raise ImageError(f"MS-SSIM needs {least} pixels on each side, not {width}x{height}; measure SSIM.")
    channels = zip(restored.split(1, dim=1), clean.split(1, dim=1), strict=True)
    return sum(_over_scales(a, b) for a, b in channels) / restored.shape[1]


def luma(picture: Tensor) -> Tensor:
    """Y / 255 of RGB (N, 3, H, W) in [0, 1], as (N, 1, H, W) in float64: black is 16 / 255, white 235 / 255."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64, device=picture.device).view(1, 3, 1, 1)
    return (16 + (weights * picture.double()).sum(dim=1, keepdim=True)) / 255


def _pair(restored: Tensor, clean: Tensor, crop: int) -> tuple[Tensor, Tensor]:
    if restored.shape != clean.shape:
        raise ImageError(
            f"Pictures of {_size(restored)} and {_size(clean)} pixels cannot be compared; make them of one size."
        )
    height, width = clean.shape[-2:]
    if crop < 0 or 2 * crop >= min(height, width):
        raise ImageError(f"Nothing is left of {_size(clean)} pixels without {crop} at each side; crop fewer.")
    inner = (..., slice(crop, height - crop), slice(crop, width - crop))
    return restored[inner].double(), clean[inner].double()


def _size(picture: Tensor) -> str:
    return f"{picture.shape[-1]}x{picture.shape[-2]}"


def _over_scales(x: Tensor, y: Tensor) -> float:
    """[MS-SSIM] eq. 7 of two planes (N, 1, H, W)."""
    product = 1.0
    for i, weight in enumerate(SCALES):
        if i:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        likeness, structure = _maps(x, y)
        mean = float((likeness if i == len(SCALES) - 1 else structure).mean())
        product *= max(mean, 0.0) ** weight
    return product


def _similarity(x: Tensor, y: Tensor) -> float:
    """Mean of the SSIM map of two planes (N, 1, H, W). [SSIM] eq. 13"""
    return float(_maps(x, y)[0].mean())


def _maps(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """(SSIM, its factor of contrast and structure) at every place of the window."""
    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y = _smooth(x), _smooth(y)
    var_x, var_y = _smooth(x * x) - mean_x**2, _smooth(y * y) - mean_y**2
    covariance = _smooth(x * y) - mean_x * mean_y
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return structure * (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1), structure


def _smooth(plane: Tensor) -> Tensor:
    """The plane under the Gaussian window wherever that fits whole; the window is a row times a column."""
    places = torch.arange(WINDOW, dtype=torch.float64, device=plane.device) - WINDOW // 2
    row = torch.exp(-0.5 * (places / WIDTH) ** 2)
    row = (row / row.sum()).view(1, 1, 1, -1)
    return F.conv2d(F.conv2d(plane, row), row.mT)


METRICS: dict[str, Callable[..., float]] = {
    "psnr": psnr,
    "ssim": ssim,
    "psnr-y": psnr_y,
    "ssim-y": ssim_y,
    "ms-ssim": ms_ssim,
}
"""Name -> (restored, clean, crop=0) -> number; more is better."""
