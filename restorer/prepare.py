"""What is done to a picture before it is restored, where a model was trained on pictures made so."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def equalize(y: Tensor) -> Tensor:
    """Stretch the 8-bit histogram of each channel of ``y`` (N, C, H, W), RGB in [0, 1], to be as even as it can be.

    OpenCV's ``equalizeHist`` of each channel, to the bit: with n pixels, f of them of the darkest level there is, and c
    of that level or darker, a level becomes (c - f) * 255 / (n - f), in float32, rounded half to even. A channel of
    one level stays. Deeper pictures are rounded to 8 bits. What official RDDM does to low-light pictures.
    """
    levels = (y.clamp(0, 1) * 255).round().to(torch.uint8)
    made = [_equalized(channel) for channel in levels.flatten(0, 1)]
    return torch.stack(made).view_as(y).float() / 255


def _equalized(channel: Tensor) -> Tensor:
    counts = torch.bincount(channel.flatten(), minlength=256)
    darkest = int(counts.nonzero()[0])
    rest = channel.numel() - int(counts[darkest])
    if rest == 0:
        return channel
    brighter = (counts.cumsum(0) - counts[darkest]).clamp(min=0)
    table = brighter.float() * (torch.tensor(255.0) / rest)
    return table.round().clamp(0, 255).to(torch.uint8)[channel.long()]


PREPARATIONS: dict[str, Callable[[Tensor], Tensor]] = {"equalize": equalize}
"""A card's ``prepare`` -> what it means: (1, 3, H, W), RGB in [0, 1], to the same."""
