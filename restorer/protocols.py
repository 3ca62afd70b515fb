"""How the papers measure: which pixels, in which colours, of which size. A name, and it is done exactly so.

[RDDM] Liu et al., CVPR 2024: the MATLAB scripts in its repository's ``eval`` folder.
[IR-SDE] Luo et al., ICML 2023: the test scripts of its repository (``config/*/test.py``), shared with GOUB.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from restorer.errors import ImageError
from restorer.metrics import METRICS


@dataclass(frozen=True)
class Protocol:
    """``metrics`` to report; ``crop``: pixels left out at each side; ``told``: the same for readers.

    ``size``: (height, width) to which both pictures are brought; ``to_restored``: the clean one is brought to the size
    of the other. Both by MATLAB's ``imresize``. ``rounded``: the values are whole 8-bit levels when they are compared;
    those of "lab-mae" always are. ``regions``: with a mask, what it marks and the rest are measured for themselves too.
    """

    metrics: tuple[str, ...]
    told: str
    crop: int = 0
    size: tuple[int, int] | None = None
    to_restored: bool = False
    rounded: bool = True
    regions: bool = False


def measure(
    restored: Tensor,
    clean: Tensor,
    metrics: tuple[str, ...],
    protocol: Protocol,
    crop: int,
    mask: Tensor | None = None,
) -> dict[str, float]:
    """name -> score of two pictures (1, 3, H, W), RGB in [0, 1].

    ``mask`` (1, 1, H, W), 1 where marked: adds "psnr-marked", "psnr-rest" and so on. Raises ``ImageError`` for sizes
    that do not fit, and for a mask that marks nothing, or all.
    """
    if protocol.size is not None:
        restored, clean = (imresize(v, protocol.size) for v in (restored, clean))
        mask = None if mask is None else imresize(mask, protocol.size).clamp(0, 1)
    elif protocol.to_restored and clean.shape != restored.shape:
        clean = imresize(clean, tuple(restored.shape[-2:]))
    if mask is not None and not 0 < float(mask.mean()) < 1:
        raise ImageError("The mask marks nothing, or all; there are not two regions to measure.")
    scores = {}
    regions = {"": None} if mask is None else {"": None, "-marked": mask, "-rest": 1 - mask}
    for name in metrics:
        rounded = protocol.rounded or name == LAB
        pair = [(255 * v.double()).round().clamp(0, 255) / 255 if rounded else v for v in (restored, clean)]
        for region, weight in regions.items():
            scores[name + region] = _in_region(name, *pair, crop or protocol.crop, weight)
    return scores


def _in_region(name: str, restored: Tensor, clean: Tensor, crop: int, weight: Tensor | None) -> float:
    """As the script of [RDDM]: black elsewhere for PSNR and SSIM, the mean over the region for the LAB error."""
    if weight is None:
        return ALL[name](restored, clean, crop=crop)
    if name == LAB:
        return lab_mae(restored, clean, crop=crop, weight=weight)
    return ALL[name](restored * weight, clean * weight, crop=crop)


def imresize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """MATLAB's ``imresize`` with its defaults: cubic (a = -0.5), widened when it shrinks, mirrored at edges. float64.

    (N, C, H, W) to ``size``, (height, width); no rounding.
    """
    picture = picture.double()
    down, across = (_cubic(n, wanted) for n, wanted in zip(picture.shape[-2:], size, strict=True))
    return down @ picture @ across.mT


def _cubic(n: int, wanted: int) -> Tensor:
    """(wanted, n): what each sample takes of each pixel."""
    scale = wanted / n
    shrunk = min(scale, 1.0)
    centre = (torch.arange(wanted, dtype=torch.float64) + 0.5) / scale - 0.5
    reach = math.ceil(4 / shrunk) + 2
    place = (centre - 2 / shrunk).floor()[:, None] + torch.arange(reach)
    away = ((centre[:, None] - place) * shrunk).abs()
    near = 1.5 * away**3 - 2.5 * away**2 + 1
    far = -0.5 * away**3 + 2.5 * away**2 - 4 * away + 2
    weights = torch.where(away <= 1, near, torch.where(away <= 2, far, torch.zeros_like(away)))
    weights /= weights.sum(dim=1, keepdim=True)
    index = place.long() % (2 * n)
    index = torch.where(index < n, index, 2 * n - 1 - index)
    return torch.zeros(wanted, n, dtype=torch.float64).scatter_add_(1, index, weights)


def lab_mae(restored: Tensor, clean: Tensor, *, crop: int = 0, weight: Tensor | None = None) -> float:
    """Mean over pixels of the absolute differences in CIE LAB, summed over its channels: "MAE" of shadow removal.

    sRGB under D65, as MATLAB's ``rgb2lab`` has it. 0 for equal pictures; less is better. ``weight`` (1, 1, H, W): how
    much each pixel counts.
    """
    if restored.shape != clean.shape:
        raise ImageError("Pictures of two sizes cannot be compared; make them of one size.")
    height, width = clean.shape[-2:]
    inner = (..., slice(crop, height - crop), slice(crop, width - crop))
    off = (_lab(restored[inner]) - _lab(clean[inner])).abs().sum(dim=1)
    if weight is None:
        return float(off.mean())
    counted = weight[inner][:, 0].double()
    return float((off * counted).sum() / counted.sum())


def _lab(rgb: Tensor) -> Tensor:
    rgb = rgb.double()
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = torch.tensor(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
        dtype=torch.float64,
    )
    xyz = torch.einsum("ij,njhw->nihw", matrix, linear) / matrix.sum(dim=1).view(1, 3, 1, 1)
    f = torch.where(xyz > (6 / 29) ** 3, xyz.clamp(min=0) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


LAB = "lab-mae"

ALL: dict[str, Callable[..., float]] = {**METRICS, LAB: lab_mae}
"""Name -> (restored, clean, crop=0) -> number."""

PLAIN = Protocol(("psnr", "ssim"), "as the files are, RGB", rounded=False)
_Y = ("psnr-y", "ssim-y")
_BOTH = ("psnr", "ssim", *_Y)

PROTOCOLS: dict[str, Protocol] = {
    "rddm-raindrop": Protocol(_Y, "luma; the clean picture is brought to the restored one's size", to_restored=True),
    "rddm-lol": Protocol(_Y, "luma; the clean picture is brought to the restored one's size", to_restored=True),
    "rddm-sid": Protocol(_Y, "luma; the clean picture is brought to the restored one's size", to_restored=True),
    "rddm-gopro": Protocol(
        ("psnr", "ssim"), "RGB; the clean picture is brought to the restored one's size", to_restored=True
    ),
    "rddm-istd": Protocol(
        ("psnr", "ssim", LAB),
        "whole pictures at 256 x 256, RGB unrounded, and the error in LAB; with --mask the shadow and the rest too",
        size=(256, 256),
        rounded=False,
        regions=True,
    ),
    "irsde-derain": Protocol(_BOTH, "4 pixels cropped; the papers' tables are of luma", crop=4),
    "irsde-deblur": Protocol(_BOTH, "4 pixels cropped; the papers' tables are of RGB", crop=4),
    "irsde-deshadow": Protocol(_BOTH, "4 pixels cropped, RGB and luma", crop=4),
    "irsde-inpaint": Protocol(_BOTH, "4 pixels cropped, RGB and luma", crop=4),
    "irsde-upscale": Protocol(_BOTH, "4 pixels cropped, RGB and luma", crop=4),
    "irsde-denoise": Protocol(("psnr", "ssim"), "whole pictures, RGB"),
    "ddnm": Protocol(("psnr",), "whole pictures, RGB", rounded=False),
}
"""Name -> protocol. SSIM of RGB is the mean of its channels everywhere."""
