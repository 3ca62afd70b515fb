"""The noisy classifier of guided-diffusion: same weights, same output.

[ADM] Dhariwal & Nichol, Diffusion Models Beat GANs on Image Synthesis, NeurIPS 2021, section 4: the way down and the
middle of the U-Net, then attention from the mean of all pixels to each of them, whose answer is the classes' logits.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorer.nets.adm_unet import EPS, RESAMPLE, Maker, Step, official_name, official_shape, our_value
from restorer.nets.ddpm_unet import sinusoid
from restorer.nets.official import check_tensors, some, weight_of


class AdmEncoder(nn.Module):
    """(N, in_channels, size, size) and times (N,) to (N, classes) logits.

    ``size``: side of the pictures, the only one it takes, since each place of the coarsest level has weights of its
    own. The other options are those of ``AdmUNet``; ``head_width`` is also that of the last attention.

    Raises ValueError for options that make no net, and when called with pictures of another size.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        classes: int = 1000,
        size: int = 256,
        width: int | None = None,
        widths: Sequence[int] = (128, 128, 256, 256, 512, 512),
        layers: int = 2,
        attention: Sequence[bool] = (False, False, False, True, True, True),
        head_width: int = 64,
        scale_shift: bool = True,
        resample: str = "block",
        groups: int = 32,
    ) -> None:
        super().__init__()
        if len(widths) != len(attention):
            raise ValueError(f"widths {widths} and attention {attention} must be of equal length.")
        if resample not in RESAMPLE:
            raise ValueError(f"resample {resample!r} must be one of {', '.join(RESAMPLE)}.")
        coarsest = len(widths) - 1
        if size < 1 or size % 2**coarsest:
            raise ValueError(f"size {size} must be a multiple of {2**coarsest}.")
        self.size, self.classes = size, classes
        width = width or widths[0]
        told = 4 * width
        self.embed1 = nn.Linear(width, told)
        self.embed2 = nn.Linear(told, told)
        make = Maker(told, groups, head_width, None, scale_shift, resample)
        self.entry = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        before = widths[0]
        for i, attends in enumerate(attention):
            for _ in range(layers):
                self.down.append(make.step(before, widths[i], attends))
                before = widths[i]
            if i < coarsest:
                self.down.append(Step([make.shrink(before)]))
        self.middle = Step([make.block(before, before), make.attention(before), make.block(before, before)])
        self.last = nn.GroupNorm(groups, before, eps=EPS)
        self.pool = Pool(before, size // 2**coarsest, head_width, classes)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """See the class."""
        if x.shape[-2:] != (self.size, self.size):
            height, width = x.shape[-2:]
            raise ValueError(f"The classifier knows pictures of {self.size}x{self.size} pixels, not {width}x{height}.")
        waves = sinusoid(time, self.embed1.in_features, 0, cosine_first=True)
        # Every block hears the SiLU of the embedding, so it is taken once.
        told = F.silu(self.embed2(F.silu(self.embed1(waves.to(self.embed1.weight.dtype)))))
        x = self.entry(x)
        for step in self.down:
            x = step(x, told)
        return self.pool(F.silu(self.last(self.middle(x, told))))


class Pool(nn.Module):
    """(N, width, side, side) to (N, made): what the mean of all pixels, told where they are, is answered by them."""

    def __init__(self, width: int, side: int, head_width: int, made: int) -> None:
        super().__init__()
        if width % head_width:
            raise ValueError(f"{width} channels are no whole number of heads of {head_width}.")
        self.heads = width // head_width
        self.place = nn.Parameter(torch.randn(width, side**2 + 1) / width**0.5)  # the mean's first
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, made)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = x.flatten(2)
        x = (torch.cat([x.mean(dim=2, keepdim=True), x], dim=2) + self.place).mT
        # (N, tokens, width) to (N, heads, tokens, width of a head); only the mean's answer is of use
        asked = {self.query: x[:, :1], self.key: x, self.value: x}
        q, k, v = (part(h).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part, h in asked.items())
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(1))


# ------------------------------------------------------------------------------------------------ official weights

# A part of Pool here -> in the official code.
_POOL = {
    "place": "positional_embedding",
    "query": "qkv_proj",
    "key": "qkv_proj",
    "value": "qkv_proj",
    "out": "c_proj",
}
_WHAT = "a guided-diffusion classifier"
_PLACES = "out.2.positional_embedding"


def options_of(official: Mapping[str, Tensor]) -> dict[str, Any]:
    """A card's table for official weights, as far as their keys and shapes tell; they do not tell the heads.

    Raises ValueError when the weights are not those of a guided-diffusion classifier with attention at its coarsest
    level, by which the number of blocks in a level is told.
    """
    blocks = {int(match[1]) for key in official if (match := re.match(r"input_blocks\.(\d{1,4})\.", key))}
    count = max(blocks, default=0) + 1  # with the entry, which is the first
    layers = next((n for n in range(count) if f"input_blocks.{count - 1 - n}.1.qkv.weight" not in official), 0)
    levels, rest = divmod(count, layers + 1)
    if layers < 1 or rest:
        raise ValueError(f"No weights of {_WHAT}: expected input_blocks that end in attention; found {some(official)}.")
    starts = [1 + level * (layers + 1) for level in range(levels)]
    entry = weight_of(official, "input_blocks.0.0.weight", _WHAT)
    widths = [len(weight_of(official, f"input_blocks.{start}.0.out_layers.3.weight", _WHAT)) for start in starts]
    told = weight_of(official, "input_blocks.1.0.emb_layers.1.weight", _WHAT, 2)
    side = math.isqrt(weight_of(official, _PLACES, _WHAT, 2).shape[1] - 1)
    return {
        "arch": "adm_encoder",
        "in_channels": entry.shape[1],
        "classes": len(weight_of(official, "out.2.c_proj.weight", _WHAT, 3)),
        "size": side * 2 ** (levels - 1),
        "width": weight_of(official, "time_embed.0.weight", _WHAT, 2).shape[1],
        "widths": widths,
        "layers": layers,
        "attention": [f"input_blocks.{start}.1.qkv.weight" in official for start in starts],
        "scale_shift": len(told) == 2 * widths[0],
        "resample": _resample(official, layers + 1) if levels > 1 else RESAMPLE[0],
    }


def _resample(official: Mapping[str, Tensor], shrink: int) -> str:
    """The word of RESAMPLE for the block ``shrink``, the first that halves the size."""
    signs = {"block": "in_layers.2.weight", "conv": "op.weight"}
    return next((word for word, sign in signs.items() if f"input_blocks.{shrink}.0.{sign}" in official), "plain")


def rename(official: Mapping[str, Tensor], net: AdmEncoder) -> dict[str, Tensor]:
    """``net``'s state dict from official weights.

    Raises ValueError naming keys that are missing, not known, or of another shape, as the official net calls them.
    """
    ours = net.state_dict()
    names = {name: _official_name(name) for name in ours}
    check_tensors(official, {names[name]: official_shape(name, w.shape) for name, w in ours.items()}, _WHAT)
    # The official body has one head after the other, its pool queries, keys and values of all heads.
    return {name: our_value(name, official[key], net, name.startswith("pool.")) for name, key in names.items()}


def _official_name(name: str) -> str:
    top, _, rest = name.partition(".")
    if top != "pool":
        return official_name(name)
    part, dot, rest = rest.partition(".")
    return f"out.2.{_POOL[part]}{dot}{rest}"
