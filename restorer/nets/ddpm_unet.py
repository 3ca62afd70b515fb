"""The U-Net of DDPM, as diffusers saves it (``UNet2DModel``): same weights, same output.

[DDPM] Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020, appendix B: residual blocks with group norm,
told the time by an added vector; softmax attention at some levels and in the middle.

A level is ``layers`` blocks on the way down and ``layers + 1`` on the way up, where each block is shown one of the
pictures put aside on the way down.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorer.nets.enlarge import Enlarge
from restorer.nets.official import check_tensors

SLOWEST = 10_000
"""The longest wave of the time's embedding, in steps."""


class DdpmUNet(nn.Module):
    """(N, in_channels, H, W) and times (N,) to (N, out_channels, H, W); H and W multiples of ``self.multiple``.

    ``widths``: channels of each level, finest first; ``layers``: blocks of a level. ``attention`` and ``attention_up``
    say which levels attend on the way down and up (None: the same levels), the middle does if ``attention_middle``;
    ``head_width``: channels of a head, None for a single head. ``groups`` and ``eps`` are the norms'. ``padding``: of
    the strided convolutions, 1, or 0 for a line of zeros below and to the right. The time's embedding has cosines
    first if ``cosine_first``, and its waves grow longer up to 10 000 at half the channels less ``wave_shift``.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        out_channels: int = 3,
        widths: Sequence[int] = (128, 256, 256, 256),
        layers: int = 2,
        attention: Sequence[bool] = (False, True, False, False),
        attention_up: Sequence[bool] | None = None,
        attention_middle: bool = True,
        head_width: int | None = None,
        groups: int = 32,
        eps: float = 1e-6,
        padding: int = 0,
        cosine_first: bool = False,
        wave_shift: int = 1,
    ) -> None:
        super().__init__()
        attention_up = attention if attention_up is None else attention_up
        if not len(widths) == len(attention) == len(attention_up):
            raise ValueError(f"widths {widths}, attention {attention} and {attention_up} must be of equal length.")
        if padding not in (0, 1) or widths[0] % 2:
            raise ValueError(f"padding {padding} must be 0 or 1, and the first of widths {widths} even.")
        self.multiple = 2 ** (len(widths) - 1)
        self.cosine_first, self.wave_shift = cosine_first, wave_shift
        told = 4 * widths[0]
        self.entry = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.embed1 = nn.Linear(widths[0], told)
        self.embed2 = nn.Linear(told, told)
        make = _Maker(told, groups, eps, head_width)
        coarsest = len(widths) - 1
        self.down = nn.ModuleList()
        for i, (width, attends) in enumerate(zip(widths, attention, strict=True)):
            fed = [widths[max(i - 1, 0)], *[width] * (layers - 1)]
            shrink = Shrink(width, padding) if i < coarsest else None
            self.down.append(Down(*make.level(fed, width, attends), shrink))
        self.middle1 = make.block(widths[-1], widths[-1])
        self.middle_attend = make.attention(widths[-1]) if attention_middle else nn.Identity()
        self.middle2 = make.block(widths[-1], widths[-1])
        self.up = nn.ModuleList()
        for i in range(coarsest, -1, -1):
            width = widths[i]
            below = [widths[min(i + 1, coarsest)], *[width] * layers]
            aside = [*[width] * layers, widths[max(i - 1, 0)]]
            fed = [a + b for a, b in zip(below, aside, strict=True)]
            grow = Enlarge(width, width) if i > 0 else None
            self.up.append(Up(*make.level(fed, width, attention_up[i]), grow))
        self.last = nn.GroupNorm(groups, widths[0], eps=eps)
        self.exit = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """See the class."""
        waves = sinusoid(time, self.embed1.in_features, self.wave_shift, cosine_first=self.cosine_first)
        # Every block hears the SiLU of the embedding, so it is taken once.
        told = F.silu(self.embed2(F.silu(self.embed1(waves.to(self.embed1.weight.dtype)))))
        x = self.entry(x)
        aside = [x]
        for level in self.down:
            x = level(x, told, aside)
        x = self.middle2(self.middle_attend(self.middle1(x, told)), told)
        for level in self.up:
            x = level(x, told, aside)
        return self.exit(F.silu(self.last(x)))


class Down(nn.Module):
    """Blocks, each followed by attention or nothing; then half the size, but not after the coarsest level."""

    def __init__(self, blocks: nn.ModuleList, attends: nn.ModuleList, shrink: nn.Module | None) -> None:
        super().__init__()
        self.blocks, self.attends, self.shrink = blocks, attends, shrink

    def forward(self, x: Tensor, told: Tensor, aside: list[Tensor]) -> Tensor:
        """NCHW to N(width)HW or half of it; every picture on the way is put ``aside``."""
        for i, block in enumerate(self.blocks):
            x = block(x, told)
            x = self.attends[i](x) if self.attends else x
            aside.append(x)
        if self.shrink is not None:
            x = self.shrink(x)
            aside.append(x)
        return x


class Up(nn.Module):
    """Blocks that are shown what was put aside; then twice the size, but not after the finest level."""

    def __init__(self, blocks: nn.ModuleList, attends: nn.ModuleList, grow: nn.Module | None) -> None:
        super().__init__()
        self.blocks, self.attends, self.grow = blocks, attends, grow

    def forward(self, x: Tensor, told: Tensor, aside: list[Tensor]) -> Tensor:
        """NCHW to N(width)HW or twice of it; takes from ``aside``, latest first."""
        for i, block in enumerate(self.blocks):
            x = block(torch.cat([x, aside.pop()], dim=1), told)
            x = self.attends[i](x) if self.attends else x
        return x if self.grow is None else self.grow(x)


class Block(nn.Module):
    """skip(x) + conv(SiLU(norm(conv(SiLU(norm(x))) + time)))."""

    def __init__(self, width_in: int, width: int, told: int, groups: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, width_in, eps=eps)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.time = nn.Linear(told, width)
        self.norm2 = nn.GroupNorm(groups, width, eps=eps)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Identity() if width_in == width else nn.Conv2d(width_in, width, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """x: (N, width_in, H, W); told: (N, told)."""
        h = self.conv1(F.silu(self.norm1(x))) + self.time(told)[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    """x + softmax attention over all pixels."""

    def __init__(self, width: int, head_width: int | None, groups: int, eps: float) -> None:
        super().__init__()
        if width % (head_width or width):
            raise ValueError(f"{width} channels are no whole number of heads of {head_width}.")
        self.heads = width // (head_width or width)
        self.norm = nn.GroupNorm(groups, width, eps=eps)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """NCHW to NCHW."""
        h = self.norm(x).flatten(2).mT
        # (N, pixels, width) to (N, heads, pixels, width of a head)
        q, k, v = (
            part(h).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(y).mT.unflatten(-1, x.shape[-2:])


class Shrink(nn.Conv2d):
    """Half the size; with ``padding`` 0 a line of zeros is added below and to the right only."""

    def __init__(self, width: int, padding: int) -> None:
        super().__init__(width, width, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """NCHW to half of H and W."""
        return super().forward(x if self.padding[0] else F.pad(x, (0, 1, 0, 1)))


class _Maker:
    """What all parts of one net have in common."""

    def __init__(self, told: int, groups: int, eps: float, head_width: int | None) -> None:
        self.told, self.groups, self.eps, self.head_width = told, groups, eps, head_width

    def block(self, width_in: int, width: int) -> Block:
        return Block(width_in, width, self.told, self.groups, self.eps)

    def attention(self, width: int) -> Attention:
        return Attention(width, self.head_width, self.groups, self.eps)

    def level(self, fed: Sequence[int], width: int, attends: bool) -> tuple[nn.ModuleList, nn.ModuleList]:
        blocks = nn.ModuleList(self.block(width_in, width) for width_in in fed)
        return blocks, nn.ModuleList(self.attention(width) for _ in fed if attends)


def sinusoid(time: Tensor, channels: int, wave_shift: int, *, cosine_first: bool) -> Tensor:
    """(N,) times, about 0 to 1000, to (N, channels) float32: sines, then cosines, or the other way round."""
    half = channels // 2
    frequency = torch.exp(torch.arange(half, device=time.device) * (-math.log(SLOWEST) / (half - wave_shift)))
    angle = time.float()[:, None] * frequency
    waves = (angle.cos(), angle.sin()) if cosine_first else (angle.sin(), angle.cos())
    return torch.cat(waves, dim=1)


# A part's name here -> in diffusers.
_DIFFUSERS = {
    "entry": "conv_in",
    "embed1": "time_embedding.linear_1",
    "embed2": "time_embedding.linear_2",
    "down": "down_blocks",
    "middle1": "mid_block.resnets.0",
    "middle_attend": "mid_block.attentions.0",
    "middle2": "mid_block.resnets.1",
    "up": "up_blocks",
    "last": "conv_norm_out",
    "exit": "conv_out",
    "blocks": "resnets",
    "attends": "attentions",
    "shrink": "downsamplers.0.conv",
    "grow": "upsamplers.0.conv",
    "time": "time_emb_proj",
    "skip": "conv_shortcut",
    "norm": "group_norm",
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "out": "to_out.0",
}
# Attention's parts, as diffusers called them before 0.15 and as weights on the Hub still do -> as it calls them now.
_OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}

# A key of diffusers' config -> the values that this net can stand for, the first being diffusers' default.
_FIXED: dict[str, tuple[Any, ...]] = {
    "center_input_sample": (False,),
    "time_embedding_type": ("positional",),
    "time_embedding_dim": (None,),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "act_fn": ("silu", "swish"),
    "attn_norm_num_groups": (None,),
    "resnet_time_scale_shift": ("default",),
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
}
_DOWN = {"DownBlock2D": False, "AttnDownBlock2D": True}
_UP = {"UpBlock2D": False, "AttnUpBlock2D": True}
# A key of diffusers' config that is no kind of block, its default there -> our option.
_OPTIONS: dict[str, tuple[Any, str]] = {
    "in_channels": (3, "in_channels"),
    "out_channels": (3, "out_channels"),
    "layers_per_block": (2, "layers"),
    "add_attention": (True, "attention_middle"),
    "attention_head_dim": (8, "head_width"),
    "norm_num_groups": (32, "groups"),
    "norm_eps": (1e-5, "eps"),
    "downsample_padding": (1, "padding"),
    "flip_sin_to_cos": (True, "cosine_first"),
    "freq_shift": (0, "wave_shift"),
}
_WITHOUT_MEANING = {"dropout", "sample_size", "num_train_timesteps"}


def options_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """A card's ``net`` table for the config.json of a ``UNet2DModel``; keys that are not there have diffusers' default.

    Raises ValueError naming a key that is not known, or a value that this net cannot stand for.
    """
    named = {key: value for key, value in config.items() if not key.startswith("_")}
    kinds = ("down_block_types", "up_block_types", "block_out_channels")
    for key in named:
        if key not in {*_FIXED, *_OPTIONS, *_WITHOUT_MEANING, *kinds}:
            raise ValueError(f"Unknown key {key!r} for a UNet2DModel.")
    for key, values in _FIXED.items():
        found = named.get(key, values[0])
        if found not in values:
            raise ValueError(f"{key} is {found!r}; of UNet2DModel only {_or(values)} can be used.")
    missing = [key for key in kinds if key not in named]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing, without which the net is unknown.")
    down = [_attends(kind, _DOWN) for kind in named["down_block_types"]]
    up = [_attends(kind, _UP) for kind in named["up_block_types"]][::-1]
    options = {"arch": "ddpm_unet", "widths": list(named["block_out_channels"]), "attention": down}
    options |= {"attention_up": up} if up != down else {}
    return options | {ours: named.get(key, default) for key, (default, ours) in _OPTIONS.items()}


def config_of(net: Mapping[str, Any], size: int | None = None) -> dict[str, Any]:
    """The config.json of the ``UNet2DModel`` of a card's ``net`` table; ``size``: the side it was trained on."""
    defaults = {name: option.default for name, option in inspect.signature(DdpmUNet).parameters.items()}
    net = {**defaults, **net}
    down = net["attention"]
    up = net["attention_up"] or down
    return {
        "_class_name": "UNet2DModel",
        "sample_size": size,
        **{key: values[0] for key, values in _FIXED.items()},
        **{key: net[ours] for key, (_, ours) in _OPTIONS.items()},
        "block_out_channels": list(net["widths"]),
        "down_block_types": ["AttnDownBlock2D" if attends else "DownBlock2D" for attends in down],
        "up_block_types": ["AttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(up)],
    }


def rename(diffusers: Mapping[str, Tensor], net: DdpmUNet) -> dict[str, Tensor]:
    """``net``'s state dict from that of a ``UNet2DModel``, whose attention may have its old names or its new ones.

    Raises ValueError naming keys that are missing, not known, or of another shape, as diffusers calls them now.
    """
    given: dict[str, Tensor] = {}
    for key, value in diffusers.items():
        now = _now(key)
        if now in given:
            raise ValueError(f"{now} is there under its old name and its new one.")
        given[now] = value
    ours = net.state_dict()
    names = {name: _diffusers_name(name) for name in ours}
    expected = {names[name]: weight.shape for name, weight in ours.items()}
    check_tensors(given, expected, "this UNet2DModel")
    return {name: given[key] for name, key in names.items()}


def rename_back(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a ``UNet2DModel`` from ours."""
    return {_diffusers_name(name): value for name, value in state.items()}


def _diffusers_name(name: str) -> str:
    return ".".join(_DIFFUSERS.get(part, part) for part in name.split("."))


def _now(key: str) -> str:
    """diffusers' key in today's words; only attention was ever renamed."""
    if ".attentions." not in key:
        return key
    return ".".join(_OLD.get(part, part) for part in key.split("."))


def _attends(kind: str, known: Mapping[str, bool]) -> bool:
    if kind not in known:
        raise ValueError(f"A block of kind {kind!r}; of UNet2DModel only {_or(known)} can be used.")
    return known[kind]


def _or(names: Iterable[Any]) -> str:
    return " or ".join(repr(name) for name in names)
