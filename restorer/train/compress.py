"""Where a recipe brings a codec of its own (``fresh_codec``): training that, before the net that restores its latents.

[Refusion] Luo et al., CVPR workshops 2023, section 3.2. The net of this time is no part of it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from restorer.diffusion.losses import Compression, compression_loss
from restorer.diffusion.predict import Denoiser
from restorer.errors import UsageError
from restorer.load import build_codec, build_schedule
from restorer.train.begin import Start, make, put_back
from restorer.train.checkpoint import Checkpoint, log_row, save_checkpoint, trim_log
from restorer.train.config import Config
from restorer.train.data import crops_of, crops_remarks, feed
from restorer.train.optimise import Descent, build_optimiser, finite, learning_rate
from restorer.train.progress import Clock, Progress
from restorer.train.team import Team

LOG = "codec.csv"
"""The log of this time, beside that of the net's."""


def compress(
    config: Config, root: Path, run: Path, team: Team, start: Start, clock: Clock
) -> Generator[Progress, None, dict[str, Tensor] | None]:
    """Train the recipe's codec; returns its weights. None when the run's hours are over first.

    By the optimiser, the batches and the course of ``train``, over the codec's own steps. Raises ``UsageError`` for a
    recipe that cannot work.
    """
    course = replace(config.train, steps=config.fresh_codec.steps)
    torch.manual_seed(course.seed)
    codec = build_codec(config.fresh_codec.net).to(team.device, memory_format=torch.channels_last)
    if config.data.patch_size < codec.minimum:
        raise UsageError(f"data: patch_size {config.data.patch_size} is less than {codec.minimum}, the codec's least.")
    student = Denoiser(team.joined(Compression(codec)), build_schedule(config.schedule), bounds=config.predict.range)
    descent = Descent(team, student, compression_loss, build_optimiser(course, codec.parameters()), course)
    crops = crops_of(root, config)
    remarks = crops_remarks(crops, course, team)
    before = put_back(start, descent.optimiser, descent.scaler, codec)
    step, items = (before.step, before.items) if before else (0, 0)
    make(run)
    if team.index == 0:
        trim_log(run, step, name=LOG)

    for batches in feed(crops, course, items, course.steps - step, team):
        step, items = step + 1, items + course.pictures * team.count
        loss = finite(descent.step(batches, step), step)
        warnings = (*remarks, *(sentence for batch in batches for sentence in batch.skipped))
        remarks = ()
        last, late = step == course.steps, clock.over()
        told = (step, course.steps, loss, learning_rate(course, step), None, clock.lap())
        progress = Progress(*told, warnings=warnings, stopped=late, codec=True)
        if team.index == 0:
            log_row(run, progress.row(auto=False), name=LOG)
        if last or late or step % course.save_every == 0:
            descent.check(batches[0], step)
            states = codec.state_dict(), {}, descent.optimiser.state_dict(), descent.scaler.state_dict()
            if team.index == 0:
                save_checkpoint(run, Checkpoint(step, items, *states, codec=True), keep=course.keep)
            team.wait()
        yield progress
        if late:
            return None
        clock.go()
    return codec.state_dict()
