"""The NAFNet of Refusion's official code: for image tasks, for denoising, and for latents, with a global skip.

[Refusion] Luo et al., Refusion: Enabling Large-Size Realistic Image Restoration with Latent-Space Diffusion Models,
CVPR workshops 2023; blocks of Chen et al., Simple Baselines for Image Restoration, ECCV 2022, which the time scales and
shifts before each half. Time is the whole number 1 ... T, as it is.

The net for latents has the same weights by the same names and adds the features of its entry to those before its exit:
no file can tell the two apart.

Blocks weigh channels by their mean over the whole picture, so what the net says of a pixel depends on all of it.
Official layer norms take eps = 1e-5 in float32 and 1e-3 in half precision; ours take 1e-5 always, with statistics in
float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorer.nets.attention import ChannelNorm
from restorer.nets.official import numbered, some, taken, translated, unwrapped
from restorer.nets.plain_unet import sinusoid


class NafNet(nn.Module):
    """(N, in_channels, H, W) and times (N,) to (N, out_channels, H, W), sides of any length.

    ``encoder``, ``middle``, ``decoder``: blocks at each level, ``encoder`` finest first and ``decoder`` coarsest first,
    as many of the one as of the other; ``width``: channels of the finest level, doubled by each; ``global_skip``: the
    net for latents. The net puts zeros beyond the right and lower edges to multiples of 2^levels and cuts its answer,
    so ``multiple`` is 1.
    """

    multiple = 1
    minimum = 1

    def __init__(
        self,
        *,
        in_channels: int = 6,
        out_channels: int = 3,
        width: int = 64,
        encoder: Sequence[int] = (1, 1, 1, 28),
        middle: int = 1,
        decoder: Sequence[int] = (1, 1, 1, 1),
        global_skip: bool = False,
    ) -> None:
        super().__init__()
        if width < 4 or width % 2:
            raise ValueError(f"width must be even and at least 4, not {width}.")
        if len(encoder) != len(decoder):
            raise ValueError(f"encoder {list(encoder)} and decoder {list(decoder)} must be of equal length.")
        widths = [width * 2**level for level in range(len(encoder) + 1)]
        self.width, self.unit, self.global_skip = width, 2 ** len(encoder), global_skip
        self.embed1 = nn.Linear(width, 8 * width)
        self.embed2 = nn.Linear(4 * width, 4 * width)
        self.entry = nn.Conv2d(in_channels, width, 3, padding=1)
        embedded = 2 * width
        self.encoder = nn.ModuleList(_blocks(n, c, embedded) for n, c in zip(encoder, widths, strict=False))
        self.down = nn.ModuleList(nn.Conv2d(c, 2 * c, 2, stride=2) for c in widths[:-1])
        self.middle = _blocks(middle, widths[-1], embedded)
        self.up = nn.ModuleList(_upsample(c) for c in widths[:0:-1])
        self.decoder = nn.ModuleList(_blocks(n, c, embedded) for n, c in zip(decoder, widths[-2::-1], strict=True))
        self.exit = nn.Conv2d(width, out_channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """See the class."""
        height, wide = x.shape[-2:]
        time = self.embed1(sinusoid(time, self.width).to(self.entry.weight.dtype))
        # Each block gates the embedded time before its own layer, so that is done here, once.
        time = _gated(self.embed2(_gated(time)))
        x = entered = self.entry(F.pad(x, (0, -wide % self.unit, 0, -height % self.unit)))
        skips = []
        for blocks, down in zip(self.encoder, self.down, strict=True):
            x = _run(blocks, x, time)
            skips.append(x)
            x = down(x)
        x = _run(self.middle, x, time)
        for up, blocks in zip(self.up, self.decoder, strict=True):
            x = _run(blocks, up(x) + skips.pop(), time)
        return self.exit(x + entered if self.global_skip else x)[..., :height, :wide]


class Block(nn.Module):
    """x + spatial half, + channel half; the time scales and shifts what each half is shown."""

    def __init__(self, width: int, embedded: int) -> None:
        super().__init__()
        self.film = nn.Linear(embedded, 4 * width)
        self.norm1, self.norm2 = ChannelNorm(width), ChannelNorm(width)
        self.conv1 = nn.Conv2d(width, 2 * width, 1)
        self.conv2 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.attend = nn.Conv2d(width, width, 1)
        self.conv3 = nn.Conv2d(width, width, 1)
        self.conv4 = nn.Conv2d(width, 2 * width, 1)
        self.conv5 = nn.Conv2d(width, width, 1)
        self.beta = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """NCHW to NCHW of the same shape; time: (N, embedded)."""
        shift1, scale1, shift2, scale2 = self.film(time)[:, :, None, None].chunk(4, dim=1)
        h = torch.addcmul(shift1, self.norm1(x), 1 + scale1)
        h = _gated(self.conv2(self.conv1(h)))
        h = h * self.attend(h.mean(dim=(2, 3), keepdim=True))
        x = torch.addcmul(x, self.conv3(h), self.beta)
        h = torch.addcmul(shift2, self.norm2(x), 1 + scale2)
        return torch.addcmul(x, self.conv5(_gated(self.conv4(h))), self.gamma)


def _gated(x: Tensor) -> Tensor:
    """One half of the channels times the other."""
    a, b = x.chunk(2, dim=1)
    return a * b


def _blocks(count: int, width: int, embedded: int) -> nn.ModuleList:
    return nn.ModuleList(Block(width, embedded) for _ in range(count))


def _upsample(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.PixelShuffle(2))


def _run(blocks: nn.ModuleList, x: Tensor, time: Tensor) -> Tensor:
    for block in blocks:
        x = block(x, time)
    return x


# A part's name here -> in the official code.
_OFFICIAL = {
    "embed1": "time_mlp.1",
    "embed2": "time_mlp.3",
    "entry": "intro",
    "exit": "ending",
    "encoder": "encoders",
    "down": "downs",
    "middle": "middle_blks",
    "up": "ups",
    "decoder": "decoders",
    "film": "mlp.1",
    "attend": "sca.1",
    "gain": "g",
}


def options_from(official: Mapping[str, Tensor], *, global_skip: bool = False) -> dict[str, Any]:
    """A card's ``net`` table for official weights, from their shapes; a leading ``module.`` is passed over.

    ``global_skip`` is what shapes do not tell. Raises ValueError when the weights are not those of an official NAFNet.
    """
    official = unwrapped(official)
    entry, end = official.get("intro.weight"), official.get("ending.weight")
    levels = numbered(official, "downs")
    if entry is None or end is None or entry.ndim != 4 or end.ndim != 4:
        raise ValueError(
            "No weights of an official Refusion NAFNet: expected convolutions intro.weight and ending.weight; "
            f"found {some(official)}."
        )
    return {
        "arch": "nafnet",
        "in_channels": entry.shape[1],
        "out_channels": len(end),
        "width": len(entry),
        "encoder": [numbered(official, f"encoders.{level}") for level in range(levels)],
        "middle": numbered(official, "middle_blks"),
        "decoder": [numbered(official, f"decoders.{level}") for level in range(levels)],
        "global_skip": global_skip,
    }


def rename(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of ``NafNet`` for official weights; a leading ``module.`` is passed over.

    Raises ValueError naming keys that are missing, not known, or of another shape, as the official net calls them.
    """
    options = options_from(official)
    del options["arch"]
    with torch.device("meta"):
        ours = NafNet(**options).state_dict()
    size = ", ".join(f"{option} {value}" for option, value in options.items() if option != "global_skip")
    return taken(unwrapped(official), translated(ours, _OFFICIAL), ours, f"an official Refusion NAFNet ({size})")
