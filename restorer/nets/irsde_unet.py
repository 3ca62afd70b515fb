"""The U-Net of IR-SDE's official code, for its image tasks, for denoising, and for GOUB, which took it over.

    shown (x - y, y)     6 channels, linear attention in the middle      all image tasks
    shown x              3 channels, softmax attention in the middle     denoising

[IR-SDE] Luo et al., Image Restoration with Mean-Reverting Stochastic Differential Equations, ICML 2023. It is DDPM's
U-Net with linear attention at every level (Shen et al., 2021), without any norm in its blocks. Time is the whole number
1 ... T, as it is.

Linear attention divides its values by the number of pixels, so what the net says of a pixel depends on the picture's
size, and float16 could not hold the quotients: there sums of attention are kept in float32. Official layer norms take
eps = 1e-5 in float32 and 1e-3 in half precision, so that a net of theirs answers differently there; ours take 1e-5
always.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorer.nets.attention import Attention, LinearAttention
from restorer.nets.enlarge import Enlarge
from restorer.nets.official import numbered, some, taken, translated, unwrapped
from restorer.nets.plain_unet import sinusoid


class IrsdeUNet(nn.Module):
    """(N, in_channels, H, W) and times (N,) to (N, out_channels, H, W), sides from ``self.minimum`` up.

    ``width``: channels of the finest level, doubled by each of ``depth`` levels; ``attention`` in the middle: linear or
    full. The net mirrors the picture beyond its right and lower edges to multiples of 2^depth and cuts its answer, so
    ``multiple`` is 1; a mirrored edge is shorter than the picture, so sides below ``minimum`` cannot be.
    """

    multiple = 1

    def __init__(
        self,
        *,
        in_channels: int = 6,
        out_channels: int = 3,
        width: int = 64,
        depth: int = 4,
        attention: str = "linear",
    ) -> None:
        super().__init__()
        if width < 4 or width % 2 or depth < 1:
            raise ValueError(f"width must be even and at least 4, depth at least 1; not {width} and {depth}.")
        if attention not in MIDDLES:
            raise ValueError(f"attention must be one of {', '.join(MIDDLES)}, not {attention!r}.")
        widths = [width * 2**level for level in range(depth + 1)]
        self.width, self.unit = width, 2**depth
        self.minimum = 2 ** (depth - 1) + 1
        self.entry = nn.Conv2d(in_channels, width, 7, padding=3, bias=False)
        self.embed1 = nn.Linear(width, 4 * width)
        self.embed2 = nn.Linear(4 * width, 4 * width)
        self.down = nn.ModuleList(Level(a, 0, 4 * width, nn.Conv2d(a, b, 4, 2, 1)) for a, b in pairwise(widths))
        self.down[-1].resample = _conv(widths[-2], widths[-1])
        self.middle1 = Block(widths[-1], widths[-1], 4 * width)
        self.middle_attend = MIDDLES[attention](widths[-1])
        self.middle2 = Block(widths[-1], widths[-1], 4 * width)
        pairs = pairwise(reversed(widths))
        self.up = nn.ModuleList(Level(a, b, 4 * width, _upsample(a, b)) for a, b in pairs)
        self.up[-1].resample = _conv(widths[1], widths[0])
        self.last = Block(2 * width, width, 4 * width)
        self.exit = nn.Conv2d(width, out_channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """See the class."""
        height, wide = x.shape[-2:]
        time = self.embed1(sinusoid(time, self.width).to(self.entry.weight.dtype))
        # Every use of the embedded time is behind a SiLU, so that is applied here, once.
        time = F.silu(self.embed2(F.gelu(time)))
        x = self.entry(mirrored(x, self.unit))
        skips = [x]
        for level in self.down:
            x = level.first(x, time)
            skips.append(x)
            x = level.attend(level.second(x, time))
            skips.append(x)
            x = level.resample(x)
        x = self.middle2(self.middle_attend(self.middle1(x, time)), time)
        for level in self.up:
            x = level.first(torch.cat([x, skips.pop()], dim=1), time)
            x = level.attend(level.second(torch.cat([x, skips.pop()], dim=1), time))
            x = level.resample(x)
        x = self.last(torch.cat([x, skips.pop()], dim=1), time)
        return self.exit(x)[..., :height, :wide]


class Level(nn.Module):
    """The parts of one level; ``width`` channels and ``skip`` more beside them before each block."""

    def __init__(self, width: int, skip: int, embedded: int, resample: nn.Module) -> None:
        super().__init__()
        self.first = Block(width + skip, width, embedded)
        self.second = Block(width + skip, width, embedded)
        self.attend = LinearAttention(width)
        self.resample = resample


class Block(nn.Module):
    """Two convolutions around a skip; the time scales and shifts the first."""

    def __init__(self, width_in: int, width: int, embedded: int) -> None:
        super().__init__()
        self.film = nn.Linear(embedded, 2 * width)
        self.conv1 = _conv(width_in, width)
        self.conv2 = _conv(width, width)
        self.skip = nn.Identity() if width_in == width else nn.Conv2d(width_in, width, 1, bias=False)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x: (N, width_in, H, W); time: (N, embedded)."""
        scale, shift = self.film(time)[:, :, None, None].chunk(2, dim=1)
        h = F.silu(torch.addcmul(shift, self.conv1(x), 1 + scale))
        return F.silu(self.conv2(h)).add_(self.skip(x))


def mirrored(x: Tensor, unit: int) -> Tensor:
    """``x`` mirrored beyond its right and lower edges to multiples of ``unit``; the edge itself is not repeated."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % unit, 0, -height % unit), mode="reflect")


def _conv(width_in: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width, 3, padding=1, bias=False)


def _upsample(width_in: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Identity(), Enlarge(width_in, width))  # official code has a module for each part


MIDDLES: dict[str, type[nn.Module]] = {"linear": LinearAttention, "full": Attention}

# A part's name here -> in the official code, whose modules are sequences in wrappers.
_OFFICIAL = {
    "entry": "init_conv",
    "embed1": "time_mlp.1",
    "embed2": "time_mlp.3",
    "down": "downs",
    "middle1": "mid_block1",
    "middle_attend": "mid_attn",
    "middle2": "mid_block2",
    "up": "ups",
    "last": "final_res_block",
    "exit": "final_conv",
    "first": "0",
    "second": "1",
    "attend": "2",
    "resample": "3",
    "film": "mlp.1",
    "conv1": "block1.proj",
    "conv2": "block2.proj",
    "skip": "res_conv",
    "norm": "fn.norm",
    "qkv": "fn.fn.to_qkv",
    "out": "fn.fn.to_out",
    "gain": "g",
}


def options_from(official: Mapping[str, Tensor]) -> dict[str, Any]:
    """A card's ``net`` table for official weights, from their shapes; a leading ``module.`` is passed over.

    Raises ValueError when the weights are not those of an official U-Net.
    """
    official = unwrapped(official)
    entry, end = official.get("init_conv.weight"), official.get("final_conv.weight")
    depth = numbered(official, "downs")
    if entry is None or end is None or entry.ndim != 4 or end.ndim != 4 or not depth:
        raise ValueError(
            "No weights of an official IR-SDE U-Net: expected convolutions init_conv.weight and final_conv.weight "
            f"and levels downs.0, downs.1 and so on; found {some(official)}."
        )
    full = "mid_attn.fn.fn.to_out.weight" in official
    return {
        "arch": "irsde_unet",
        "in_channels": entry.shape[1],
        "out_channels": len(end),
        "width": len(entry),
        "depth": depth,
        "attention": "full" if full else "linear",
    }


def rename(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of ``IrsdeUNet`` for official weights; a leading ``module.`` is passed over.

    Raises ValueError naming keys that are missing, not known, or of another shape, as the official net calls them.
    """
    options = options_from(official)
    del options["arch"]
    with torch.device("meta"):
        ours = IrsdeUNet(**options).state_dict()
    size = ", ".join(f"{option} {value}" for option, value in options.items())
    return taken(unwrapped(official), translated(ours, _OFFICIAL), ours, f"an official IR-SDE U-Net ({size})")
