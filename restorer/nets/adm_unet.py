"""The U-Net of guided-diffusion ("ADM"): same weights, same output.

[ADM] Dhariwal & Nichol, Diffusion Models Beat GANs on Image Synthesis, NeurIPS 2021, section 3: DDPM's U-Net, told the
time by a scale and a shift after the norm, with heads of attention, and with blocks that change the size.

A level is ``layers`` blocks on the way down and ``layers + 1`` on the way up, and one that halves or doubles the size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorer.nets.ddpm_unet import Attention, sinusoid
from restorer.nets.enlarge import Enlarge
from restorer.nets.official import check_tensors, some, weight_of

EPS = 1e-5
"""Of the norms."""

RESAMPLE = ("block", "conv", "plain")
"""Between levels: a block that hears the time, a convolution, or nothing but the mean of four pixels and its reverse.

Officially resblock_updown; neither that nor, for "plain", conv_resample.
"""


class AdmUNet(nn.Module):
    """(N, in_channels, H, W) and times (N,) to (N, out_channels, H, W); H and W multiples of ``self.multiple``.

    ``widths``: channels of each level, finest first; ``layers``: blocks of a level; ``width``: of the time's waves,
    the first of ``widths`` unless said. ``attention`` says which levels attend; the middle does. ``head_width``:
    channels of a head, unless ``heads`` says how many there are. ``scale_shift``: told the time by both, not by an
    addend alone. ``resample``: a word of RESAMPLE. Official nets say the noise in the first 3 of 6 channels; see
    ``rename``.

    A net of ``classes`` is told one for each picture, or ``label`` for all of them. Raises ValueError for options that
    make no net.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        out_channels: int = 3,
        width: int | None = None,
        widths: Sequence[int] = (256, 256, 512, 512, 1024, 1024),
        layers: int = 2,
        attention: Sequence[bool] = (False, False, False, True, True, True),
        head_width: int = 64,
        heads: int | None = None,
        scale_shift: bool = True,
        resample: str = "block",
        classes: int | None = None,
        label: int = 0,
        groups: int = 32,
    ) -> None:
        super().__init__()
        if len(widths) != len(attention):
            raise ValueError(f"widths {widths} and attention {attention} must be of equal length.")
        if resample not in RESAMPLE:
            raise ValueError(f"resample {resample!r} must be one of {', '.join(RESAMPLE)}.")
        if classes is not None and not 0 <= label < classes:
            raise ValueError(f"label {label} must be from 0 to {classes - 1}.")
        self.multiple = 2 ** (len(widths) - 1)
        self.spoken = label
        width = width or widths[0]
        told = 4 * width
        self.embed1 = nn.Linear(width, told)
        self.embed2 = nn.Linear(told, told)
        self.label = None if classes is None else nn.Embedding(classes, told)
        make = Maker(told, groups, head_width, heads, scale_shift, resample)
        coarsest = len(widths) - 1
        self.entry = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        aside = [widths[0]]
        for i, attends in enumerate(attention):
            for _ in range(layers):
                self.down.append(make.step(aside[-1], widths[i], attends))
                aside.append(widths[i])
            if i < coarsest:
                self.down.append(Step([make.shrink(widths[i])]))
                aside.append(widths[i])
        end = widths[-1]
        self.middle = Step([make.block(end, end), make.attention(end), make.block(end, end)])
        self.up = nn.ModuleList()
        below = end
        for i in range(coarsest, -1, -1):
            for k in range(layers + 1):
                step = make.step(below + aside.pop(), widths[i], attention[i])
                below = widths[i]
                if i > 0 and k == layers:
                    step.append(make.grow(below))
                self.up.append(step)
        self.last = nn.GroupNorm(groups, widths[0], eps=EPS)
        self.exit = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """See the class; ``label``: (N,) whole numbers, for nets of classes."""
        waves = sinusoid(time, self.embed1.in_features, 0, cosine_first=True)
        told = self.embed2(F.silu(self.embed1(waves.to(self.embed1.weight.dtype))))
        if self.label is not None:
            label = torch.full((len(x),), self.spoken, device=x.device) if label is None else label
            told = told + self.label(label)
        # Every block hears the SiLU of the embedding, so it is taken once.
        told = F.silu(told)
        x = self.entry(x)
        aside = [x]
        for step in self.down:
            x = step(x, told)
            aside.append(x)
        x = self.middle(x, told)
        for step in self.up:
            x = step(torch.cat([x, aside.pop()], dim=1), told)
        return self.exit(F.silu(self.last(x)))


class Step(nn.ModuleList):
    """Parts one after the other."""

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """x: NCHW; told: (N, told)."""
        for part in self:
            x = part(x, told)
        return x


class Block(nn.Module):
    """skip(x) + conv(SiLU(norm(conv(SiLU(norm(x)))) told the time)), ``resize``d before the first convolution."""

    def __init__(
        self,
        width_in: int,
        width: int,
        told: int,
        groups: int,
        scale_shift: bool,
        resize: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.scale_shift, self.resize = scale_shift, resize
        self.norm1 = nn.GroupNorm(groups, width_in, eps=EPS)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.time = nn.Linear(told, 2 * width if scale_shift else width)
        self.norm2 = nn.GroupNorm(groups, width, eps=EPS)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Identity() if width_in == width else nn.Conv2d(width_in, width, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """x: (N, width_in, H, W); told: (N, told)."""
        h = F.silu(self.norm1(x))
        if self.resize is not None:
            h, x = self.resize(h), self.resize(x)
        h = self.conv1(h)
        told = self.time(told)[:, :, None, None]
        if self.scale_shift:
            scale, shift = told.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + told)
        return self.skip(x) + self.conv2(F.silu(h))


class Attend(Attention):
    """Attention, which does not ask for the time."""

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """NCHW to NCHW."""
        return super().forward(x)


class Shrink(nn.Module):
    """Half the size, deaf to the time."""

    def __init__(self, width: int, learned: bool) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1) if learned else nn.AvgPool2d(2)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """NCHW to half of H and W."""
        return self.op(x)


class Grow(nn.Module):
    """Twice the size, deaf to the time."""

    def __init__(self, width: int, learned: bool) -> None:
        super().__init__()
        self.conv = Enlarge(width, width) if learned else nn.Upsample(scale_factor=2.0, mode="nearest")

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """NCHW to twice H and W."""
        return self.conv(x)


class Maker:
    """What all parts of one net have in common."""

    def __init__(
        self, told: int, groups: int, head_width: int, heads: int | None, scale_shift: bool, resample: str
    ) -> None:
        self.told, self.groups, self.head_width, self.heads = told, groups, head_width, heads
        self.scale_shift, self.resample = scale_shift, resample

    def block(self, width_in: int, width: int, resize: Callable[[Tensor], Tensor] | None = None) -> Block:
        """A block that hears the time."""
        return Block(width_in, width, self.told, self.groups, self.scale_shift, resize)

    def attention(self, width: int) -> Attend:
        """Raises ValueError for channels that heads cannot share."""
        if self.heads is None:
            return Attend(width, self.head_width, self.groups, EPS)
        if self.heads < 1 or width % self.heads:
            raise ValueError(f"{width} channels cannot be shared by {self.heads} heads.")
        return Attend(width, width // self.heads, self.groups, EPS)

    def step(self, width_in: int, width: int, attends: bool) -> Step:
        """A block, and attention where it ``attends``."""
        return Step([self.block(width_in, width), *([self.attention(width)] if attends else [])])

    def shrink(self, width: int) -> nn.Module:
        """What halves the size."""
        return self.block(width, width, _half) if self.resample == "block" else Shrink(width, self.resample == "conv")

    def grow(self, width: int) -> nn.Module:
        """What doubles the size."""
        return self.block(width, width, _twice) if self.resample == "block" else Grow(width, self.resample == "conv")


def _half(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


# ------------------------------------------------------------------------------------------------ official weights

# A part's name here -> in the official code.
_OFFICIAL = {
    "embed1": "time_embed.0",
    "embed2": "time_embed.2",
    "label": "label_emb",
    "entry": "input_blocks.0.0",
    "middle": "middle_block",
    "up": "output_blocks",
    "last": "out.0",
    "exit": "out.2",
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "skip": "skip_connection",
    "query": "qkv",
    "key": "qkv",
    "value": "qkv",
    "out": "proj_out",
}
_THIRDS = ("query", "key", "value")
_WHAT = "a guided-diffusion U-Net"


def options_of(official: Mapping[str, Tensor]) -> dict[str, Any]:
    """A card's ``net`` table for official weights, as far as their keys and shapes tell; they do not tell the heads.

    Raises ValueError when the weights are not those of a guided-diffusion U-Net.
    """
    inputs, outputs = (_indices(official, name) for name in ("input_blocks", "output_blocks"))
    grown = {kind: list(_last_parts(official, name)) for kind, name in _GROWN.items()}
    resample = next((kind for kind, keys in grown.items() if keys), "plain")
    gaps = max(inputs, default=0) + 1 - len(inputs)  # where a part without weights is
    levels = 1 + (gaps if resample == "plain" else len(grown[resample]))
    layers = len(outputs) // levels - 1
    if layers < 1:
        raise ValueError(f"No weights of {_WHAT}: expected input_blocks and output_blocks; found {some(official)}.")
    starts = [1 + level * (layers + 1) for level in range(levels)]
    entry, leave = (weight_of(official, key, _WHAT) for key in ("input_blocks.0.0.weight", "out.2.weight"))
    blocks = [weight_of(official, f"input_blocks.{start}.0.out_layers.3.weight", _WHAT) for start in starts]
    told = weight_of(official, "input_blocks.1.0.emb_layers.1.weight", _WHAT, 2)
    classes = official.get("label_emb.weight")
    return {
        "arch": "adm_unet",
        "in_channels": entry.shape[1],
        "out_channels": len(leave),
        "width": weight_of(official, "time_embed.0.weight", _WHAT, 2).shape[1],
        "widths": [len(weight) for weight in blocks],
        "layers": layers,
        "attention": [f"input_blocks.{start}.1.qkv.weight" in official for start in starts],
        "scale_shift": len(told) == 2 * len(blocks[0]),
        "resample": resample if levels > 1 else RESAMPLE[0],
        "classes": None if classes is None else len(classes),
    }


def rename(official: Mapping[str, Tensor], net: AdmUNet, *, new_order: bool = False) -> dict[str, Tensor]:
    """``net``'s state dict from official weights; a net of half as many outputs gets the first half of them.

    The other half is the learned variance, which DDIM has no use for. ``new_order``: the rows of qkv are queries, keys
    and values of all heads, not of one head after the other; shapes do not tell. Raises ValueError naming keys that are
    missing, not known, or of another shape, as the official net calls them.
    """
    ours = net.state_dict()
    names = {name: official_name(name) for name in ours}
    expected = {names[name]: official_shape(name, weight.shape) for name, weight in ours.items()}
    leave = official.get("out.2.weight")
    if leave is not None and leave.ndim == 4 and len(leave) == 2 * net.exit.out_channels:
        for key in ("out.2.weight", "out.2.bias"):
            expected[key] = (len(leave), *expected[key][1:])
    check_tensors(official, expected, _WHAT)
    cut = {f"exit.{part}" for part in ("weight", "bias")}
    return {
        name: official[key][: net.exit.out_channels] if name in cut else our_value(name, official[key], net, new_order)
        for name, key in names.items()
    }


# How the last part of a way up that doubles the size is called, where it has weights.
_GROWN = {"block": r"[12]\.in_layers\.2\.weight", "conv": r"[12]\.conv\.weight"}


def _last_parts(official: Mapping[str, Tensor], name: str) -> Iterator[str]:
    return (key for key in official if re.fullmatch(rf"output_blocks\.\d+\.{name}", key))


def _indices(official: Mapping[str, Tensor], name: str) -> set[int]:
    found = (re.match(rf"{name}\.(\d{{1,4}})\.", key) for key in official)
    return {int(match[1]) for match in found if match}


def official_name(name: str) -> str:
    """What the official code calls a weight of ours."""
    top, _, rest = name.partition(".")
    if top == "down":  # the first of the official list is the entry
        index, _, rest = rest.partition(".")
        return f"input_blocks.{int(index) + 1}.{_parts(rest)}"
    return f"{_OFFICIAL[top]}.{_parts(rest)}"


def _parts(name: str) -> str:
    return ".".join(_OFFICIAL.get(part, part) for part in name.split("."))


def official_shape(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Attention's linear maps are convolutions there, with the three of qkv in one."""
    part = name.split(".")[-2]
    rows, *columns = shape
    if part not in (*_THIRDS, "out"):
        return tuple(shape)
    return (3 * rows if part in _THIRDS else rows, *columns, *[1] * len(columns))


def our_value(name: str, value: Tensor, net: nn.Module, new_order: bool) -> Tensor:
    """The weight of ours called ``name`` from the official tensor that holds it; ``new_order`` as in ``rename``."""
    place, part, _ = name.rsplit(".", 2) if name.count(".") > 1 else ("", *name.split("."))
    if part == "out":
        return value.flatten(1) if value.ndim > 1 else value
    if part not in _THIRDS:
        return value
    rows = value.flatten(1) if value.ndim > 1 else value
    heads = 1 if new_order else net.get_submodule(place).heads
    return rows.unflatten(0, (heads, 3, -1))[:, _THIRDS.index(part)].flatten(0, 1)
