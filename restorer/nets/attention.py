"""Attention of the official RDDM and IR-SDE U-Nets, and the layer norm around it.

Pictures are taken as rows of channels, which is how they lie in memory (channels last), so that nothing is copied: each
product is one of two tall matrices, or of a tall and a small one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEADS, HEAD_CHANNELS = 4, 32
INNER = HEADS * HEAD_CHANNELS
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

    Shen et al., Efficient Attention, 2021. All heads are multiplied at once, and what one head says of another is left
    out of the small matrix, which then takes the last convolution into itself. Sums over pixels are kept in float32.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.qkv = nn.Conv2d(width, 3 * INNER, 1, bias=False)
        self.out = nn.Sequential(nn.Conv2d(INNER, width, 1), ChannelNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        """NCHW to NCHW."""
        q, k, v = _qkv(self.qkv, self.norm(x))
        mix, norm = self.out
        # Values are divided by the number of pixels, upstream too, though the softmax of k has averaged them already.
        scale = HEAD_CHANNELS**-0.5 / q.shape[1]
        exact = torch.promote_types(q.dtype, torch.float32)
        context = (k.softmax(dim=1).mT @ v).to(exact) * (scale * _same_head(x.device))
        context = context @ mix.weight.flatten(1).T.to(exact)
        q = q.unflatten(-1, (HEADS, HEAD_CHANNELS)).softmax(dim=-1).flatten(-2)
        # float16 cannot hold what is divided by the pixels; bfloat16 reaches as low as float32.
        kept = exact if q.dtype == torch.float16 else q.dtype
        y = (q.to(kept) @ context.to(kept)).add_(mix.bias).to(q.dtype)
        return x + norm(_picture(y, x))


class Attention(nn.Module):
    """x + softmax attention over all pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.qkv = nn.Conv2d(width, 3 * INNER, 1, bias=False)
        self.out = nn.Conv2d(INNER, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """NCHW to NCHW."""
        parts = _qkv(self.qkv, self.norm(x))
        q, k, v = (part.unflatten(-1, (HEADS, HEAD_CHANNELS)).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + _picture(F.linear(y, self.out.weight.flatten(1), self.out.bias), x)


def _picture(rows: Tensor, like: Tensor) -> Tensor:
    """(N, pixels, C) to NCHW, a view."""
    return rows.unflatten(1, like.shape[-2:]).movedim(-1, 1)


def _qkv(projection: nn.Conv2d, x: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values of a picture, each (N, pixels, INNER), heads one after another."""
    rows = x.movedim(1, -1).flatten(1, 2)
    return tuple(F.linear(rows, weight) for weight in projection.weight.flatten(1).chunk(3))


def _same_head(device: torch.device) -> Tensor:
    """(INNER, INNER) of 1 where both channels are of one head, else 0."""
    head = torch.arange(INNER, device=device) // HEAD_CHANNELS
    return (head[:, None] == head).float()
