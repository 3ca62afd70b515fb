"""The file of RDDM's official code as a module, of a clone of nachifur/RDDM; nothing of it is here.

What it imports and its nets, sampling and training do not need is replaced by empty modules; so is einops, where it is
not installed.
"""

from __future__ import annotations

import importlib.util
import math
import sys
import types
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

NOT_NEEDED = {
    "Augmentor": (),
    "cv2": (),
    "torchvision": ("utils",),
    "torchvision.transforms": (),
    "torchvision.transforms.functional": (),
    "accelerate": ("Accelerator",),
    "datasets": (),
    "datasets.get_dataset": ("dataset",),
    "ema_pytorch": ("EMA",),
    "tqdm": (),
    "tqdm.auto": ("tqdm",),
}
"""Module -> names that are taken from it."""


@cache
def axes(side: str) -> list[list[str]]:
    """The groups of one side of an einops pattern."""
    groups, inside = [], None
    for word in side.replace("(", " ( ").replace(")", " ) ").split():
        if word == "(":
            inside = []
        elif word == ")":
            groups, inside = [*groups, inside], None
        elif inside is not None:
            inside.append(word)
        else:
            groups.append([word])
    return groups


def rearrange(x, pattern, /, **sizes):
    """So much of einops as splits, orders and merges axes, and adds some of length 1."""
    left, right = map(axes, pattern.split("->"))
    split = []
    for group, length in zip(left, x.shape, strict=True):
        known = math.prod(sizes.get(name, 1) for name in group)
        sizes |= {name: length // known for name in group if name not in sizes}
        split += group
    order = [name for group in right for name in group if name != "1"]
    x = x.reshape([sizes[name] for name in split]).permute([split.index(name) for name in order])
    return x.reshape([math.prod(sizes.get(name, 1) for name in group) for group in right])


def reduce(x, pattern, how):
    """So much of einops as convolutions need, everything but the first axis to one value, and as the loss does."""
    if pattern == "b ... -> b (...)":  # nothing is left to reduce
        return x.flatten(1)
    assert pattern == "o ... -> o 1 1 1"
    dims = tuple(range(1, x.ndim))
    return x.mean(dim=dims, keepdim=True) if how == "mean" else how(x, dim=dims, keepdim=True)


def official_module(repo: Path, monkeypatch):
    """The official file as a module."""
    for name, taken in NOT_NEEDED.items():
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)  # torch looks for it
        for attribute in taken:
            setattr(module, attribute, lambda x=None, **more: x)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], own, module)
    if importlib.util.find_spec("einops") is None:
        einops, layers = types.ModuleType("einops"), types.ModuleType("einops.layers.torch")
        einops.rearrange, einops.reduce, layers.Rearrange = rearrange, reduce, None
        for name, module in (("einops", einops), ("einops.layers", layers), ("einops.layers.torch", layers)):
            monkeypatch.setitem(sys.modules, name, module)
    (file,) = repo.glob("experiments/2_*/src/residual_denoising_diffusion_pytorch.py")
    spec = importlib.util.spec_from_file_location("official_rddm_file", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
