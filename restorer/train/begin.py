"""How a run begins: a fresh net, one taken over from a model, or a checkpoint put back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restorer.diffusion.losses import LOSSES, OBJECTIVES
from restorer.entry import Entry
from restorer.errors import UsageError, unknown
from restorer.load import build_codec, build_net, check_names, check_sizes, find, load
from restorer.nets.plain_unet import PlainUNet
from restorer.strict import misfit
from restorer.train.checkpoint import STATE, Checkpoint, load_checkpoint
from restorer.train.config import AUTO, Config
from restorer.train.optimise import OPTIMISERS

CODEC = "codec."
"""What stands before the names of a codec's weights, beside those of the net."""


@dataclass(frozen=True)
class Start:
    """The checkpoint to go on from, and its file; ``found`` is None for a run that begins."""

    file: Path
    found: Checkpoint | None = None


def start_of(config: Config, run: Path, resume: bool | Path) -> Start:
    """Where a run begins: ``resume`` may be its last checkpoint, none, or that of a path. Raises ``UsageError``."""
    check_words(config)
    if isinstance(resume, Path):
        file = resume / STATE if resume.is_dir() else resume
        start = Start(file, load_checkpoint(file))
    else:
        file = run / STATE
        start = Start(file, load_checkpoint(file) if resume and file.is_file() else None)
    auto = config.predict.output == AUTO
    if start.found and auto != (start.found.share is not None or start.found.chosen is not None):
        raise other_recipe(file, "one of them leaves the net's output open, the other does not")
    if start.found and start.found.codec and config.fresh_codec is None:
        raise other_recipe(file, "it is of the training of a codec, and this recipe trains none")
    return start


def check_words(config: Config) -> None:
    """Raises ``UsageError`` for a word of the recipe that is in no table."""
    course = config.train
    for kind, word, known in (
        ("loss", course.loss, LOSSES),
        ("objective", course.objective, OBJECTIVES),
        ("optimiser", course.optimiser, OPTIMISERS),
    ):
        if word not in known:
            raise unknown(kind, word, list(known))


def saying(config: Config, output: str) -> Config:
    """The recipe with the output named."""
    return replace(config, predict=replace(config.predict, output=output))


def fresh(
    config: Config, device: torch.device, *, resumed: bool = False, codec: Mapping[str, Tensor] | None = None
) -> tuple[nn.Module, Entry]:
    """The recipe's net as its seed makes it, or as the model of ``init`` has it, and its card.

    ``resumed``: a checkpoint will be put into it, so that model is not looked for. ``codec``: the weights of the
    recipe's own codec. Raises ``UsageError``, and ``ModelError`` for a model that is not there.
    """
    torch.manual_seed(config.train.seed)
    net = build_net(config.net).to(device, memory_format=torch.channels_last)
    entry = config.entry(net.multiple)
    check_names(entry)
    if config.init and not resumed:
        take_over(net, config.init, latents=config.latents)
    if config.codec is not None:
        entry = give_codec(net, entry, *lent_codec(config.codec))
    if config.fresh_codec is not None:
        entry = give_codec(net, entry, config.fresh_codec.net, codec)
    with torch.inference_mode(), device:
        check_sizes(net, entry, torch.float32)
    multiple = entry.size.multiple
    if config.data.patch_size % multiple or config.data.patch_size < entry.size.minimum:
        least = f" or less than {entry.size.minimum}" if config.latents else ""
        raise UsageError(f"data: patch_size {config.data.patch_size} is no multiple of {multiple}{least}, the net's.")
    return net, entry


def lent_codec(model: str) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """The codec of a model that ``-m`` takes: its card's table, and its weights. Raises ``UsageError`` for none."""
    found = find(model)
    if found.entry.codec is None:
        raise UsageError(f"codec: {model} restores pictures, not latents; name a model that has a codec.")
    net = load(found, torch.device("cpu"), torch.float32).net
    return found.entry.codec, net.get_submodule("codec").state_dict()


def give_codec(net: nn.Module, entry: Entry, table: Mapping[str, Any], state: Mapping[str, Tensor] | None) -> Entry:
    """Put a codec beside a net that restores its latents, never to be moved; the card that says so.

    ``state``: its weights; None where a checkpoint will be put into it.
    """
    codec = build_codec(table)
    if state is not None:
        codec.load_state_dict(state)
    device = next(net.parameters()).device
    codec.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)
    net.add_module(CODEC.rstrip("."), codec)
    # Latents of any picture have sides of so much; where the net wants more, pictures are padded to it.
    sides = codec.unit // codec.factor
    multiple = 1 if sides % net.multiple == 0 else math.lcm(codec.unit, codec.factor * net.multiple)
    size = replace(entry.size, multiple=multiple, minimum=max(entry.size.minimum, codec.minimum))
    return replace(entry, codec=dict(table), size=size)


def take_over(net: nn.Module, model: str, *, latents: bool = False) -> None:
    """Give a net the weights of a model that ``-m`` takes. Raises ``UsageError`` where they do not fit.

    Not those of its codec, which a net of ``latents`` is given for itself. A net that is told classes may begin from
    one that is not: what it is told means nothing yet.
    """
    found = find(model)
    if found.entry.codec is not None and not latents:
        raise UsageError(f"--init {model}: it restores latents; name the codec that makes them: --codec {model}.")
    state = load(found, torch.device("cpu"), torch.float32).net.state_dict()
    state = {key: value for key, value in state.items() if not key.startswith(CODEC)}
    if isinstance(net, PlainUNet) and net.classes and "classes.weight" not in state:
        state["classes.weight"] = torch.zeros_like(net.classes.weight)
    wrong = misfit(net, state)
    if wrong:
        raise UsageError(f"--init {model}: its {wrong}. Take the net of its card, or another model.")
    net.load_state_dict(state)


def put_back(
    start: Start,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    net: nn.Module,
    ema: nn.Module | None = None,
) -> Checkpoint | None:
    """Put a checkpoint back, if there is one; returns it. Raises ``UsageError`` for one of another recipe."""
    if start.found is None:
        return None
    try:
        net.load_state_dict(start.found.net)
        if ema:
            ema.load_state_dict(start.found.ema)
        optimiser.load_state_dict(start.found.optimiser)
        scaler.load_state_dict(start.found.scaler)
    except (RuntimeError, ValueError, KeyError) as error:
        raise other_recipe(start.file, " ".join(str(error).split())) from error
    return start.found


def other_recipe(file: Path, why: str) -> UsageError:
    """The error for a checkpoint that is not of this recipe."""
    return UsageError(
        f"{file}: made by another recipe, so training cannot go on from it; use another --output, or --resume no. "
        f"({why})"
    )


def make(run: Path) -> None:
    """Raises ``UsageError`` for a run's folder that cannot be."""
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{run}: cannot be made: {error.strerror}; choose another --output.") from error
