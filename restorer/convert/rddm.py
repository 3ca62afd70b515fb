"""RDDM's official checkpoints -> models: the dict that its trainer saves, or one of the state dicts in it.

    step, opt | opt0, opt1, scaler    not needed
    model                             buffers of the schedule, model.unet0..., with AOSA alpha_res
    ema                               the same twice, behind online_model. and ema_model.; the latter is the model

The file holds weights and the schedule. What a net says, what it is shown and told, and how official code samples is
not in it: a preset or the user says so, and whatever the file can contradict is held against it.

[RDDM] Liu et al., Residual Denoising Diffusion Models, CVPR 2024; official code as of commit e597481.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from restorer.convert.checkpoints import read_checkpoint, some
from restorer.convert.rddm_buffers import BUFFERS, schedule_of
from restorer.convert.rddm_presets import PRESETS, Preset
from restorer.convert.wishes import Converted, Wishes
from restorer.diffusion.predict import INPUTS, OUTPUTS, TIMES
from restorer.diffusion.samplers import SAMPLERS
from restorer.entry import TASKS, Entry, Predict, Sample, Size, hash_file
from restorer.errors import ModelError, UsageError, unknown
from restorer.nets.rddm_unet import FORMS, options_of, rename

EMA, MODEL, SHARE = "ema_model.", "model.", "alpha_res"
OPTIMISERS = ("opt", "opt0", "opt1")
TRAINER = ("step", "model", "ema", "scaler", *OPTIMISERS)
EXPECTED = "expected the dict of an RDDM trainer (step, model, ema, opt or opt0), or its ema or model state dict"

# Official objective -> output here.
OBJECTIVES: dict[str, str] = {
    "pred_res": "res",
    "pred_noise": "eps",
    "pred_x0": "x0",
    "pred_res_noise": "res_eps",
    "pred_res_add_noise": "res_sum",
    "pred_x0_noise": "x0_eps",
    "pred_x0_add_noise": "x0_sum",
}
AUTOMATIC = "auto_res_noise"
"""The objective that alpha_res in the file decides."""

SHOWN: dict[int, tuple[str, ...]] = {3: ("x",), 6: ("x", "y"), 9: ("x", "y", "mask")}
"""Channels of the first convolution -> what official nets with so many are shown, in this order."""

NO_LICENCE = "The official repository carries no licence of its own; ask the authors before you pass the model on."


class Official(NamedTuple):
    """What is in a file. ``share``: the learned weight of the residual, with automatic objective selection."""

    weights: dict[str, Tensor]
    buffers: dict[str, Tensor]
    share: float | None
    optimisers: tuple[str, ...]
    notes: tuple[str, ...]


class Said(NamedTuple):
    """A value, and who says it."""

    value: Any
    by: str


def convert(file: Path, wishes: Wishes) -> Converted:
    """The model in an official file. Raises ``ModelError`` and ``UsageError`` with one sentence; writes nothing."""
    wishes.refuse("rddm", ("max_sigma", "eps", "length", "theta", "codec", "classifier", "classifier_scale"))
    preset = _preset(wishes)
    official = read(file)
    net, options = _net(file, official.weights)
    schedule = schedule_of(official.buffers, str(file))
    said, notes = _said(wishes, preset)
    _decide(file, said, official.share)
    _complete(file, said)
    _check_words(said)
    _check_net(file, said, official, options)
    _check_schedule(file, said, wishes, preset, schedule)
    if preset and preset.optimisers and official.optimisers not in ((), preset.optimisers):
        raise ModelError(
            f"{file}: the preset {wishes.preset} is of a trainer that saves {' and '.join(preset.optimisers)}, found "
            f"{' and '.join(official.optimisers)}; use another --preset, or say it with options."
        )
    entry = _entry(file, wishes, preset, said, options, schedule, net)
    closing = (preset.note,) if preset and preset.note else ()
    licence = () if wishes.license else (NO_LICENCE,)
    dtype = next(iter(official.weights.values())).dtype
    return Converted(entry, net, dtype, (*official.notes, *notes, *closing, *licence))


# ------------------------------------------------------------------------------------------------ what is in the file


def read(file: Path) -> Official:
    """The weights, buffers and facts of an official file. Raises ``ModelError``."""
    content = read_checkpoint(file)
    if not isinstance(content, Mapping):
        raise ModelError(f"{file}: found a {type(content).__name__}, {EXPECTED}.")
    content = {str(key): value for key, value in content.items()}
    optimisers = tuple(name for name in OPTIMISERS if name in content)
    notes: tuple[str, ...] = ()
    if isinstance(content.get("ema"), Mapping):
        foreign = [key for key in content if key not in TRAINER]
        if foreign:
            notes = (f"{file}: left out what no RDDM trainer saves: {some(foreign)}.",)
        state = _after(EMA, content["ema"])
        if not state:
            raise ModelError(f"{file}: expected keys ema_model... in ema; found {some(content['ema'])}.")
    elif any(key.startswith(EMA) for key in content):
        state = _after(EMA, content)
    elif any(key.startswith(MODEL) for key in content):
        state = content
        notes = (f"{file}: a model's state dict without EMA; official pictures are made with the EMA weights.",)
    elif isinstance(content.get("model"), Mapping):
        raise ModelError(
            f"{file}: expected the EMA weights in ema, with which official code samples; found only {some(content)}. "
            "To do without them, save the state dict in model as a file of its own."
        )
    else:
        raise ModelError(f"{file}: found the keys {some(content)}; {EXPECTED}.")
    return _official(file, state, optimisers, notes)


def _after(prefix: str, state: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key).removeprefix(prefix): value for key, value in state.items() if str(key).startswith(prefix)}


def _official(file: Path, state: Mapping[str, Any], optimisers: tuple[str, ...], notes: tuple[str, ...]) -> Official:
    odd = [f"{key} ({type(value).__name__})" for key, value in state.items() if not isinstance(value, Tensor)]
    if odd:
        raise ModelError(f"{file}: expected tensors only in the state dict; found {some(odd)}.")
    odd = [f"{key} ({value.dtype})" for key, value in state.items() if not value.is_floating_point()]
    if odd:
        raise ModelError(f"{file}: expected weights and buffers of floats; found {some(odd)}.")
    weights = _after(MODEL, state)
    buffers = {key: value for key, value in state.items() if key in BUFFERS}
    extra = [key for key in state if not key.startswith(MODEL) and key not in (*BUFFERS, SHARE)]
    if extra:
        raise ModelError(f"{file}: found keys that are not RDDM's: {some(extra)}; expected model... and its buffers.")
    share = state.get(SHARE)
    if share is not None and share.numel() != 1:
        raise ModelError(f"{file}: expected one number as {SHARE}; found {tuple(share.shape)}.")
    return Official(weights, buffers, None if share is None else float(share), optimisers, notes)


def _net(file: Path, weights: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Any]]:
    """The net with its weights, and the card's ``net`` table."""
    try:
        options = options_of(weights)
        state = rename(weights)
        # After the shapes were checked: a hostile tensor can say that it is larger than any memory.
        wild = [key for key, value in weights.items() if not value.isfinite().all()]
        with torch.device("meta"):
            net = FORMS[options["arch"]](**{key: value for key, value in options.items() if key != "arch"})
    except (ValueError, RuntimeError, TypeError, ZeroDivisionError) as error:
        raise ModelError(f"{file}: {error}") from error
    if wild:
        raise ModelError(f"{file}: found values that are no numbers in {some(wild)}; the training went astray.")
    if options["in_channels"] not in SHOWN:
        raise ModelError(f"{file}: the net takes {options['in_channels']} channels; expected {some(SHOWN)}.")
    net.load_state_dict(state, assign=True)
    return net, options


# ------------------------------------------------------------------------------------------------ what is said of it


def _preset(wishes: Wishes) -> Preset | None:
    if wishes.preset is not None and wishes.preset not in PRESETS:
        raise unknown("preset", wishes.preset, list(PRESETS))
    return PRESETS.get(wishes.preset or "")


OPTIONS: dict[str, str] = {
    "task": "--task",
    "output": "--objective",
    "time": "--time",
    "input": "--input",
    "sampler": "--sampler",
    "steps": "--steps",
    "sum_scale": "--sum-scale",
}
"""A fact -> the option that says it; all but the last must be said."""


def _said(wishes: Wishes, preset: Preset | None) -> tuple[dict[str, Said], list[str]]:
    """Every fact that is said, and sentences on options that differ from the preset: the option counts."""
    given = {
        "task": wishes.task,
        "output": OBJECTIVES.get(wishes.objective or "", wishes.objective),
        "time": wishes.time,
        "input": wishes.input,
        "sampler": wishes.sampler,
        "steps": wishes.steps,
        "sum_scale": wishes.sum_scale,
    }
    said, notes = {}, []
    for name, option in OPTIONS.items():
        own = getattr(preset, name) if preset else None
        if given[name] is not None:
            said[name] = Said(given[name], option)
            if own not in (None, given[name]):
                notes.append(f"{option} {_word(given[name])} is taken, not {_word(own)} of the preset {wishes.preset}.")
        elif own is not None:
            said[name] = Said(own, f"the preset {wishes.preset}")
    return said, notes


def _decide(file: Path, said: dict[str, Said], share: float | None) -> None:
    """Automatic objective selection: the file says what was chosen."""
    automatic = "output" in said and said["output"].value == AUTOMATIC
    if automatic and share is None:
        raise ModelError(f"{file}: {said['output'].by} says {AUTOMATIC}, found no {SHARE}; name the objective itself.")
    if share is not None and (automatic or "output" not in said):
        said["output"] = Said("res" if share > 0.5 else "eps", f"{SHARE} {share:g} in the file")


def _word(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _complete(file: Path, said: Mapping[str, Said]) -> None:
    missing = [option for name, option in OPTIONS.items() if name not in said and name != "sum_scale"]
    if missing:
        raise UsageError(
            f"{file} does not say how its net is used; add {' '.join(missing)}, or --preset with one of "
            f"{', '.join(PRESETS)}."
        )


def _check_words(said: Mapping[str, Said]) -> None:
    tables: dict[str, Any] = {"task": TASKS, "time": TIMES, "sampler": SAMPLERS}
    for name, table in tables.items():
        if said[name].value not in table:
            raise unknown(name, str(said[name].value), list(table))
    if said["output"].value not in OUTPUTS:
        raise unknown("objective", str(said["output"].value), [*OBJECTIVES, AUTOMATIC])
    for word in said["input"].value:
        if word not in INPUTS:
            raise unknown("input", word, list(INPUTS))
    if said["input"].value not in SHOWN.values():
        known = "; ".join(_word(shown) for shown in SHOWN.values())
        raise UsageError(f"Official nets are shown one of {known}, in this order; not {_word(said['input'].value)}.")


# ------------------------------------------------------------------------------------------------ one against the other


def _check_net(file: Path, said: Mapping[str, Said], official: Official, options: Mapping[str, Any]) -> None:
    """Raises ``ModelError`` naming both sides where what is said and the file's net cannot both be."""
    shown, channels = said["input"].value, options["in_channels"]
    if SHOWN[channels] != shown:
        raise ModelError(
            f"{file}: {said['input'].by} says that the net is shown {_word(shown)} ({3 * len(shown)} channels), "
            f"found one that takes {channels} ({_word(SHOWN[channels])})."
        )
    output, single = said["output"].value, options["arch"] == "rddm_unet"
    outputs = 1 if single else 2
    if OUTPUTS[output].count != outputs:
        raise ModelError(
            f"{file}: {said['output'].by} says the objective {output} of {OUTPUTS[output].count} outputs, "
            f"found {_ARCHS[options['arch']]}, which makes {outputs}."
        )
    if said["time"].value == "shift_sigma" and options["arch"] != "rddm_unet_two":
        raise ModelError(
            f"{file}: {said['time'].by} says the time shift_sigma, one for each of two nets, "
            f"found {_ARCHS[options['arch']]}."
        )
    if official.share is not None and output != ("res" if official.share > 0.5 else "eps"):
        raise ModelError(
            f"{file}: {said['output'].by} says the objective {output}, found alpha_res {official.share:g}, "
            "which is res above 0.5, else eps."
        )


_ARCHS = {"rddm_unet": "one net", "rddm_unet_two": "two nets", "rddm_unet_shared": "a net with two ways up"}


def _check_schedule(
    file: Path, said: dict[str, Said], wishes: Wishes, preset: Preset | None, schedule: Mapping[str, Any]
) -> None:
    for key, wanted in (preset.schedule if preset else {}).items():
        if schedule.get(key) != wanted:
            raise ModelError(
                f"{file}: the preset {wishes.preset} has a schedule of {_told(preset.schedule)}, "
                f"found one of {_told(schedule)}."
            )
    if schedule["kind"] == "vp":
        # Made from DDIM's; the noise that sampling starts with is then not in the file.
        if "sum_scale" not in said:
            raise UsageError(f"{file} has a DDIM schedule, which does not say the noise at the start; add --sum-scale.")
        return
    found = schedule["sum_scale"] if schedule["kind"] == "rddm" else schedule["sigma"][-1] ** 2
    if "sum_scale" in said and not abs(said["sum_scale"].value - found) <= 1e-4 * found:
        raise ModelError(
            f"{file}: {said['sum_scale'].by} says sum_scale {said['sum_scale'].value:g}, "
            f"found {found:g} in the schedule's buffers."
        )


def _told(schedule: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in schedule.items() if isinstance(value, str))


def _entry(
    file: Path,
    wishes: Wishes,
    preset: Preset | None,
    said: Mapping[str, Said],
    options: dict[str, Any],
    schedule: dict[str, Any],
    net: nn.Module,
) -> Entry:
    length = schedule["T"] if "T" in schedule else len(schedule["sigma"]) - 1
    if said["steps"].value > length:
        raise UsageError(f"{said['steps'].by} says {said['steps'].value} steps, more than the schedule's {length}.")
    # A schedule from DDIM ends 2e-5 below 1, and official sampling starts with the root of sum_scale all the same.
    start = said["sum_scale"].value ** 0.5 if schedule["kind"] == "vp" else None
    which = f" by the preset {wishes.preset}" if wishes.preset else ""
    return Entry(
        name=wishes.name or file.stem,
        task=said["task"].value,
        method="rddm",
        net=options,
        schedule=schedule,
        predict=Predict(said["output"].value, said["input"].value, said["time"].value, clip="official"),
        sample=Sample(said["sampler"].value, said["steps"].value, start=start),
        size=Size(multiple=net.multiple, trained=preset.trained if preset else None),
        license=wishes.license or "unknown",
        source=f"official RDDM checkpoint {file.name} (sha256 {hash_file(file)}), converted{which}",
        data=preset.data if preset else "unknown",
        prepare=preset.prepare if preset else None,
    )
