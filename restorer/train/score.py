"""How good the averaged weights are so far: PSNR on the validation pictures, and a sheet of some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from restorer.diffusion.predict import Denoiser
from restorer.entry import Entry, Expect
from restorer.images import write
from restorer.images.picture import Picture
from restorer.metrics import psnr
from restorer.report.sheets import WORDS, grid, small
from restorer.sampling import decoded, encoded, pad, sample
from restorer.settings import Settings
from restorer.train.config import Config
from restorer.train.data import Example
from restorer.train.optimise import autocast, three
from restorer.train.team import Team

SAMPLES = "samples"
SHOWN = 4
"""So many pictures are in a sheet."""
MASKED = (WORDS[0], "mask", *WORDS[1:])
"""What stands over the columns of a sheet of a model that takes a mask."""


class Score(NamedTuple):
    """Mean PSNR in dB over the validation set, and the first (y, restored, x0) of this process, each (1, 3, h, w).

    Behind y stands the mask, of models that take one.
    """

    psnr: float
    shown: list[tuple[Tensor, ...]]


def score(teacher: Denoiser, validation: Sequence[Example], entry: Entry, config: Config, team: Team) -> Score:
    """Restore the validation pictures, each process its share, at the card's own settings."""
    own = entry.sample
    sigma = config.data.validation_sigma if own.begin == "picture" else None
    settings = Settings(own.steps, own.eta, seed=0, times=own.times, sigma=sigma)
    lo, hi = teacher.bounds
    total, shown = 0.0, []
    for x0, y, mask, label in validation[team.index :: team.count]:
        height, width = x0.shape[-2:]
        asked = replace(teacher, label=label)
        marked = () if mask is None else (three(mask),)
        with autocast(config.train, team.device):
            padded, *where = (pad(v, entry.size.multiple) for v in (y, *marked))
            hidden = None
            if teacher.codec is not None:
                padded, hidden = encoded(teacher, padded.to(team.device))
            for state in sample(asked, padded, own, settings, team.device, mask=where[0] if where else None):
                restored = (state.x.float() - lo) / (hi - lo)
            restored = restored if hidden is None else decoded(teacher, restored, hidden)
        restored = restored[..., :height, :width].float().cpu().clamp(0, 1)
        total += psnr(restored.mul(255).round() / 255, x0)  # as it would be written, which is what a card tells
        if len(shown) < SHOWN:
            shown.append((y.clamp(0, 1), *(marked if config.masked else ()), restored, x0))
    # In float64, so that it is the sum of one process to the last digit that is shown.
    share = torch.tensor(total, dtype=torch.float64)
    share = share if team.count == 1 else share.float().to(team.device)
    return Score(float(team.mean(share)) * team.count / len(validation), shown)


def drawn(teacher: Denoiser, entry: Entry, config: Config, team: Team) -> list[Tensor]:
    """New pictures of a model that draws, each (1, 3, patch, patch) in [0, 1], of the seeds 0 to 3."""
    own, side = entry.sample, config.data.patch_size
    lo, hi = teacher.bounds
    nothing = torch.full((1, 3, side, side), -lo / (hi - lo))  # 0 in the net's range
    pictures = []
    for seed in range(SHOWN):
        settings = Settings(own.steps, own.eta, seed=seed, times=own.times)
        with autocast(config.train, team.device):
            for state in sample(teacher, nothing, own, settings, team.device):
                picture = state.x
        pictures.append(((picture.float().cpu() - lo) / (hi - lo)).clamp(0, 1))
    return pictures


def write_sheet(run: Path, step: int, shown: Sequence[Sequence[Tensor]], words: Sequence[str] | None = None) -> None:
    """Rows of what a ``Score`` shows, or of what ``words`` say, as ``samples/step-N.png`` in the run's folder."""
    if not shown:
        return
    folder = run / SAMPLES
    folder.mkdir(exist_ok=True)
    if words is None:
        words = WORDS if len(shown[0]) == len(WORDS) else MASKED
    write(Picture(grid([small(*row) for row in shown], words=words).contiguous()), folder / f"step-{step:08}.png")


def expected(config: Config, entry: Entry, pictures: int, value: float) -> Expect:
    """The score as the model's card tells it."""
    data = config.data
    what = f"{data.validation}: {pictures} crops of {data.validation_crop}" if data.validation else "validation"
    return Expect(what, "psnr", round(value, 3), entry.sample.steps)
