"""`Picture`: the one shape in which pictures travel inside, and its exact way from and to whole numbers."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from restorer.errors import ImageError
from restorer.images.sized import at_size


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels on the one contract, and everything of the file that must reach the result.

    pixels  (1, 3, H, W) float32 RGB in [0, 1], on the CPU, turned upright; three equal channels for a grey picture
    alpha   (1, 1, H, W) float32 in [0, 1], not multiplied into the pixels; None where there is none
    grey    the file had one colour channel; a result is averaged back to one when written
    bits    8 or 16, the depth of the file
    format  a key of `FORMATS`
    exif    starts with ``Exif\\0\\0``; its orientation tag is gone, because the pixels are upright
    """

    pixels: Tensor
    alpha: Tensor | None = None
    grey: bool = False
    bits: Literal[8, 16] = 8
    format: str = "png"
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None

    def __post_init__(self):
        shape = tuple(self.pixels.shape)
        if len(shape) != 4 or shape[:2] != (1, 3) or 0 in shape or self.pixels.dtype != torch.float32:
            raise ImageError(
                f"A picture's pixels are (1, 3, H, W) float32, not {shape} {self.pixels.dtype}; convert them."
            )
        if self.alpha is not None and tuple(self.alpha.shape) != (1, 1, *shape[2:]):
            raise ImageError(
                f"The alpha channel is {tuple(self.alpha.shape)} beside pixels of {shape}; use Picture.restored."
            )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[3], self.pixels.shape[2]

    def restored(self, pixels: Tensor) -> "Picture":
        """The same picture with other pixels, (1, 3, H, W) in [0, 1] on any device.

        At another size alpha is resized with them, and what is told of the size and of dots an inch becomes what it is.
        """
        pixels = pixels.detach().to("cpu", torch.float32)
        height, width = pixels.shape[-2:]
        told = at_size(self.size, (width, height), exif=self.exif, xmp=self.xmp, dpi=self.dpi)
        return replace(self, pixels=pixels, alpha=resize_alpha(self.alpha, (height, width)), **told)

    def coloured(self) -> "Picture":
        """The same picture, of which a grey one has three colour channels when written, and no profile of grey."""
        profile = self.icc if self.icc is None or self.icc[16:20] != b"GRAY" else None
        return replace(self, grey=False, icc=profile)


def resize_alpha(alpha: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    """Alpha (1, 1, H, W) brought to ``size`` (H, W), smoothly; untouched when it has that size, None stays None."""
    if alpha is None or tuple(alpha.shape[-2:]) == size:
        return alpha
    scaled = torch.nn.functional.interpolate(alpha, size=size, mode="bilinear", align_corners=False, antialias=True)
    return scaled.clamp(0, 1)


def from_levels(levels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 levels -> float32 in [0, 1], the same shape; `to_levels` gives the same levels back."""
    values = levels.astype(np.float32)
    values /= np.iinfo(levels.dtype).max
    return values


def to_levels(values: np.ndarray, bits: int) -> np.ndarray:
    """Floats -> uint8 or uint16 levels, the same shape: floor(max * x + 0.5), clamped to the range.

    Raises `ImageError` when a value is not finite.
    """
    if not np.isfinite(values).all():
        raise ImageError("The restored picture holds NaN or infinite values; try --dtype fp32, or another model.")
    dtype = np.uint8 if bits == 8 else np.uint16
    scaled = values * np.float32(np.iinfo(dtype).max)
    scaled += np.float32(0.5)
    return np.floor(scaled, out=scaled).clip(0, np.iinfo(dtype).max).astype(dtype)
