"""Light and its code: where light adds up, it is the linear value that does [IEC 61966-2-1]."""

import torch
from torch import Tensor


def to_linear(x: Tensor) -> Tensor:
    """Linear light of sRGB values; what lies below 0 is black."""
    x = x.clamp(min=0)
    return torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def to_srgb(light: Tensor) -> Tensor:
    """sRGB values of linear light, cut off at 0 and 1."""
    light = light.clamp(0, 1)
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
