"""DDPM and DDIM models as diffusers saves them: a folder -> a card and a state dict, and the other way round.

A pipeline's folder has ``model_index.json``, ``unet/`` and ``scheduler/``; older ones, many on the Hugging Face Hub
among them, have the files of all parts at the root. Diffusers itself is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from restorer.convert.checkpoints import read_checkpoint
from restorer.entry import GENERATE, Entry, Predict, Sample, Size
from restorer.errors import ModelError, UsageError
from restorer.hub.layout import CONFIG, INDEX, SCHEDULER, UNET, WEIGHTS, json_table
from restorer.images.atomic import write_bytes
from restorer.nets.ddpm_unet import DdpmUNet, config_of, options_of, rename, rename_back

# A key of diffusers' scheduler -> the values that ours can stand for, the first being diffusers' default.
_FIXED: dict[str, tuple[Any, ...]] = {
    "thresholding": (False,),
    "rescale_betas_zero_snr": (False,),
    "set_alpha_to_one": (True,),
    "steps_offset": (0,),
    "timestep_spacing": ("leading", "trailing"),
    "clip_sample_range": (1.0,),
}
# The same for keys that only old files have.
_DATED: dict[str, tuple[Any, ...]] = {"predict_epsilon": (True,), "tensor_format": ("pt",)}
# A key of diffusers' scheduler, its default there -> the key of our schedule.
_OPTIONS: dict[str, tuple[Any, str]] = {
    "num_train_timesteps": (1000, "T"),
    "beta_schedule": ("linear", "beta"),
    "beta_start": (1e-4, "beta_start"),
    "beta_end": (0.02, "beta_end"),
}
SIGN = "time_embedding.linear_1.weight"
"""A name that weights of diffusers have, and ours have not."""
_SAYS = {"epsilon": "eps", "v_prediction": "v"}
"""diffusers' prediction_type, its default first -> what the net says here."""
_TYPE = "prediction_type"
_SPACING = "timestep_spacing"
_BETAS = "trained_betas"
"""The key of a list, which goes before the formula; it is our schedule of kind "betas"."""
_CLIP = {True: "range", False: "none"}
_SCHEDULERS = ("DDIMScheduler", "DDPMScheduler")
# How DDPM draws once it goes all T steps, which is what eta = 1 is; and what only matters for thresholding.
_WITHOUT_MEANING = {"variance_type", "dynamic_thresholding_ratio", "sample_max_value"}

STEPS = 50
"""What diffusers' DDIM pipeline takes unless told otherwise."""


def entry_of(folder: Path) -> tuple[Entry, Path]:
    """The card that a diffusers folder comes to, and its weights' file.

    The card draws 50 DDIM steps at diffusers' own times. Raises ``ModelError`` for what is no DDPM or DDIM model.
    """
    unet, scheduler = (_part(folder, name) for name in (UNET, "scheduler"))
    if not (unet / CONFIG).exists():
        raise ModelError(f"{folder}: a diffusers folder without a UNet2DModel; only DDPM and DDIM models can be used.")
    config = json_table(unet / CONFIG)
    _check_class(unet / CONFIG, config, ("UNet2DModel",))
    try:
        net = options_of(config)
    except ValueError as error:
        raise ModelError(f"{unet / CONFIG}: {error}") from error
    if (net["in_channels"], net["out_channels"]) != (3, 3):
        raise ModelError(
            f"{unet / CONFIG}: a net from {net['in_channels']} to {net['out_channels']} channels, not 3 to 3."
        )
    schedule, says, clip, times = _schedule(scheduler / SCHEDULER)
    length = len(schedule["betas"]) if "betas" in schedule else schedule["T"]
    multiple = 2 ** (len(net["widths"]) - 1)
    entry = Entry(
        name=folder.resolve().name,
        task=GENERATE,
        method="ddpm",
        net=net,
        schedule=schedule,
        predict=Predict(output=says, input=("x",), time="index", clip=clip),
        sample=Sample("ddim", min(STEPS, length), 0.0, times),
        size=Size(multiple, 2 * multiple, _side(config.get("sample_size"))),
        license="unknown",
        source="a diffusers folder",
        data="unknown",
    )
    return entry, _weights(unet)


def read_state(file: Path, entry: Entry) -> dict[str, Tensor]:
    """The state dict of the card's net from weights that diffusers wrote. Raises ``ModelError``."""
    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = read_checkpoint(file)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: cannot be read as weights: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{file}: holds no table of tensors.")
    options = {key: value for key, value in entry.net.items() if key != "arch"}
    try:
        with torch.device("meta"):
            net = DdpmUNet(**options)
        return rename(state, net)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{file}: {error}") from error


def check_ddim(entry: Entry) -> None:
    """Raises ``UsageError`` where what the card says is no DDIM model, whatever the net."""
    p = entry.predict
    for what, found, wanted in (
        ("schedule", entry.schedule.get("kind"), ("vp", "betas")),
        ("output", p.output, tuple(_SAYS.values())),
        ("input", p.input, (("x",),)),
        ("time", p.time, ("index",)),
        ("range", p.range, ((-1.0, 1.0),)),
        ("clip", p.clip, tuple(_CLIP.values())),
    ):
        if found not in wanted:
            known = " or ".join(repr(one) for one in wanted)
            raise UsageError(f"Model {entry.name!r} has {what} {found!r}; a DDIM model has {known}.")


def check_writable(entry: Entry) -> None:
    """Raises ``UsageError`` where diffusers has no words for what the card says."""
    check_ddim(entry)
    arch = entry.net.get("arch")
    if arch != "ddpm_unet":
        raise UsageError(f"Model {entry.name!r} has net {arch!r}; a DDIM model of diffusers has 'ddpm_unet'.")
    if entry.guide is not None:
        raise UsageError(f"Model {entry.name!r} has a classifier that guides it; a DDIM model of diffusers has none.")


def write(folder: Path, entry: Entry, net: nn.Module) -> None:
    """A diffusers folder of a model: DDIMPipeline and UNet2DModel load it.

    Raises ``UsageError`` as check_writable, and for a folder whose parts would be taken instead.
    """
    check_writable(entry)
    for part in ("unet", "scheduler"):
        if (folder / part).is_dir():
            raise UsageError(f"{folder} holds another pipeline's {part}; name another folder.")
    unet = config_of(entry.net, entry.size.trained)
    options = {name: entry.schedule.get(name, default) for _, (default, name) in _OPTIONS.items()}
    betas = entry.schedule.get("betas")
    if betas is not None:
        options["T"] = len(betas)
    scheduler = {
        "_class_name": "DDIMScheduler",
        **{key: values[0] for key, values in _FIXED.items()},
        _TYPE: next(word for word, says in _SAYS.items() if says == entry.predict.output),
        **{key: options[name] for key, (_, name) in _OPTIONS.items()},
        _BETAS: betas,
        **({_SPACING: entry.sample.times} if entry.sample.times in _FIXED[_SPACING] else {}),
        "clip_sample": entry.predict.clip == _CLIP[True],
    }
    index = {
        "_class_name": "DDIMPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    state = {key: value.detach().cpu().contiguous() for key, value in rename_back(net.state_dict()).items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / WEIGHTS[0], save(state, metadata={"format": "pt"}))
    for name, data in (
        (CONFIG, unet),
        (SCHEDULER, scheduler),
        (INDEX, index),
    ):
        write_bytes(folder / name, f"{json.dumps(data, indent=2)}\n".encode())


def _part(folder: Path, name: str) -> Path:
    """Where the files of a pipeline's part are."""
    return folder / name if (folder / name).is_dir() else folder


def _check_class(file: Path, config: Mapping[str, Any], known: tuple[str, ...]) -> None:
    name = config.get("_class_name")
    if name not in known:
        raise ModelError(f"{file}: a {name} of diffusers; only {' and '.join(known)} can be used.")


def _schedule(file: Path) -> tuple[dict[str, Any], str, str, str]:
    """A card's ``schedule`` table, its ``output``, its ``clip`` and its ``times``."""
    if not file.exists():
        raise ModelError(f"{file} is missing, without which the model's schedule is unknown; save the whole pipeline.")
    config = json_table(file)
    _check_class(file, config, _SCHEDULERS)
    known = {**_FIXED, **_DATED}
    for key, value in config.items():
        if key.startswith("_") or key in {*_OPTIONS, *_WITHOUT_MEANING, _BETAS, _TYPE, "clip_sample"}:
            continue
        if key not in known:
            raise ModelError(f"{file}: unknown key {key!r} for a DDIMScheduler or DDPMScheduler.")
        if value not in known[key]:
            usable = " or ".join(repr(one) for one in known[key])
            raise ModelError(f"{file}: {key} is {value!r}; only {usable} can be used.")
    kind = config.get(_TYPE, "epsilon")
    if kind not in _SAYS:
        raise ModelError(f"{file}: {_TYPE} is {kind!r}; only {' or '.join(map(repr, _SAYS))} can be used.")
    clip = config.get("clip_sample", True)
    if clip not in _CLIP:
        raise ModelError(f"{file}: clip_sample is {clip!r}, neither true nor false.")
    table = {name: config.get(key, default) for key, (default, name) in _OPTIONS.items()}
    times = config.get(_SPACING, _FIXED[_SPACING][0])
    betas = config.get(_BETAS)
    if betas is None:
        return {"kind": "vp", **table}, _SAYS[kind], _CLIP[clip], times
    if not isinstance(betas, list) or len(betas) != table["T"]:
        found = f"a list of {len(betas)}" if isinstance(betas, list) else repr(betas)
        raise ModelError(f"{file}: {_BETAS} is {found}; only a list of num_train_timesteps, {table['T']}, can be used.")
    return {"kind": "betas", "betas": betas}, _SAYS[kind], _CLIP[clip], times


def _side(size: object) -> int | None:
    """The side of the pictures a net was trained on, where it has one."""
    width, height = size if isinstance(size, list) and len(size) == 2 else (size, size)
    return width if isinstance(width, int) and width == height else None


def _weights(folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).exists():
            return folder / name
    raise ModelError(f"{folder}: no weights; expected {' or '.join(WEIGHTS)}.")
