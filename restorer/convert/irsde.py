"""Official checkpoints of IR-SDE, Refusion and GOUB -> models: one state dict of a net, and nothing beside it.

The file says the net (see ``nets/irsde_unet.py`` and ``nets/nafnet.py``) and thereby what it is shown. What it is for,
its schedule and how official code samples a preset or the user must say; what the file contradicts is an error.
Latent Refusion is two files: the net, and the compression U-Net between pictures and latents.

[IR-SDE] Luo et al., ICML 2023; [Refusion] Luo et al., CVPR workshops 2023, official code as of commit 2598d73.
[GOUB] Yue et al., ICML 2024, official code as of commit 895876e.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from restorer.convert.checkpoints import read_checkpoint, some
from restorer.convert.irsde_presets import PRESETS, Preset
from restorer.convert.wishes import Converted, Wishes
from restorer.diffusion.samplers import SAMPLERS, natural_eta
from restorer.entry import TASKS, Entry, Predict, Sample, Size, hash_file
from restorer.errors import ModelError, UsageError, unknown
from restorer.load import build_codec, build_net, build_schedule
from restorer.nets import irsde_unet, latent_unet, nafnet
from restorer.nets.official import unwrapped

EXPECTED = "expected the state dict of a net of IR-SDE, Refusion or GOUB, such as 700000_G.pth"
TRAINER = ("epoch", "iter", "schedulers", "optimizers")
RDDM = {"ema", "model"}

# The key that tells a net -> who reads it, and its name. In this order: both U-Nets have init_conv.
READERS: dict[str, tuple[ModuleType, str]] = {
    "latent_conv.weight": (latent_unet, "compression U-Net"),
    "intro.weight": (nafnet, "NAFNet"),
    "init_conv.weight": (irsde_unet, "U-Net"),
}
NAMES = {module.__name__.rpartition(".")[2]: name for module, name in READERS.values()}
"""A net's arch -> its name."""

SETTINGS: dict[str, str] = {
    "task": "--task",
    "sampler": "--sampler",
    "steps": "--steps",
    "max_sigma": "--max-sigma",
    "eps": "--eps",
    "length": "--length",
    "theta": "--theta",
}
"""What a file does not say -> the option that does."""

NO_LICENCE = "The official code is under MIT, but its weights say nothing of their own; see their data's terms too."
SKIP = "A net for latents is taken to add its first features to its last, as latent Refusion's does; no file can tell."


LONGEST = 10_000
"""Times; official nets have 100 or 1000, and a schedule is a table of all."""


def convert(file: Path, wishes: Wishes) -> Converted:
    """The model in an official file. Raises ``ModelError`` and ``UsageError`` with one sentence; writes nothing."""
    wishes.refuse("irsde", ("objective", "time", "input", "sum_scale", "classifier", "classifier_scale"))
    if wishes.preset is not None and wishes.preset not in PRESETS:
        raise unknown("preset", wishes.preset, list(PRESETS))
    preset = PRESETS[wishes.preset] if wishes.preset else None
    weights = read(file)
    options, net = _net(file, weights)
    shown = _shown(file, options)
    _check_preset(file, wishes.preset, preset, options, shown, wishes.codec)
    codec, latents = _with_codec(file, wishes, preset, options, net)
    said, notes = _settings(file, wishes, preset)
    entry = _entry(file, wishes, preset, said, options, shown, net, codec)
    closing = []
    if preset and preset.doubt:
        closing.append(
            f"The preset {wishes.preset} has {preset.doubt} from official settings; not confirmed by authors."
        )
    licence = () if wishes.license else (NO_LICENCE,)
    dtype = next(iter(weights.values())).dtype
    return Converted(entry, net, dtype, (*notes, *latents, *closing, *licence))


# ------------------------------------------------------------------------------------------------ what is in the file


def read(file: Path) -> dict[str, Tensor]:
    """The weights in an official file, without ``module.``. Raises ``ModelError``."""
    content = read_checkpoint(file)
    if not isinstance(content, Mapping):
        raise ModelError(f"{file}: found a {type(content).__name__}, {EXPECTED}.")
    state = unwrapped({str(key): value for key, value in content.items()})
    if {"optimizers", "schedulers"} & set(state):
        raise ModelError(
            f"{file}: the state of a training run ({some(key for key in TRAINER if key in state)}), which holds no "
            "weights; convert the .pth file that was saved beside it."
        )
    if set(state) >= RDDM or any(key.startswith("ema_model.") or key.endswith(".block1.norm.weight") for key in state):
        raise ModelError(f"{file}: an RDDM checkpoint by its keys ({some(state)}); convert it with --from rddm.")
    odd = [f"{key} ({type(value).__name__})" for key, value in state.items() if not isinstance(value, Tensor)]
    if odd or not any(key in state for key in READERS):
        raise ModelError(f"{file}: found {some(odd or state)}; {EXPECTED}.")
    odd = [f"{key} ({value.dtype})" for key, value in state.items() if not value.is_floating_point()]
    if odd:
        raise ModelError(f"{file}: expected weights of floats; found {some(odd)}.")
    return state


def _net(file: Path, weights: Mapping[str, Tensor]) -> tuple[dict[str, Any], nn.Module]:
    """The card's ``net`` (or ``codec``) table, and the net with its weights."""
    module, name = next(found for key, found in READERS.items() if key in weights)
    try:
        options = module.options_from(weights)
        state = module.rename(weights)
        # After the shapes were checked: a hostile tensor can say that it is larger than any memory.
        wild = [key for key, value in weights.items() if not value.isfinite().all()]
        with torch.device("meta"):
            net = build_codec(options) if module is latent_unet else build_net(options)
    except (ValueError, RuntimeError, TypeError, ZeroDivisionError, OverflowError, UsageError) as error:
        raise ModelError(f"{file}: a {name} by its keys, but: {str(error).rstrip('.')}.") from error
    if wild:
        raise ModelError(f"{file}: found values that are no numbers in {some(wild)}; the training went astray.")
    net.load_state_dict(state, assign=True)
    return options, net


def _shown(file: Path, options: Mapping[str, Any]) -> tuple[str, ...]:
    """What the net is shown, as its channels tell."""
    if options["arch"] == "latent_unet":
        raise ModelError(f"{file}: a compression U-Net, which restores nothing; give it as --codec beside its NAFNet.")
    takes, makes = options["in_channels"], options["out_channels"]
    if takes not in (makes, 2 * makes):
        raise ModelError(
            f"{file}: the net makes {makes} channels of {takes}; expected 3 of 6 (shown x-y and y) or 3 of 3 (shown x)."
        )
    return ("x",) if takes == makes else ("x-y", "y")


def _with_codec(
    file: Path, wishes: Wishes, preset: Preset | None, options: dict[str, Any], net: nn.Module
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The card's ``codec`` table; its net becomes a part of ``net``, so that both are one set of weights."""
    channels = options["out_channels"]
    if wishes.codec is None:
        if channels == 3:
            return None, ()
        raise UsageError(
            f"{file}: the net makes {channels} channels, not the 3 of a picture; if they are those of a latent, add "
            "--codec with the file of its compression U-Net."
        )
    codec, codec_net = _net(wishes.codec, read(wishes.codec))
    if codec["arch"] != "latent_unet":
        raise ModelError(f"{wishes.codec}: expected a compression U-Net as --codec; found a {NAMES[codec['arch']]}.")
    if options["arch"] != "nafnet" or (options["in_channels"], codec["latent_channels"]) != (2 * channels, channels):
        raise ModelError(
            f"{file}: found a {NAMES[options['arch']]} that makes {channels} channels of {options['in_channels']}, but "
            f"latents of {codec['latent_channels']} in {wishes.codec}; they do not belong together."
        )
    options["global_skip"] = net.global_skip = True
    net.add_module("codec", codec_net)
    return codec, () if preset else (SKIP,)


# ------------------------------------------------------------------------------------------------ what is said of it


def _check_preset(
    file: Path,
    name: str | None,
    preset: Preset | None,
    options: Mapping[str, Any],
    shown: tuple[str, ...],
    codec: Path | None,
) -> None:
    """Raises ``ModelError`` naming both sides where the preset is of another net than the file's."""
    if preset is None:
        return
    found = f"found a {NAMES[options['arch']]} shown {','.join(shown)} ({options['in_channels']} channels)"
    if (preset.arch, preset.input) != (options["arch"], shown):
        raise ModelError(
            f"{file}: the preset {name} is of a {NAMES[preset.arch]} shown {','.join(preset.input)}, {found}."
        )
    if options["arch"] == "irsde_unet":
        wanted = "full" if shown == ("x",) else "linear"
        if options["attention"] != wanted:
            raise ModelError(
                f"{file}: the preset {name} is of a U-Net with {wanted} attention in the middle, "
                f"found {options['attention']}."
            )
    latents = options["out_channels"] != 3 or codec is not None
    if latents != preset.codec:
        works = {True: "latents, with a --codec", False: "pictures, without a --codec"}
        raise ModelError(
            f"{file}: the preset {name} is of a net for {works[preset.codec]}, found one for {works[latents]}."
        )


def _settings(file: Path, wishes: Wishes, preset: Preset | None) -> tuple[dict[str, Any], list[str]]:
    """Every setting, and sentences on options that differ from the preset: the option counts."""
    said, notes = {}, []
    for name, option in SETTINGS.items():
        given, own = getattr(wishes, name), getattr(preset, name) if preset else None
        if given is not None and own not in (None, given):
            notes.append(f"{option} {given} is taken, not {own} of the preset {wishes.preset}.")
        said[name] = own if given is None else given
    missing = [option for name, option in SETTINGS.items() if said[name] is None]
    if missing:
        raise UsageError(
            f"{file} does not say how its net is used; add {' '.join(missing)}, or --preset with one of "
            f"{', '.join(PRESETS)}."
        )
    for name, table in (("task", TASKS), ("sampler", SAMPLERS)):
        if said[name] not in table:
            raise unknown(name, str(said[name]), list(table))
    return said, notes


def _entry(
    file: Path,
    wishes: Wishes,
    preset: Preset | None,
    said: Mapping[str, Any],
    options: dict[str, Any],
    shown: tuple[str, ...],
    net: nn.Module,
    codec: dict[str, Any] | None,
) -> Entry:
    kind = preset.kind if preset else "denoising-sde" if shown == ("x",) else "irsde"
    if said["length"] > LONGEST:
        raise UsageError(
            f"--length {said['length']} is no number of times that a net was trained on; the most is {LONGEST}."
        )
    schedule = {"kind": kind, "T": said["length"], **{key: said[key] for key in ("theta", "max_sigma", "eps")}}
    longest = build_schedule(schedule).T
    if said["steps"] > longest:
        raise UsageError(f"{said['steps']} steps are more than the schedule's {longest}; give --steps.")
    # Official sampling starts with the noise of an endless run, not with that of the schedule's end, 1e-5 less.
    level = said["max_sigma"] / 255 if said["max_sigma"] >= 1 else said["max_sigma"]
    which = f" by the preset {wishes.preset}" if wishes.preset else ""
    beside = f" with {wishes.codec.name} (sha256 {hash_file(wishes.codec)})" if codec and wishes.codec else ""
    return Entry(
        name=wishes.name or file.stem,
        task=said["task"],
        method="goub" if kind == "goub" else "irsde",
        net=options,
        schedule=schedule,
        predict=Predict("eps", shown, "t", (0.0, 1.0), "none"),
        sample=Sample(
            said["sampler"],
            said["steps"],
            natural_eta(said["sampler"]),
            start=level if kind == "irsde" else None,
            begin="picture" if kind == "denoising-sde" else "noise",
        ),
        size=Size(minimum=(net.codec if codec else net).minimum, trained=preset.trained if preset else None),
        license=wishes.license or "unknown",
        source=f"official {kind} checkpoint {file.name} (sha256 {hash_file(file)}){beside}, converted{which}",
        data=preset.data if preset else "unknown",
        codec=codec,
        prepare=preset.prepare if preset else None,
    )
