"""Networks, one file an architecture. A net is called with (NCHW, time) and knows nothing of methods."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from restorer.nets.adm_encoder import AdmEncoder
from restorer.nets.adm_unet import AdmUNet
from restorer.nets.ddpm_unet import DdpmUNet
from restorer.nets.irsde_unet import IrsdeUNet
from restorer.nets.latent_unet import LatentUNet
from restorer.nets.nafnet import NafNet
from restorer.nets.plain_unet import PlainUNet
from restorer.nets.rddm_unet import RddmUNet, SharedRddmUNet, TwoRddmUNets

NETS: dict[str, Callable[..., nn.Module]] = {
    "plain_unet": PlainUNet,
    "rddm_unet": RddmUNet,
    "rddm_unet_two": TwoRddmUNets,
    "rddm_unet_shared": SharedRddmUNet,
    "ddpm_unet": DdpmUNet,
    "adm_unet": AdmUNet,
    "irsde_unet": IrsdeUNet,
    "nafnet": NafNet,
}

CODECS: dict[str, Callable[..., nn.Module]] = {"latent_unet": LatentUNet}
"""Nets between pictures and latents: encode(picture) -> (latent, hidden), decode(latent, hidden) -> picture."""

GUIDES: dict[str, Callable[..., nn.Module]] = {"adm_encoder": AdmEncoder}
"""Nets that tell the class of what a noisy picture shows: (NCHW, time) -> (N, classes) logits."""
