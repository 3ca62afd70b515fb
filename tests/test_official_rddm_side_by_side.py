"""The official class and ours, side by side: for those who have a clone of nachifur/RDDM, which is not in this suite.

    RESTORER_RDDM_REPO=/path/to/clone python -m pytest tests/test_official_rddm_side_by_side.py -s

Without that variable nothing is listed here. RESTORER_RDDM_DIM (16; official 64) is the width of the nets. What the
official file imports and sampling does not need is replaced by empty modules.
"""

from __future__ import annotations

import importlib.util
import math
import os
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import torch
from official_rddm import official_shapes

from restorer import Restorer
from restorer.convert.official import Wishes, convert

REPO = os.environ.get("RESTORER_RDDM_REPO")
DIM = int(os.environ.get("RESTORER_RDDM_DIM", "16"))
SIDE, STEPS, SEED = 256, 5, 7
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
    """So much of einops as the convolutions need: everything but the first axis to one value."""
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
    einops, layers = types.ModuleType("einops"), types.ModuleType("einops.layers.torch")
    einops.rearrange, einops.reduce, layers.Rearrange = rearrange, reduce, None
    for name, module in (("einops", einops), ("einops.layers", layers), ("einops.layers.torch", layers)):
        monkeypatch.setitem(sys.modules, name, module)
    (file,) = repo.glob("experiments/2_*/src/residual_denoising_diffusion_pytorch.py")
    spec = importlib.util.spec_from_file_location("official_rddm_file", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if REPO:

    def test_five_steps_of_the_official_class_and_of_its_converted_checkpoint(tmp_path, monkeypatch, recwarn):
        official = official_module(Path(REPO), monkeypatch)
        torch.manual_seed(0)
        nets = official.UnetRes(dim=DIM, dim_mults=(1, 2, 4, 8), share_encoder=0, condition=True)
        diffusion = official.ResidualDiffusion(
            nets,
            image_size=SIDE,
            timesteps=1000,
            sampling_timesteps=STEPS,
            objective="pred_res_noise",
            loss_type="l1",
            condition=True,
            sum_scale=1,
        ).eval()
        state = diffusion.state_dict()
        assert {key.removeprefix("model.") for key in state if key.startswith("model.")} == set(official_shapes("two"))
        averages = {f"ema_model.{key}": value for key, value in state.items()}
        torch.save({"step": 1, "model": state, "opt": {}, "ema": averages, "scaler": None}, tmp_path / "model-1.pt")
        convert("rddm", tmp_path / "model-1.pt", tmp_path / "made", Wishes(preset="raindrop"))
        model = Restorer.from_pretrained(str(tmp_path / "made"), device="cpu", dtype="fp32")

        y = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
        noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(SEED))
        got = model(y, seed=SEED)
        monkeypatch.setattr(torch, "randn", lambda *shape, **more: noise)
        with torch.inference_mode():
            wanted = diffusion.sample([y.clone()], batch_size=1)[-1].clamp(0, 1)
        difference = float((got - wanted).abs().max())
        print(f"\ndim {DIM}, {STEPS} steps at {SIDE}x{SIDE}: the largest difference is {difference:.2e}")  # noqa: T201 - asked for
        assert difference < 1e-5 and wanted.std() > 0.05
