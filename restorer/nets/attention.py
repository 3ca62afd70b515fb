"""Attention of the official RDDM and IR-SDE U-Nets, and the layer norm around it.

Pictures are taken as rows of channels, which is how they lie in memory (channels last), so that nothing is copied: each
product is one of two tall matrices, or of a tall and a small one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS, HEAD_CHANNELS = 4, 32
INNER = HEADS * HEAD_CHANNELS
AT_ONCE = 8192  # pixels, so that what is made of them stays in a CPU's cache
EPS = 1e-5  # official code takes 1e-3 in half precision; sums are kept in float32 there, so 1e-5 serves both


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel, with a gain and no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """NCHW to NCHW."""
        return F.layer_norm(x.movedim(1, -1), self.gain.shape[1:2], self.gain.flatten(), eps=EPS).movedim(-1, 1)


class LinearAttention(nn.Module):
    """x + attention without the pixels' square: keys and values are summed to a small matrix a head first.

    Shen et al., Efficient Attention, 2021. What is linear is done where it is small: the keys are summed with the
    pixels themselves, and the small matrix takes both the values' projection and the last convolution into itself. All
    heads are multiplied at once, and what one head would say of another is left out of that matrix.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.qkv = nn.Conv2d(width, 3 * INNER, 1, bias=False)
        self.out = nn.Sequential(nn.Conv2d(INNER, width, 1), ChannelNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        """NCHW to NCHW."""
        rows = _rows(self.norm(x))
        to_q, to_k, to_v = self.qkv.weight.flatten(1).chunk(3)
        mix, norm = self.out
        parts = rows.split(AT_ONCE if x.device.type == "cpu" else rows.shape[1], dim=1)
        # float16 can hold neither sums over pixels nor what is divided by them; bfloat16 has the range of float32.
        exact = torch.promote_types(rows.dtype, torch.float32)
        kept = exact if rows.dtype == torch.float16 else rows.dtype
        # Values are divided by the number of pixels, upstream too, though the softmax of k has averaged them already.
        scale = HEAD_CHANNELS**-0.5 / rows.shape[1]
        context = _seen(parts, to_k, kept, exact) @ to_v.mT.to(exact) * (scale * _same_head(x.device))
        context = (context @ mix.weight.flatten(1).mT.to(exact)).to(kept)
        made = []
        for part in parts:
            q = F.linear(part, to_q).unflatten(-1, (HEADS, HEAD_CHANNELS)).softmax(dim=-1).flatten(-2)
            made.append((q.to(kept) @ context).add_(mix.bias).to(q.dtype))
        return x + norm(_picture(torch.cat(made, dim=1), x))


class Attention(nn.Module):
    """x + softmax attention over all pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.qkv = nn.Conv2d(width, 3 * INNER, 1, bias=False)
        self.out = nn.Conv2d(INNER, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """NCHW to NCHW."""
        rows = _rows(self.norm(x))
        q, k, v = (
            F.linear(rows, weight).unflatten(-1, (HEADS, HEAD_CHANNELS)).transpose(1, 2)
            for weight in self.qkv.weight.flatten(1).chunk(3)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + _picture(F.linear(y, self.out.weight.flatten(1), self.out.bias), x)


def _seen(parts: Sequence[Tensor], to_k: Tensor, kept: torch.dtype, exact: torch.dtype) -> Tensor:
    """The pixels' mean, weighted by the softmax over pixels of each of the keys' channels: (N, INNER, C), in ``exact``.

    ``parts``: of the rows. What was summed is made smaller when a larger key comes (Milakov & Gimelshein, 2018).
    """
    largest = sums = total = None
    for part in parts:
        k = F.linear(part, to_k).to(kept)
        top = k.amax(dim=1, keepdim=True)
        if largest is not None:
            top = torch.maximum(top, largest)
        k = (k - top).exp_()
        here, weight = (k.mT @ part.to(kept)).to(exact), k.sum(dim=1, dtype=exact).unsqueeze(-1)
        if largest is not None:
            less = (largest - top).to(exact).exp().mT
            here, weight = here + less * sums, weight + less * total
        largest, sums, total = top, here, weight
    return sums / total


def _rows(x: Tensor) -> Tensor:
    """NCHW to (N, pixels, C); a view where channels lie last in memory."""
    return x.movedim(1, -1).flatten(1, 2)


def _picture(rows: Tensor, like: Tensor) -> Tensor:
    """(N, pixels, C) to NCHW, a view."""
    return rows.unflatten(1, like.shape[-2:]).movedim(-1, 1)


def _same_head(device: torch.device) -> Tensor:
    """(INNER, INNER) of 1 where both channels are of one head, else 0."""
    head = torch.arange(INNER, device=device) // HEAD_CHANNELS
    return (head[:, None] == head).float()
