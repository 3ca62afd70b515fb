"""The compression U-Net of latent Refusion: a picture to a small latent, and a latent back to a picture.

The way back is shown features of the degraded picture's way down, so the latent need hold only what restoration
changes. There is no time.

[Refusion] Luo et al., CVPR workshops 2023, section 3.2. The official module keeps the last picture's size in itself and
cuts every decoded picture to it; ours keeps nothing: the size travels with the features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorer.nets.attention import LinearAttention
from restorer.nets.enlarge import Enlarge
from restorer.nets.irsde_unet import mirrored
from restorer.nets.official import numbered, some, taken, translated, unwrapped


class Hidden(NamedTuple):
    """What ``decode`` needs of the encoded picture: its features, finest first, and its (height, width)."""

    features: tuple[Tensor, ...]
    size: tuple[int, int]


class LatentUNet(nn.Module):
    """``encode``: (N, in_channels, H, W) to (N, latent_channels, h, w); ``decode``: back to (N, out_channels, H, W).

    ``width`` and ``mults``: channels of the finest level, and of each level below it in units of ``width``. With d
    levels the picture is mirrored beyond its right and lower edges to multiples of 2^d (``unit``), which h and w are by
    2^(d - 1) (``factor``); ``minimum``: the shortest side that this can be done with.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int = 8,
        mults: Sequence[int] = (4, 8, 8, 16),
        latent_channels: int = 8,
    ) -> None:
        super().__init__()
        if not mults:
            raise ValueError("mults must name at least one level.")
        widths = [width, *(width * mult for mult in mults)]
        pairs = list(pairwise(widths))
        deepest, coarsest = pairs[-1]
        self.unit, self.latent_channels = 2 ** len(mults), latent_channels
        self.factor = self.unit // 2
        self.minimum = self.unit // 2 + 1
        self.entry = _conv(in_channels, width)
        self.down = nn.ModuleList(Level(a, 0, nn.Conv2d(a, b, 4, 2, 1)) for a, b in pairs)
        self.down[-1].resample = _conv(deepest, coarsest)
        self.down[-1].attend = LinearAttention(deepest)
        self.to_latent = nn.Conv2d(coarsest, latent_channels, 1, bias=False)
        self.from_latent = nn.Conv2d(latent_channels, coarsest, 1, bias=False)
        self.up = nn.ModuleList(Level(b, a, _upsample(b, a)) for a, b in reversed(pairs))
        self.up[-1].resample = _conv(widths[1], width)
        self.up[0].attend = LinearAttention(coarsest)
        self.exit = nn.Conv2d(width, out_channels, 3, padding=1)

    def encode(self, x: Tensor) -> tuple[Tensor, Hidden]:
        """(N, in_channels, H, W) to the latent and what ``decode`` needs."""
        height, width = x.shape[-2:]
        x = self.entry(mirrored(x, self.unit))
        features = [x]
        for level in self.down:
            x = level.first(x)
            features.append(x)
            x = level.attend(level.second(x))
            features.append(x)
            x = level.resample(x)
        return self.to_latent(x), Hidden(tuple(features), (height, width))

    def decode(self, latent: Tensor, hidden: Hidden) -> Tensor:
        """(N, latent_channels, h, w), beside the features of ``encode``, to (N, out_channels, H, W)."""
        features = list(hidden.features)
        x = self.from_latent(latent)
        for level in self.up:
            x = level.first(torch.cat([x, features.pop()], dim=1))
            x = level.attend(level.second(torch.cat([x, features.pop()], dim=1)))
            x = level.resample(x)
        height, width = hidden.size
        return self.exit(x + features.pop())[..., :height, :width]

    def forward(self, x: Tensor, hidden: Hidden | None = None) -> Tensor:
        """There and back: what is left of ``x``, with its own features or those of another picture of its size."""
        latent, own = self.encode(x)
        return self.decode(latent, hidden or own)


class Level(nn.Module):
    """The parts of one level; ``width`` channels and ``skip`` more beside them before each block."""

    def __init__(self, width: int, skip: int, resample: nn.Module) -> None:
        super().__init__()
        self.first = Block(width + skip, width)
        self.second = Block(width + skip, width)
        self.attend: nn.Module = nn.Identity()  # but at the coarsest level
        self.resample = resample


class Block(nn.Module):
    """Two convolutions around a skip."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv1 = _conv(width_in, width)
        self.conv2 = _conv(width, width)
        self.skip = nn.Identity() if width_in == width else nn.Conv2d(width_in, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, width_in, H, W) to (N, width, H, W)."""
        return F.silu(self.conv2(F.silu(self.conv1(x)))) + self.skip(x)


def _conv(width_in: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width, 3, padding=1, bias=False)


def _upsample(width_in: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Identity(), Enlarge(width_in, width))  # official code has a module for each part


# A part's name here -> in the official code, whose modules are sequences in wrappers.
_OFFICIAL = {
    "entry": "init_conv",
    "down": "encoder",
    "to_latent": "latent_conv",
    "from_latent": "post_latent_conv",
    "up": "decoder",
    "exit": "final_conv",
    "first": "0",
    "second": "1",
    "attend": "2",
    "resample": "3",
    "conv1": "block1.proj",
    "conv2": "block2.proj",
    "skip": "res_conv",
    "norm": "fn.norm",
    "qkv": "fn.fn.to_qkv",
    "out": "fn.fn.to_out",
    "gain": "g",
}


def options_from(official: Mapping[str, Tensor]) -> dict[str, Any]:
    """A card's ``codec`` table for official weights, from their shapes; a leading ``module.`` is passed over.

    Raises ValueError when the weights are not those of an official compression U-Net.
    """
    official = unwrapped(official)
    entry, end = official.get("init_conv.weight"), official.get("final_conv.weight")
    latent = official.get("latent_conv.weight")
    levels = [f"encoder.{level}.3.weight" for level in range(numbered(official, "encoder"))]
    known = [entry, end, latent, *(official.get(key) for key in levels)]
    if not levels or any(weight is None or weight.ndim != 4 for weight in known) or not len(entry):
        raise ValueError(
            "No weights of an official compression U-Net: expected convolutions init_conv.weight, latent_conv.weight, "
            f"final_conv.weight, encoder.0.3.weight, encoder.1.3.weight and so on; found {some(official)}."
        )
    return {
        "arch": "latent_unet",
        "in_channels": entry.shape[1],
        "out_channels": len(end),
        "width": len(entry),
        "mults": [len(official[key]) // len(entry) for key in levels],
        "latent_channels": len(latent),
    }


def rename(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of ``LatentUNet`` for official weights; a leading ``module.`` is passed over.

    Raises ValueError naming keys that are missing, not known, or of another shape, as the official net calls them.
    """
    options = options_from(official)
    del options["arch"]
    with torch.device("meta"):
        ours = LatentUNet(**options).state_dict()
    size = ", ".join(f"{option} {value}" for option, value in options.items())
    return taken(unwrapped(official), translated(ours, _OFFICIAL), ours, f"an official compression U-Net ({size})")
