"""The U-Net of RDDM's official code, in the three forms its checkpoints have.

    rddm_unet         one U-Net                                  an objective with one output
    rddm_unet_two     two U-Nets, the residual's and the noise's (SM-Res-N-2Net, what the released models are)
    rddm_unet_shared  one way down, two ways up

[RDDM] Liu et al., Residual Denoising Diffusion Models, CVPR 2024; the U-Net is that of [DDPM], Ho et al., NeurIPS 2020,
with linear attention at every level (Shen et al., Efficient Attention, 2021).

Official 3 x 3 convolutions standardise their weights (Qiao et al., 2019) anew in each call. The result does not depend
on the picture, so ``rename`` does it once and the nets here have plain convolutions: same output, less work. A net
trained here from the start is thus one without weight standardisation.

Linear attention sums over the whole picture, so what a net says of a pixel depends on the picture's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count, pairwise, takewhile
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorer.nets.attention import EPS, Attention, LinearAttention
from restorer.nets.enlarge import Enlarge
from restorer.nets.official import some, taken
from restorer.nets.plain_unet import sinusoid

GROUPS = 8


class RddmUNet(nn.Module):
    """(N, in_channels, H, W) and times (N,) to (N, out_channels, H, W); H and W multiples of ``self.multiple``.

    ``in_channels``: 3 for x_t, 6 with y, 9 with y and a mask; ``dim``: channels of the finest level, a multiple of 8;
    ``dim_mults``: channels of each level in units of ``dim``. Official nets have out_channels = 3.
    """

    def __init__(
        self,
        *,
        in_channels: int = 6,
        out_channels: int = 3,
        dim: int = 64,
        dim_mults: tuple[int, ...] = (1, 2, 4, 8),
    ) -> None:
        super().__init__()
        self.multiple = 2 ** (len(dim_mults) - 1)
        self.encoder = Encoder(in_channels, dim, dim_mults)
        self.decoder = Decoder(out_channels, dim, dim_mults, skips=True)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """See the class."""
        x, skips, time = self.encoder(x, time)
        return self.decoder(x, skips, time)


class TwoRddmUNets(nn.Module):
    """(N, in_channels, H, W) to (N, 6, H, W): the residual's net, then the noise's, both shown the same pictures.

    Time is (N,) for both, or (N, 2): a column for each net, as partially path-independent generation has it, where
    the residual's net hears the shift and the noise's net hears the sigma. Options: see RddmUNet.
    """

    def __init__(self, *, in_channels: int = 6, dim: int = 64, dim_mults: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        super().__init__()
        self.res = RddmUNet(in_channels=in_channels, dim=dim, dim_mults=dim_mults)
        self.eps = RddmUNet(in_channels=in_channels, dim=dim, dim_mults=dim_mults)
        self.multiple = self.res.multiple

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """See the class."""
        res_time, eps_time = (time, time) if time.ndim == 1 else time.unbind(dim=1)
        return torch.cat([self.res(x, res_time), self.eps(x, eps_time)], dim=1)


class SharedRddmUNet(nn.Module):
    """(N, in_channels, H, W) and times (N,) to (N, 6, H, W): the residual, then the noise (or their sum).

    The residual's way up sees only the coarsest level; the noise's has the skips. Options: see RddmUNet.
    """

    def __init__(self, *, in_channels: int = 6, dim: int = 64, dim_mults: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        super().__init__()
        self.multiple = 2 ** (len(dim_mults) - 1)
        self.encoder = Encoder(in_channels, dim, dim_mults)
        self.res = Decoder(3, dim, dim_mults, skips=False)
        self.eps = Decoder(3, dim, dim_mults, skips=True)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """See the class."""
        x, skips, time = self.encoder(x, time)
        return torch.cat([self.res(x, [], time), self.eps(x, skips, time)], dim=1)


class Encoder(nn.Module):
    """The way down and the middle. Answers the coarsest features, the skips finest first, and the embedded time."""

    def __init__(self, in_channels: int, dim: int, dim_mults: tuple[int, ...]) -> None:
        super().__init__()
        widths = [dim, *(dim * mult for mult in dim_mults)]
        self.dim = dim
        self.entry = nn.Conv2d(in_channels, dim, 7, padding=3)
        self.embed1 = nn.Linear(dim, 4 * dim)
        self.embed2 = nn.Linear(4 * dim, 4 * dim)
        self.down = nn.ModuleList(Level(a, 0, 4 * dim, nn.Conv2d(a, b, 4, 2, 1)) for a, b in pairwise(widths))
        self.down[-1].resample = nn.Conv2d(widths[-2], widths[-1], 3, padding=1)
        self.middle1 = Block(widths[-1], widths[-1], 4 * dim)
        self.middle_attend = Attention(widths[-1])
        self.middle2 = Block(widths[-1], widths[-1], 4 * dim)

    def forward(self, x: Tensor, time: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
        """x: NCHW; time: (N,)."""
        time = self.embed1(sinusoid(time, self.dim).to(self.entry.weight.dtype))
        # Every use of the embedded time is behind a SiLU, so that is applied here, once.
        time = F.silu(self.embed2(F.gelu(time)))
        x = self.entry(x)
        skips = [x]
        for level in self.down:
            x = level.first(x, time)
            skips.append(x)
            x = level.attend(level.second(x, time))
            skips.append(x)
            x = level.resample(x)
        return self.middle2(self.middle_attend(self.middle1(x, time)), time), skips, time


class Decoder(nn.Module):
    """The way up, with the encoder's skips beside its own features or without."""

    def __init__(self, out_channels: int, dim: int, dim_mults: tuple[int, ...], *, skips: bool) -> None:
        super().__init__()
        widths = [dim, *(dim * mult for mult in dim_mults)]
        pairs = list(pairwise(reversed(widths)))
        self.up = nn.ModuleList(Level(a, b if skips else 0, 4 * dim, _upsample(a, b)) for a, b in pairs)
        self.up[-1].resample = nn.Conv2d(widths[1], widths[0], 3, padding=1)
        self.last = Block(2 * dim if skips else dim, dim, 4 * dim)
        self.exit = nn.Conv2d(dim, out_channels, 1)

    def forward(self, x: Tensor, skips: list[Tensor], time: Tensor) -> Tensor:
        """x: the coarsest features; skips: finest first, or none; time: embedded."""
        skips = list(skips)

        def beside(x: Tensor) -> Tensor:
            return torch.cat([x, skips.pop()], dim=1) if skips else x

        for level in self.up:
            x = level.first(beside(x), time)
            x = level.attend(level.second(beside(x), time))
            x = level.resample(x)
        return self.exit(self.last(beside(x), time))


class Level(nn.Module):
    """The parts of one level; ``width`` channels and ``skip`` more beside them before each block."""

    def __init__(self, width: int, skip: int, embedded: int, resample: nn.Module) -> None:
        super().__init__()
        self.first = Block(width + skip, width, embedded)
        self.second = Block(width + skip, width, embedded)
        self.attend = LinearAttention(width)
        self.resample = resample


class Block(nn.Module):
    """Two convolutions with group norm around a skip; the time scales and shifts the first."""

    def __init__(self, width_in: int, width: int, embedded: int) -> None:
        super().__init__()
        self.film = nn.Linear(embedded, 2 * width)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1)
        self.norm1 = nn.GroupNorm(GROUPS, width, eps=EPS)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, width, eps=EPS)
        self.skip = nn.Identity() if width_in == width else nn.Conv2d(width_in, width, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x: (N, width_in, H, W); time: (N, embedded)."""
        scale, shift = self.film(time)[:, :, None, None].chunk(2, dim=1)
        h = F.silu(torch.addcmul(shift, self.norm1(self.conv1(x)), 1 + scale))
        return F.silu(self.norm2(self.conv2(h))).add_(self.skip(x))


def _upsample(width_in: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Identity(), Enlarge(width_in, width))  # official code has a module for each part


FORMS: dict[str, type[nn.Module]] = {
    "rddm_unet": RddmUNet,
    "rddm_unet_two": TwoRddmUNets,
    "rddm_unet_shared": SharedRddmUNet,
}

# A part's name here -> in the official code, whose modules are sequences in wrappers.
_OFFICIAL = {
    "res": "unet0",
    "eps": "unet1",
    "encoder": "",
    "decoder": "",
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
    "norm1": "block1.norm",
    "conv2": "block2.proj",
    "norm2": "block2.norm",
    "skip": "res_conv",
    "norm": "fn.norm",
    "qkv": "fn.fn.to_qkv",
    "out": "fn.fn.to_out",
    "gain": "g",
}
# The shared form's two ways up are not modules of their own there.
_OFFICIAL_SHARED = {
    "res.up": "ups_no_skip",
    "res.last": "final_res_block_1",
    "res.exit": "final_conv_1",
    "eps.up": "ups",
    "eps.last": "final_res_block_2",
    "eps.exit": "final_conv_2",
}


def options_of(official: Mapping[str, Tensor]) -> dict[str, Any]:
    """A card's ``net`` table for official weights (keys of the official net, without ``model.``), from their shapes.

    ``unet0.`` and ``unet1.`` make two nets; ``unet0.`` alone, or keys without it, make one. Raises ValueError when
    the weights are not those of an official U-Net.
    """
    arch, prefix = _form(official)
    entry = official.get(f"{prefix}init_conv.weight")
    coarser = [official[key] for key in _down_keys(official, prefix)]
    if entry is None or not coarser or any(weight.ndim != 4 for weight in (entry, *coarser)):
        raise ValueError(
            "No weights of an official RDDM U-Net: expected convolutions init_conv.weight, downs.0.3.weight, "
            f"downs.1.3.weight and so on; found {some(official)}."
        )
    dim = len(entry)
    return {
        "arch": arch,
        "in_channels": entry.shape[1],
        "dim": dim,
        "dim_mults": [len(weight) // dim for weight in coarser],
    }


def rename(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of ``FORMS[options_of(official)["arch"]]`` for official weights; weight standardisation is folded.

    Raises ValueError naming keys that are missing, not known, or of another shape, as the official net calls them.
    """
    options = options_of(official)
    arch, prefix = _form(official)
    with torch.device("meta"):
        ours = FORMS[options.pop("arch")](**options).state_dict()
    names = {name: _official_name(name, arch, prefix) for name in ours}
    size = ", ".join(f"{option} {value}" for option, value in options.items())
    state = taken(official, names, ours, f"an official {arch} ({size})")
    return {
        name: _standardised(weight) if names[name].endswith(".proj.weight") else weight
        for name, weight in state.items()
    }


def _form(official: Mapping[str, Tensor]) -> tuple[str, str]:
    """The key of FORMS, and what official keys (of the first net) begin with."""
    if any(key.startswith("unet1.") for key in official):
        return "rddm_unet_two", "unet0."
    if any(key.startswith("unet0.") for key in official):
        return "rddm_unet", "unet0."
    if any(key.startswith("ups_no_skip.") for key in official):
        return "rddm_unet_shared", ""
    return "rddm_unet", ""


def _down_keys(official: Mapping[str, Tensor], prefix: str) -> Iterator[str]:
    keys = (f"{prefix}downs.{k}.3.weight" for k in count())
    return takewhile(lambda key: key in official, keys)


def _official_name(name: str, arch: str, prefix: str) -> str:
    if arch == "rddm_unet_shared":
        for ours, theirs in _OFFICIAL_SHARED.items():
            if name.startswith(f"{ours}."):
                name = theirs + name.removeprefix(ours)
    elif arch == "rddm_unet":
        name = prefix + name
    return ".".join(filter(None, (_OFFICIAL.get(part, part) for part in name.split("."))))


def _standardised(weight: Tensor) -> Tensor:
    """Each output channel's filter (in, height, width) with mean 0 and variance 1, as official code does in float32."""
    variance, mean = torch.var_mean(weight.double(), dim=(1, 2, 3), correction=0, keepdim=True)
    return ((weight - mean) * (variance + EPS).rsqrt()).to(weight.dtype)
