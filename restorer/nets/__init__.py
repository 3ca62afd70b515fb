"""Networks, one file an architecture. A net is called with (NCHW, time) and knows nothing of methods."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from restorer.nets.adm_unet import AdmUNet
from restorer.nets.ddpm_unet import DdpmUNet
from restorer.nets.plain_unet import PlainUNet
from restorer.nets.rddm_unet import RddmUNet, SharedRddmUNet, TwoRddmUNets

NETS: dict[str, Callable[..., nn.Module]] = {
    "plain_unet": PlainUNet,
    "rddm_unet": RddmUNet,
    "rddm_unet_two": TwoRddmUNets,
    "rddm_unet_shared": SharedRddmUNet,
    "ddpm_unet": DdpmUNet,
    "adm_unet": AdmUNet,
}
