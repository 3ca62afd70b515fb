"""The official code of IR-SDE and DDNM as modules, of clones of Algolzw/image-restoration-sde and wyhuai/DDNM.

Nothing of them is here. What they import and do not need here is replaced by empty modules, as the tests do with RDDM.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

from official_repository import rearrange, reduce
from pytest import MonkeyPatch

NOT_NEEDED = {
    "cv2": (),
    "torchvision": ("utils",),
    "torchvision.utils": (),
    "scipy": ("integrate",),
    "tqdm": ("tqdm",),
}
"""Module -> names that are taken from it."""
EINOPS = {"einops": {"rearrange": rearrange, "reduce": reduce}, "einops.layers": {}}
EINOPS |= {"einops.layers.torch": {"Rearrange": None}}
"""So much of einops as is needed, where it is not installed."""


def irsde(repo: Path, patches: MonkeyPatch) -> SimpleNamespace:
    """``ConditionalUNet`` and ``IRSDE``, of the task deraining."""
    _stand_in(patches)
    nets = repo / "codes" / "config" / "deraining" / "models" / "modules"
    unet = _of_package("official_irsde_nets", nets, "DenoisingUNet_arch", patches)
    sde = _of_package("official_irsde_utils", repo / "codes" / "utils", "sde_utils", patches)
    return SimpleNamespace(ConditionalUNet=unet.ConditionalUNet, IRSDE=sde.IRSDE)


def ddnm(repo: Path, patches: MonkeyPatch) -> SimpleNamespace:
    """``Model`` ("simple" nets), ``SuperResolution`` and ``ddnm_diffusion``."""
    _stand_in(patches)
    model = _of_package("official_ddnm_nets", repo / "guided_diffusion", "models", patches)
    loop = _of_package("official_ddnm_loops", repo / "functions", "svd_ddnm", patches)
    operators = _of_package("official_ddnm_loops", repo / "functions", "svd_operators", patches)
    return SimpleNamespace(
        Model=model.Model, ddnm_diffusion=loop.ddnm_diffusion, SuperResolution=operators.SuperResolution
    )


def _stand_in(patches: MonkeyPatch) -> None:
    for name, taken in NOT_NEEDED.items():
        _put(name, dict.fromkeys(taken, lambda x=None, **more: x), patches)
    if importlib.util.find_spec("einops") is None:
        for name, taken in EINOPS.items():
            _put(name, taken, patches)


def _put(name: str, attributes: dict[str, object], patches: MonkeyPatch) -> None:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)  # torch looks for it
    vars(module).update(attributes)
    patches.setitem(sys.modules, name, module)
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own, module)


def _of_package(package: str, folder: Path, file: str, patches: MonkeyPatch) -> ModuleType:
    """A file of a folder whose other files it may import, without what the folder imports by itself."""
    if package not in sys.modules:
        parent = ModuleType(package)
        parent.__path__ = [str(folder)]
        patches.setitem(sys.modules, package, parent)
    name = f"{package}.{file}"
    patches.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)
