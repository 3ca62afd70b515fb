"""A model small enough to be made anew in every test."""

import hashlib
import json

import torch
from safetensors.torch import save_file

from restorer.nets import NETS

NET = {"arch": "plain_unet", "widths": [8, 12], "depths": [1, 1]}
MULTIPLE = 4


STILL = ("ode", "irsde-ode", "irsde-mean-ode", "optimal", "ode-1", "ode-2", "ode-3")
ONLY_ETA = {"rddm-ancestral": 1.0} | dict.fromkeys(STILL, 0.0)
"""Samplers that take one eta only."""


def etas(sampler, some=(0.0, 0.5, 1.0)):
    """Those of ``some`` that a sampler takes."""
    return [eta for eta in some if ONLY_ETA.get(sampler, eta) == eta]


def card_data(**changes):
    """A model's card as JSON holds it; a table in ``changes`` is laid over the card's own."""
    data = {
        "restorer": 1,
        "name": "toy",
        "task": "derain",
        "method": "rddm",
        "net": dict(NET),
        "schedule": {"kind": "rddm", "T": 100, "sum_scale": 0.01},
        "predict": {"output": "res", "input": ["x", "y"], "time": "index", "range": [-1.0, 1.0], "clip": "range"},
        "sample": {"sampler": "rddm", "steps": 3, "eta": 0.0, "times": "rddm", "begin": "noise"},
        "size": {"multiple": MULTIPLE, "minimum": 4},
        "license": "MIT",
        "source": "made in a test",
        "data": "none",
        "expect": [{"set": "toy", "metric": "psnr", "value": 20.0, "steps": 3, "seed": 0}],
    }
    for key, value in changes.items():
        # Another kind of schedule has other keys.
        merged = isinstance(data.get(key), dict) and isinstance(value, dict) and "kind" not in value
        data[key] = {**data[key], **value} if merged else value
    return data


def toy_net(seed=0, scale=0.1, **options):
    """A small net whose every weight is random, so that nothing is hidden behind a zero."""
    arch = {**NET, **options}
    net = NETS[arch.pop("arch")](**arch)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(scale * torch.randn(weight.shape, generator=rng))
    return net.eval()


def toy_model(folder, *, state=None, **changes):
    """Write a model folder: config.json and model.safetensors, which carries the card without weights inside."""
    folder.mkdir(parents=True, exist_ok=True)
    data = card_data(**changes)
    file = folder / "model.safetensors"
    save_file(toy_net().state_dict() if state is None else state, file, {"config.json": json.dumps(data)})
    content = file.read_bytes()
    data["weights"] = {
        "file": file.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "dtype": "fp32",
    }
    (folder / "config.json").write_text(json.dumps(data), encoding="utf-8")
    return folder
