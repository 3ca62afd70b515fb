"""DDPM nets' checkpoints -> models: files of DDIM's code and its kin, and of guided-diffusion.

    temb.dense.0.weight, down.0.block...     a "simple" net; a state dict, or the list that DDIM's trainer saves:
                                             model, optimiser, epoch, step, EMA
    time_embed.0.weight, input_blocks...     a guided-diffusion net; a state dict

A guided-diffusion classifier in a file of its own can become the model's guide.

The file holds weights alone. Keys and shapes tell the net, but not the heads of a guided-diffusion net: a preset says
them, and whatever else a preset says is held against the file.

[DDIM] Song et al., ICLR 2021; code of ermongroup/ddim.   [ADM] Dhariwal & Nichol, NeurIPS 2021; guided-diffusion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from restorer.convert import classifier
from restorer.convert.checkpoints import read_checkpoint, some
from restorer.convert.ddim_presets import ADM, LINEAR, PRESETS, SIMPLE, Preset
from restorer.convert.diffusers import STEPS
from restorer.convert.wishes import Converted, Wishes
from restorer.entry import GENERATE, Entry, Predict, Sample, Size, hash_file
from restorer.errors import ModelError, UsageError, unknown
from restorer.nets import NETS, adm_unet, ddpm_simple

MODULE = "module."
"""What keys begin with when several GPUs trained the net."""
ATTENDED = 16
"""Side of the pictures at which all released "simple" nets attend."""

EXPECTED = (
    'expected the weights of a "simple" DDPM net (temb.dense.0.weight, down...) or of a guided-diffusion one '
    "(time_embed.0.weight, input_blocks...)"
)


class Family(NamedTuple):
    """Checkpoints of one program: a key that is always there, how their net is read, and how official x0 is clipped.

    ``options_of`` is given the weights; ``rename`` the weights, the net and the preset, if there is one.
    """

    said: str
    sign: str
    options_of: Callable[[Mapping[str, Tensor]], dict[str, Any]]
    rename: Callable[[Mapping[str, Tensor], nn.Module, Preset | None], dict[str, Tensor]]
    clip: str


FAMILIES: dict[str, Family] = {
    SIMPLE: Family(
        *('a "simple" DDPM net', "temb.dense.0.weight", ddpm_simple.options_of),
        *(lambda weights, net, preset: ddpm_simple.rename(weights, net), "none"),
    ),
    ADM: Family(
        *("a guided-diffusion net", "time_embed.0.weight", adm_unet.options_of),
        *(lambda weights, net, preset: adm_unet.rename(weights, net, new_order=preset.new_order), "range"),
    ),
}


def convert(file: Path, wishes: Wishes) -> Converted:
    """The model in a file, in RDDM's form. Raises ``ModelError`` and ``UsageError`` with one sentence."""
    made = read(file, wishes)
    return replace(made, entry=as_rddm(made.entry))


def as_rddm(entry: Entry) -> Entry:
    """A DDIM model's card in RDDM's words: the schedule is stated in shift and sigma, and only the step differs."""
    return replace(entry, method="rddm", sample=replace(entry.sample, sampler="rddm-ddim"), expect=())


def read(file: Path, wishes: Wishes) -> Converted:
    """The DDIM model in a file. Raises ``ModelError`` and ``UsageError`` with one sentence."""
    preset = _preset(wishes)
    weights, notes = _weights(file)
    arch = next((arch for arch, family in FAMILIES.items() if family.sign in weights), None)
    if arch is None:
        raise ModelError(f"{file}: found the keys {some(weights)}; {EXPECTED}.")
    if classifier.SIGN in weights:
        raise ModelError(f"{file}: a classifier, which draws nothing; give it as --classifier beside its net.")
    family = FAMILIES[arch]
    if preset and preset.arch != arch:
        raise ModelError(f"{file}: the preset {wishes.preset} is of {FAMILIES[preset.arch].said}, found {family.said}.")
    options = _options(file, weights, family, preset, wishes.preset)
    if preset is None and arch == ADM:
        known = ", ".join(name for name, one in PRESETS.items() if one.arch == ADM)
        raise UsageError(f"{file} does not tell how many heads its net has; add --preset with one of {known}.")
    net = _net(file, weights, family, options, preset)
    entry = _guided(_entry(file, wishes, preset, options, family.clip, net), net, wishes, preset)
    if preset is None:
        taken = f", {entry.size.trained} pixels" if entry.size.trained else ""
        notes += (
            f"{file} does not say its schedule; DDPM's linear one is taken{taken}, as for all released such nets.",
        )
    if options.get("classes"):
        notes += (
            f"A net of {options['classes']} classes: without --class it draws the one that net.label in config.json "
            "says, 0.",
        )
    elif entry.guide:
        notes += (f"A classifier of {entry.classes} classes guides the net where --class says to which.",)
    notes += (preset.note,) if preset and preset.note else ()
    return Converted(entry, net, next(iter(weights.values())).dtype, notes)


def _preset(wishes: Wishes) -> Preset | None:
    said = [name for name in ("task", "objective", "time", "input", "sampler") if getattr(wishes, name) is not None]
    said += ["sum-scale"] if wishes.sum_scale is not None else []
    if said:
        options = " ".join(f"--{name}" for name in said)
        raise UsageError(f"DDPM nets are all used in one way; leave out {options}.")
    if wishes.preset is not None and wishes.preset not in PRESETS:
        raise unknown("preset", wishes.preset, list(PRESETS))
    if wishes.classifier is None and wishes.classifier_scale is not None:
        raise UsageError("--classifier-scale is for the classifier that guides; name its file, with --classifier.")
    return PRESETS.get(wishes.preset or "")


def _weights(file: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict in a file, EMA if there is one, and sentences on it. Raises ``ModelError``."""
    content = read_checkpoint(file)
    notes: tuple[str, ...] = ()
    if isinstance(content, list | tuple):
        ema, model = ([part for part in parts if isinstance(part, Mapping)] for parts in (content[4:5], content[:1]))
        if not ema and not model:
            kinds = some(type(part).__name__ for part in content)
            raise ModelError(f"{file}: found a list of {kinds}; expected model, optimiser, epoch, step, and EMA.")
        if not ema:
            notes = (f"{file}: found no EMA weights in its list; official pictures are made with them.",)
        content = (ema or model)[0]
    if not isinstance(content, Mapping):
        raise ModelError(f"{file}: found a {type(content).__name__}; {EXPECTED}.")
    state = {str(key).removeprefix(MODULE): value for key, value in content.items()}
    odd = [f"{key} ({_kind(value)})" for key, value in state.items() if not _is_weight(value)]
    if odd and any(family.sign in state for family in FAMILIES.values()):
        raise ModelError(f"{file}: expected weights of floats only; found {some(odd)}.")
    return state, notes


def _is_weight(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _kind(value: Any) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__


def _options(
    file: Path, weights: Mapping[str, Tensor], family: Family, preset: Preset | None, name: str | None
) -> dict[str, Any]:
    """The card's ``net`` table. The learned variance is left out: DDIM has no use for it."""
    try:
        options = family.options_of(weights)
    except (ValueError, ZeroDivisionError) as error:
        raise ModelError(f"{file}: {error}") from error
    _check_options(file, options, preset, name)
    options |= {"out_channels": 3, **(preset.heads if preset else {})}
    options |= {"label": 0} if options.get("classes") else {}
    return {key: value for key, value in options.items() if value is not None}


def _net(
    file: Path, weights: Mapping[str, Tensor], family: Family, options: Mapping[str, Any], preset: Preset | None
) -> nn.Module:
    """The net with its weights."""
    try:
        with torch.device("meta"):
            net = NETS[options["arch"]](**{key: value for key, value in options.items() if key != "arch"})
        state = family.rename(weights, net, preset)
        # After the shapes were checked: a hostile tensor can say that it is larger than any memory.
        wild = [key for key, value in weights.items() if not value.isfinite().all()]
    except (ValueError, RuntimeError, TypeError, ZeroDivisionError) as error:
        raise ModelError(f"{file}: {error}") from error
    if wild:
        raise ModelError(f"{file}: found values that are no numbers in {some(wild)}; the training went astray.")
    net.load_state_dict(state, assign=True)
    return net


def _check_options(file: Path, options: Mapping[str, Any], preset: Preset | None, name: str | None) -> None:
    made = (options["in_channels"], options["out_channels"])
    wanted = ((3, 3), (3, 6)) if options["arch"] == ADM else ((3, 3),)
    if made not in wanted:
        known = " or ".join(f"{shown} to {said}" for shown, said in wanted)
        raise ModelError(f"{file}: found a net from {made[0]} to {made[1]} channels; expected {known}.")
    told = {"classes": None, **preset.net} if preset else {}
    off = {key: value for key, value in told.items() if options.get(key) != value}
    if off:
        found = ", ".join(f"{key} {options.get(key)}" for key in off)
        said = ", ".join(f"{key} {value}" for key, value in off.items())
        raise ModelError(f"{file}: the preset {name} is of a net with {said}; found {found}.")


def _entry(
    file: Path, wishes: Wishes, preset: Preset | None, options: dict[str, Any], clip: str, net: nn.Module
) -> Entry:
    schedule = dict(preset.schedule if preset else LINEAR)
    steps = wishes.steps or STEPS
    if steps > schedule["T"]:
        raise UsageError(f"--steps says {steps} steps, more than the schedule's {schedule['T']}.")
    by = f" by the preset {wishes.preset}" if wishes.preset else ""
    return Entry(
        name=wishes.name or file.stem,
        task=GENERATE,
        method="ddpm",
        net=options,
        schedule=schedule,
        predict=Predict(output="eps", input=("x",), time="index", clip=clip),
        sample=Sample("ddim", steps, 0.0, "leading"),
        size=Size(net.multiple, 2 * net.multiple, preset.trained if preset else _side(options["attention"])),
        license=wishes.license or "unknown",
        source=f"DDPM checkpoint {file.name} (sha256 {hash_file(file)}), converted{by}",
        data=preset.data if preset else "unknown",
    )


def _guided(entry: Entry, net: nn.Module, wishes: Wishes, preset: Preset | None) -> Entry:
    """The card with the classifier that was named, whose net becomes a part of ``net``: both are one set of weights."""
    file = wishes.classifier
    if file is None:
        return entry
    official = preset.guide_scale if preset else 1.0
    guide, guide_net = classifier.read(file, official if wishes.classifier_scale is None else wishes.classifier_scale)
    own, known = (options.get("classes") for options in (entry.net, guide))
    if own not in (None, known):
        raise ModelError(f"{file}: found a classifier of {known} classes; expected {own}, as many as the net knows.")
    if entry.size.trained not in (None, guide["size"]):
        side = entry.size.trained
        raise ModelError(f"{file}: found a classifier of {guide['size']} pixels; expected one of {side}, as the net.")
    net.add_module("guide", guide_net)
    made = f"{entry.source}, guided by {file.name} (sha256 {hash_file(file)})"
    return replace(entry, guide=guide, source=made)


def _side(attention: list[bool]) -> int | None:
    """The side of the pictures a "simple" net was trained on, told by the only level that attends."""
    return ATTENDED * 2 ** attention.index(True) if attention.count(True) == 1 else None
