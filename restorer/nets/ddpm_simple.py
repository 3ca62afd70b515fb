"""The weights of DDPM's U-Net as DDIM's code and its kin save them (their model type "simple"), for ``DdpmUNet``.

The code is that of ermongroup/ddim and pesser/pytorch_diffusion, from which DDRM, SDEdit and DDNM have theirs. It is
the net that diffusers has, under other names, with attention's maps as 1x1 convolutions and the levels of the way up
counted from the finest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from restorer.nets.ddpm_unet import DdpmUNet
from restorer.nets.official import check_tensors, weight_of

_WHAT = 'a "simple" DDPM U-Net'

# A part's name here -> in the official code.
_OFFICIAL = {
    "embed1": "temb.dense.0",
    "embed2": "temb.dense.1",
    "entry": "conv_in",
    "middle1": "mid.block_1",
    "middle_attend": "mid.attn_1",
    "middle2": "mid.block_2",
    "last": "norm_out",
    "exit": "conv_out",
    "blocks": "block",
    "attends": "attn",
    "shrink": "downsample.conv",
    "grow": "upsample.conv",
    "time": "temb_proj",
    "skip": "nin_shortcut",
    "query": "q",
    "key": "k",
    "value": "v",
    "out": "proj_out",
}
_MAPS = ("query", "key", "value", "out")


def options_of(official: Mapping[str, Tensor]) -> dict[str, Any]:
    """A card's ``net`` table for official weights, all of which their keys and shapes tell.

    Raises ValueError when the weights are not those of such a U-Net.
    """
    found = (re.match(r"down\.(\d{1,4})\.block\.0\.", key) for key in official)
    levels = len({match[1] for match in found if match})
    firsts = [weight_of(official, f"down.{level}.block.0.conv1.weight", _WHAT) for level in range(max(levels, 1))]
    layers = sum(re.fullmatch(r"down\.0\.block\.\d+\.conv1\.weight", key) is not None for key in official)
    return {
        "arch": "ddpm_unet",
        "in_channels": weight_of(official, "conv_in.weight", _WHAT).shape[1],
        "out_channels": len(weight_of(official, "conv_out.weight", _WHAT)),
        "widths": [len(weight) for weight in firsts],
        "layers": layers,
        "attention": [f"down.{level}.attn.0.q.weight" in official for level in range(levels)],
    }


def rename(official: Mapping[str, Tensor], net: DdpmUNet) -> dict[str, Tensor]:
    """``net``'s state dict from official weights.

    Raises ValueError naming keys that are missing, not known, or of another shape, as the official net calls them.
    """
    ours = net.state_dict()
    coarsest = len(net.up) - 1
    names = {name: _official_name(name, coarsest) for name in ours}
    expected = {names[name]: _official_shape(name, weight.shape) for name, weight in ours.items()}
    check_tensors(official, expected, _WHAT)
    return {name: official[key].reshape(ours[name].shape) for name, key in names.items()}


def _official_name(name: str, coarsest: int) -> str:
    parts = name.split(".")
    if parts[0] == "up":
        parts[1] = str(coarsest - int(parts[1]))
    return ".".join(_OFFICIAL.get(part, part) for part in parts)


def _official_shape(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    is_map = name.endswith(tuple(f".{part}.weight" for part in _MAPS))
    return (*shape, 1, 1) if is_map else tuple(shape)
