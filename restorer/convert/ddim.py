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

import torch

from restorer.convert.diffusers import check_ddim, write
from restorer.entry import Entry
from restorer.errors import UsageError
from restorer.generate import sample
from restorer.load import Found, find, load
from restorer.restore import Settings
from restorer.train.checkpoint import save_model

CPU = torch.device("cpu")
STEPS = 5
"""So many steps a check goes."""
SIDE = 64
"""So many pixels, or a little more, are the sides of what a check draws."""
TOLERANCE = 1e-4
"""What a check lets pass: the largest difference of pixels whose range is 2."""


def to_rddm(model: str, folder: Path) -> Entry:
    """Write the RDDM model folder of a DDIM or DDPM model, whatever ``-m`` takes. Raises ``UsageError`` for others."""
    found = _found(model)
    entry = found.entry
    sampling = replace(entry.sample, sampler="rddm-ddim")
    renamed = replace(entry, name=folder.resolve().name, method="rddm", sample=sampling, expect=())
    return save_model(folder, renamed, load(found, CPU, torch.float32).net, torch.float32)


def to_ddim(model: str, folder: Path) -> Entry:
    """Write the diffusers folder of a model. Raises ``UsageError`` where diffusers has no words for it."""
    found = _found(model)
    write(folder, found.entry, load(found, CPU, torch.float32).net)
    return find(str(folder)).entry


def difference(before: str, after: str, seed: int = 0) -> float:
    """The largest difference of two models' pictures, in the net's range, from the same noise in 5 steps, unclipped.

    Once without fresh noise and once with all of it. Clipping is left out, because there DDIM and RDDM differ; the
    pictures are small ones, which serves as well to see whether two nets are one.
    """
    founds = [_found(model) for model in (before, after)]
    nets = [replace(load(found, CPU, torch.float32), clip="none") for found in founds]
    rule = founds[0].entry.size
    side = rule.multiple * -(-max(rule.minimum, min(rule.trained or SIDE, SIDE)) // rule.multiple)
    steps = min(STEPS, nets[0].schedule.T)
    worst = 0.0
    for eta in (0.0, 1.0):
        settings = Settings(steps, eta, seed, founds[0].entry.sample.times)
        ends = []
        for found, net in zip(founds, nets, strict=True):
            *_, last = sample(net, [seed], settings, found.entry.sample.sampler, (side, side), CPU)
            # What is shown: far outside of the range single precision holds fewer digits.
            ends.append(last.x.clamp(*net.bounds))
        worst = max(worst, float((ends[0] - ends[1]).abs().max()))
    return worst


def _found(model: str) -> Found:
    found = find(model)
    check_ddim(found.entry)
    if found.entry.sample.sampler not in ("ddim", "rddm-ddim"):
        raise UsageError(
            f"Model {found.entry.name!r} draws with {found.entry.sample.sampler!r}; only what draws with 'ddim' or "
            "'rddm-ddim' has two forms."
        )
    return found


TO: dict[str, Callable[[str, Path], Entry]] = {"rddm": to_rddm, "ddim": to_ddim}
