"""What the released DDPM nets are, as far as their checkpoints do not say it, and what they must agree with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SIMPLE, ADM = "ddpm_unet", "adm_unet"
"""The nets, by their keys of NETS: that of DDIM's code, and that of guided-diffusion."""

LINEAR: dict[str, Any] = {"kind": "vp", "T": 1000, "beta": "linear", "beta_start": 1e-4, "beta_end": 0.02}


@dataclass(frozen=True)
class Preset:
    """``net``: what a checkpoint must have been found to be; ``heads``: the options of an ``AdmUNet`` that say them.

    ``trained``: side of the pictures it was trained on; ``new_order``: as in ``adm_unet.rename``; ``note`` is shown to
    the user. ``guide_scale``: how strongly the official classifier of that size pulls.
    """

    arch: str
    net: Mapping[str, Any]
    trained: int
    data: str
    heads: Mapping[str, int] = field(default_factory=dict)
    new_order: bool = False
    schedule: Mapping[str, Any] = field(default_factory=lambda: LINEAR)
    note: str = ""
    guide_scale: float = 1.0


def _net(widths: str, layers: int, attention: str, classes: int | None = None) -> dict[str, Any]:
    """``widths`` and ``attention``, an x where it is, of each level, finest first."""
    told = {"widths": [int(width) for width in widths.split()], "layers": layers}
    told["attention"] = [mark == "x" for mark in attention]
    return told if classes is None else told | {"classes": classes}


_RESEARCH = "OpenAI's model card gives these weights for research only, not for commercial use."

_SIMPLE_256 = _net("128 128 256 256 512 512", 2, "....x.")
_ADM_256 = "256 256 512 512 1024 1024"
_HEADS = {"head_width": 64}

# Sources: configs/ of ermongroup/ddim (e8df66c) and of DDRM and DDNM; README.md of openai/guided-diffusion (22e0df8);
# model_config.yaml of DPS (ffhq); confs/ of RePaint (celebahq, places).
PRESETS: dict[str, Preset] = {
    "cifar10": Preset(SIMPLE, _net("128 256 256 256", 2, ".x.."), 32, "CIFAR-10"),
    "celeba64": Preset(SIMPLE, _net("128 256 256 256 512", 2, "..x.."), 64, "CelebA 64x64"),
    "celebahq256": Preset(SIMPLE, _SIMPLE_256, 256, "CelebA-HQ 256x256"),
    "lsun-bedroom": Preset(SIMPLE, _SIMPLE_256, 256, "LSUN bedroom 256x256"),
    "lsun-cat": Preset(SIMPLE, _SIMPLE_256, 256, "LSUN cat 256x256"),
    "lsun-church": Preset(SIMPLE, _SIMPLE_256, 256, "LSUN church 256x256"),
    "adm-imagenet64": Preset(
        *(ADM, _net("192 384 576 768", 3, ".xxx", 1000), 64, "ImageNet 64x64", _HEADS, True),
        *({"kind": "vp", "T": 1000, "beta": "squaredcos_cap_v2"}, _RESEARCH),
    ),
    "adm-imagenet128": Preset(
        *(ADM, _net("256 256 512 768 1024", 2, "..xxx", 1000), 128, "ImageNet 128x128", {"heads": 4}),
        note=_RESEARCH,
        guide_scale=0.5,
    ),
    "adm-imagenet256": Preset(ADM, _net(_ADM_256, 2, "...xxx", 1000), 256, "ImageNet 256x256", _HEADS, note=_RESEARCH),
    "adm-imagenet256-uncond": Preset(
        *(ADM, _net(_ADM_256, 2, "...xxx"), 256, "ImageNet 256x256", _HEADS), note=_RESEARCH, guide_scale=10.0
    ),
    "adm-imagenet512": Preset(
        *(ADM, _net("128 256 256 512 512 1024 1024", 2, "....xxx", 1000), 512, "ImageNet 512x512", _HEADS),
        note=_RESEARCH,
        guide_scale=4.0,
    ),
    "adm-imagenet512-uncond": Preset(
        ADM, _net("128 256 256 512 512 1024 1024", 2, "....xxx"), 512, "ImageNet 512x512", _HEADS
    ),
    "adm-lsun": Preset(ADM, _net(_ADM_256, 2, "...xxx"), 256, "LSUN bedroom, cat or horse 256x256", _HEADS),
    "adm-ffhq256": Preset(ADM, _net("128 128 256 256 512 512", 1, "....x."), 256, "FFHQ 256x256", _HEADS),
    "adm-celebahq256": Preset(ADM, _net(_ADM_256, 2, "...xxx"), 256, "CelebA-HQ 256x256", _HEADS),
    "adm-places256": Preset(ADM, _net(_ADM_256, 2, "...xxx"), 256, "Places2 256x256", _HEADS),
}
