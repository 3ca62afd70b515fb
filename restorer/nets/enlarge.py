"""Twice the size in the official U-Nets: every pixel is made 2 x 2, then comes a 3 x 3 convolution."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Enlarge(nn.Conv2d):
    """(N, width_in, H, W) to (N, width, 2 H, 2 W). ``fold`` makes it faster for a net that only answers."""

    def __init__(self, width_in: int, width: int, **words: Any) -> None:
        super().__init__(width_in, width, 3, padding=1, **words)
        self.register_buffer("folded", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if self.folded is None:
            return super().forward(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return F.conv_transpose2d(x, self.folded, self.bias, stride=2, padding=1)

    def fold(self) -> None:
        """Take the convolution as what it is of the small picture, with 4 products in the place of 9.

        Each pixel is seen as often as the 3 x 3 window covers it once it is 2 x 2: that is a transposed convolution,
        whose 4 x 4 weights are sums of the 3 x 3 ones. To be done again when the weights change.
        """
        wide = F.pad(self.weight.detach().double(), (1, 1, 1, 1))
        sums = sum(wide[..., top : top + 4, left : left + 4] for top in (0, 1) for left in (0, 1))
        made = sums.flip(-1, -2).transpose(0, 1).to(self.weight.dtype)
        self.folded = made.contiguous(memory_format=torch.channels_last)


def fold(net: nn.Module) -> nn.Module:
    """``net`` with all of its ``Enlarge`` folded: the same answers, to rounding."""
    for module in net.modules():
        if isinstance(module, Enlarge):
            module.fold()
    return net
