"""The training loop: a generator that yields after every step. Who iterates decides what to show.

All randomness is a function of the seed and of the step or the item, so a run that stops and goes on equals one that
did not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from restorer.card import write_readme
from restorer.entry import Entry
from restorer.images.atomic import write_bytes
from restorer.train.begin import Start, make, put_back, saying, start_of
from restorer.train.checkpoint import BEST, MODEL, Checkpoint, log_row, save_checkpoint, save_model, trim_log
from restorer.train.choose import choose
from restorer.train.compress import compress
from restorer.train.config import AUTO, Config
from restorer.train.data import Example, crops_of, crops_remarks, feed, validation_set
from restorer.train.feedback import check_trackers, write_curves
from restorer.train.learner import Learner, learner
from restorer.train.optimise import finite, learning_rate
from restorer.train.progress import Clock, Progress
from restorer.train.recipes import RECIPE, as_toml
from restorer.train.score import drawn, expected, score, write_sheet
from restorer.train.team import gather


def train(
    config: Config, root: Path, run: Path, device: torch.device, *, resume: bool | Path = True
) -> Iterator[Progress]:
    """Train the recipe on the pictures below ``root``; everything is kept in the folder ``run``.

    Goes on from the run's last checkpoint when ``resume``, or from the checkpoint of that path. Leaves the EMA weights
    as a model folder in ``run/model``, and those of the highest PSNR in ``run/best``. Under ``accelerate launch`` each
    process calls this, and the first of them writes. Raises ``UsageError`` for a recipe, ``InputError`` for data that
    cannot work.
    """
    check_trackers(config)
    start = start_of(config, run, resume)
    team = gather(device)
    clock = Clock(config.train.max_hours, team)
    chosen = start.found.chosen if start.found else None
    if config.predict.output == AUTO:
        if chosen is None:
            chosen = yield from choose(config, root, run, team, start, clock)
            start = Start(start.file)
        if chosen is None:
            return
        config = saying(config, chosen)
    codec = None
    if config.fresh_codec is not None and (start.found is None or start.found.codec):
        codec = yield from compress(config, root, run, team, start, clock)
        if codec is None:
            return
        start = Start(start.file)
    pupil = learner(config, team, resumed=start.found is not None, codec=codec)
    yield from _course(pupil, root, run, start, clock, chosen)


def _course(
    pupil: Learner, root: Path, run: Path, start: Start, clock: Clock, chosen: str | None
) -> Iterator[Progress]:
    config, team, descent = pupil.config, pupil.team, pupil.descent
    course = config.train
    crops, validation = crops_of(root, config), validation_set(root, config.data, config.prepare, masked=config.masked)
    remarks = () if chosen else crops_remarks(crops, course, team)
    before = put_back(start, descent.optimiser, descent.scaler, pupil.net, pupil.ema)
    step, items, best = (before.step, before.items, before.best) if before else (0, 0, None)
    make(run)
    if team.index == 0:
        trim_log(run, step)
        asked = saying(config, AUTO) if chosen else config
        write_bytes(run / RECIPE, as_toml(asdict(asked)).encode())

    for batches in feed(crops, course, items, course.steps - step, team):
        step, items = step + 1, items + course.pictures * team.count
        loss = finite(descent.step(batches, step), step)
        if step % course.ema_every == 0:
            pupil.ema.update_parameters(pupil.net)
        last, late = step == course.steps, clock.over()
        looks, saves = last or step % course.val_every == 0, last or late or step % course.save_every == 0
        if looks or saves:
            descent.check(batches[0], step)  # so that no weights are kept that broke in this very step
        psnr = _look(pupil, validation, run, step) if looks else None
        improved = psnr is not None and (best is None or psnr > best)
        best = psnr if improved else best
        warnings = (*remarks, *(sentence for batch in batches for sentence in batch.skipped))
        remarks = ()
        told = (step, course.steps, loss, learning_rate(course, step), psnr, clock.lap())
        progress = Progress(*told, chosen=chosen, warnings=warnings, stopped=late and not last, best=best)
        if team.index == 0:
            log_row(run, progress.row(auto=chosen is not None))
        if saves or improved:
            entry = _measured(pupil, len(validation), psnr)
            _keep(pupil, run, entry, Checkpoint(step, items, *pupil.states(), best, chosen=chosen), improved)
        if (last or late) and team.index == 0:
            write_curves(run)
        yield progress
        if late:
            return
        clock.go()


def _look(pupil: Learner, validation: Sequence[Example], run: Path, step: int) -> float | None:
    """Write a sheet of what the averaged weights make; their PSNR, of models that restore."""
    words = pupil.entry, pupil.config, pupil.team
    if pupil.config.unconditional and pupil.team.index == 0:
        write_sheet(run, step, [drawn(pupil.teacher, *words)], words=())
    if not validation:
        return None
    psnr, shown = score(pupil.teacher, validation, *words)
    if pupil.team.index == 0:
        write_sheet(run, step, shown)
    return psnr


def _measured(pupil: Learner, pictures: int, psnr: float | None) -> Entry:
    """The card, with the score where these weights were measured."""
    if psnr is None:
        return pupil.entry
    return replace(pupil.entry, expect=(expected(pupil.config, pupil.entry, pictures, psnr),))


def _keep(pupil: Learner, run: Path, entry: Entry, checkpoint: Checkpoint, best: bool) -> None:
    """Write what the run has come to: the checkpoint first, so that it is there whatever fails then."""
    if pupil.team.index == 0:
        save_checkpoint(run, checkpoint, keep=pupil.config.train.keep, best=best)
        for folder in (MODEL, BEST) if best else (MODEL,):
            write_readme(run / folder, save_model(run / folder, entry, pupil.ema.module))
    pupil.team.wait()
