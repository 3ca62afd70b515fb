"""A DDIM model in RDDM's words, and the other way round.

With y = 0 DDIM's x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps is RDDM's x_t = x0 + shift res + sigma eps, where

    shift = 1 - sqrt(alpha_bar)     sigma = sqrt(1 - alpha_bar)     res = -x0

so the weights stay as they are, and so do the tables of a card's "vp" schedule, which is stated in shift and sigma.
What changes is how a step is written: from the predicted x0 (``ddim``), or as an increment of x_t (``rddm-ddim``).
Both are equal to rounding, unless x0 is clipped.

[RDDM] Liu et al., CVPR 2024, section 4 and the supplement on DDIM; official experiment 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from restorer.convert import diffusers, official
from restorer.convert.ddim_files import as_rddm, read
from restorer.convert.wishes import Wishes
from restorer.diffusion.predict import Denoiser
from restorer.entry import Entry
from restorer.errors import UsageError
from restorer.generate import sample
from restorer.load import build_schedule, denoiser, find, load
from restorer.settings import Settings

CPU = torch.device("cpu")
STEPS = 5
"""So many steps a check goes."""
SIDE = 64
"""So many pixels, or a little more, are the sides of what a check draws."""
TOLERANCE = 1e-4
"""What a check lets pass: the largest difference of pixels whose range is 2."""


class Model(NamedTuple):
    """A model in memory: its card, its net in full precision, the precision of its file, and what to tell of it."""

    entry: Entry
    net: Denoiser
    dtype: torch.dtype = torch.float32
    notes: tuple[str, ...] = ()


def opened(model: str, wishes: Wishes | None = None) -> Model:
    """What ``-m`` takes, or a checkpoint of a DDPM net, for which there are presets and classifiers in ``wishes``.

    Raises ``ModelError`` for what cannot be read, ``UsageError`` for a model that has no DDIM form.
    """
    file, wishes = Path(model), wishes or Wishes()
    if file.is_file() and file.suffix != ".safetensors":
        made = read(file, wishes)
        net = made.net.float().to(memory_format=torch.channels_last).eval().requires_grad_(False)
        return Model(made.entry, denoiser(net, build_schedule(made.entry.schedule), made.entry), made.dtype, made.notes)
    said = {"--preset": wishes.preset, "--classifier": wishes.classifier, "--classifier-scale": wishes.classifier_scale}
    for option, value in said.items():
        if value is not None:
            raise UsageError(
                f"{option} {value} is for the checkpoint file of a DDPM net; {model} says itself what it is."
            )
    found = find(model, pickled=True)
    diffusers.check_ddim(found.entry)
    if found.entry.sample.sampler not in ("ddim", "rddm-ddim"):
        raise UsageError(
            f"Model {found.entry.name!r} draws with {found.entry.sample.sampler!r}; only what draws with 'ddim' or "
            "'rddm-ddim' has two forms."
        )
    return Model(found.entry, load(found, CPU, torch.float32))


def to_rddm(model: Model, folder: Path) -> Entry:
    """Write the RDDM model folder of a DDIM or DDPM model."""
    entry = replace(as_rddm(model.entry), name=folder.resolve().name)
    return official.write(folder, official.Converted(entry, model.net.net, model.dtype, model.notes)).entry


def to_ddim(model: Model, folder: Path) -> Entry:
    """Write the diffusers folder of a model. Raises ``UsageError`` where diffusers has no words for it."""
    diffusers.write(folder, model.entry, model.net.net)
    return find(str(folder)).entry


def difference(before: Model, after: Model, seed: int = 0) -> float:
    """The largest difference of two models' pictures, in the net's range, from the same noise in 5 steps, unclipped.

    Once without fresh noise and once with all of it. Clipping is left out, because there DDIM and RDDM differ; the
    pictures are small ones, which serves as well to see whether two nets are one, but not for classifiers, which know
    one size: guidance is left out too.
    """
    rule = before.entry.size
    side = rule.multiple * -(-max(rule.minimum, min(rule.trained or SIDE, SIDE)) // rule.multiple)
    steps = min(STEPS, before.net.schedule.T)
    worst = 0.0
    for eta in (0.0, 1.0):
        settings = Settings(steps, eta, seed, before.entry.sample.times)
        ends = []
        for entry, net, *_ in (before, after):
            unclipped = replace(net, clip="none", guide=None)
            *_, last = sample(unclipped, [seed], settings, entry.sample.sampler, (side, side), CPU)
            # What is shown: far outside of the range single precision holds fewer digits.
            ends.append(last.x.clamp(*net.bounds))
        worst = max(worst, float((ends[0] - ends[1]).abs().max()))
    return worst


TO: dict[str, Callable[[Model, Path], Entry]] = {"rddm": to_rddm, "ddim": to_ddim}
