"""A restoration U-Net of plain convolutions, our own, made for speed on CPUs and GPUs.

Pictures are folded 2 x 2 into channels first, so that every convolution is wide enough for matrix units; all work is in
3 x 3 convolutions and one activation a block. There is no norm, pooling over the picture or attention: nothing depends
on the picture's size, so tiled and whole results agree. Time scales and shifts each block (Perez et al., FiLM, 2018).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TIME_CHANNELS = 64


class PlainUNet(nn.Module):
    """(N, in_channels, H, W) and times (N,) to (N, out_channels, H, W); H and W multiples of ``self.multiple``.

    ``widths`` and ``depths``: channels and blocks a level, finest first; ``patch``: side of the fold at the entry. With
    ``classes`` it is told one at each call, a whole number a picture, or takes ``label``: what kind of damage it is.
    """

    def __init__(
        self,
        *,
        in_channels: int = 6,
        out_channels: int = 3,
        widths: tuple[int, ...] = (64, 96, 160),
        depths: tuple[int, ...] = (2, 2, 3),
        patch: int = 2,
        classes: int | None = None,
        label: int = 0,
    ) -> None:
        super().__init__()
        if len(widths) != len(depths):
            raise ValueError(f"widths {widths} and depths {depths} must be of equal length.")
        self.patch = patch
        self.multiple = patch * 2 ** (len(widths) - 1)
        embedded = 2 * TIME_CHANNELS
        self.embed = nn.Sequential(
            nn.Linear(TIME_CHANNELS, embedded), nn.SiLU(), nn.Linear(embedded, embedded), nn.SiLU()
        )
        self.label = label
        self.classes = nn.Embedding(classes, embedded) if classes else None
        self.entry = nn.Conv2d(in_channels * patch**2, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(_level(w, d, embedded) for w, d in zip(widths[:-1], depths[:-1], strict=True))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.middle = _level(widths[-1], depths[-1], embedded)
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(_level(w, d, embedded) for w, d in zip(widths[:-1], depths[:-1], strict=True))
        self.exit = nn.Conv2d(widths[0], out_channels * patch**2, 3, padding=1)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)
        if self.classes:
            nn.init.zeros_(self.classes.weight)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """See the class."""
        time = self.embed(sinusoid(time).to(self.entry.weight.dtype))
        if self.classes:
            label = torch.full((len(x),), self.label, device=x.device) if label is None else label
            time = time + self.classes(label)
        x = self.entry(F.pixel_unshuffle(x, self.patch).contiguous(memory_format=torch.channels_last))
        skips = []
        for level, down in zip(self.encoder, self.down, strict=True):
            x = _run(level, x, time)
            skips.append(x)
            x = down(x)
        x = _run(self.middle, x, time)
        for level, up in zip(reversed(self.decoder), reversed(self.up), strict=True):
            x = F.pixel_shuffle(up(x), 2).contiguous(memory_format=torch.channels_last) + skips.pop()
            x = _run(level, x, time)
        return F.pixel_shuffle(self.exit(x), self.patch)


class Block(nn.Module):
    """x + conv(SiLU(scale * conv(x) + shift)), scale and shift from the time."""

    def __init__(self, width: int, embedded: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(embedded, 2 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        # Without norms a deep sum of branches must start small to keep its scale (Zhang et al., Fixup, 2019).
        with torch.no_grad():
            self.conv2.weight.mul_(0.1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """NCHW to NCHW of the same shape; time: (N, embedded)."""
        scale, shift = self.film(time)[:, :, None, None].chunk(2, dim=1)
        return x + self.conv2(F.silu(torch.addcmul(shift, self.conv1(x), 1 + scale)))


def sinusoid(time: Tensor, channels: int = TIME_CHANNELS) -> Tensor:
    """(N,) times, about 0 to 1000, to (N, channels) float32: sines, then cosines (Ho et al., DDPM, 2020)."""
    half = channels // 2
    frequency = torch.exp(torch.arange(half, device=time.device) * (-math.log(10_000) / (half - 1)))
    angle = time.float()[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def _level(width: int, depth: int, embedded: int) -> nn.ModuleList:
    return nn.ModuleList(Block(width, embedded) for _ in range(depth))


def _run(level: nn.ModuleList, x: Tensor, time: Tensor) -> Tensor:
    for block in level:
        x = block(x, time)
    return x
