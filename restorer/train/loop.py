"""The training loop: a generator that yields after every step. Who iterates decides what to show.

All randomness is a function of the seed and of the step or the item, so a run that stops and goes on equals one that
did not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from restorer.card import write_readme
from restorer.diffusion.losses import OBJECTIVES, check_objective
from restorer.diffusion.predict import Denoiser
from restorer.entry import Entry
from restorer.errors import UsageError
from restorer.images.atomic import write_bytes
from restorer.load import build_schedule, denoiser
from restorer.train.begin import AUTO, Start, fresh, make, put_back, saying, start_of
from restorer.train.checkpoint import BEST, MODEL, Checkpoint, log_row, save_checkpoint, save_model, trim_log
from restorer.train.choose import choose
from restorer.train.config import Config
from restorer.train.data import crops_of, feed, validation_set
from restorer.train.optimise import Descent, averaging, build_optimiser, finite, learning_rate
from restorer.train.progress import Clock, Progress
from restorer.train.recipes import RECIPE, as_toml
from restorer.train.score import expected, score, write_sheet
from restorer.train.team import Team, gather


def train(
    config: Config, root: Path, run: Path, device: torch.device, *, resume: bool | Path = True
) -> Iterator[Progress]:
    """Train the recipe on the pictures below ``root``; everything is kept in the folder ``run``.

    Goes on from the run's last checkpoint when ``resume``, or from the checkpoint of that path. Leaves the EMA weights
    as a model folder in ``run/model``, and those of the highest PSNR in ``run/best``. Under ``accelerate launch`` each
    process calls this, and the first of them writes. Raises ``UsageError`` for a recipe, ``InputError`` for data that
    cannot work.
    """
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
    learner = _learner(config, team)
    yield from _course(learner, root, run, start, clock, chosen)


@dataclass(frozen=True)
class Learner:
    """A net in training, the average of its weights, and what moves them; ``teacher`` uses the average."""

    config: Config
    team: Team
    entry: Entry
    net: nn.Module
    ema: AveragedModel
    teacher: Denoiser
    descent: Descent


def _learner(config: Config, team: Team) -> Learner:
    """Raises ``UsageError`` for a recipe that cannot work."""
    course = config.train
    net, entry = fresh(config, team.device)
    ema = AveragedModel(net, multi_avg_fn=averaging(course.ema_decay))
    optimiser = build_optimiser(course, net.parameters())
    teacher = denoiser(ema.module, build_schedule(config.schedule), entry)
    try:
        check_objective(course.objective, teacher)
    except ValueError as error:
        raise UsageError(f"train: {error}") from error
    student = replace(teacher, net=team.joined(net))
    descent = Descent(team, student, OBJECTIVES[course.objective], optimiser, course, blind=config.unconditional)
    return Learner(config, team, entry, net, ema, teacher, descent)


def _course(
    learner: Learner, root: Path, run: Path, start: Start, clock: Clock, chosen: str | None
) -> Iterator[Progress]:
    config, team, descent = learner.config, learner.team, learner.descent
    course = config.train
    crops, validation = crops_of(root, config), validation_set(root, config.data, config.prepare)
    before = put_back(start, descent.optimiser, descent.scaler, learner.net, learner.ema)
    step, items, best = (before.step, before.items, before.best) if before else (0, 0, None)
    make(run)
    if team.index == 0:
        trim_log(run, step)
        write_bytes(run / RECIPE, as_toml(asdict(config)).encode())

    for batches in feed(crops, course, items, course.steps - step, team):
        step, items = step + 1, items + course.pictures * team.count
        loss = finite(descent.step(batches, step), step)
        if step % course.ema_every == 0:
            learner.ema.update_parameters(learner.net)
        last, late = step == course.steps, clock.over()
        psnr = None
        if validation and (last or step % course.val_every == 0):
            psnr, shown = score(learner.teacher, validation, learner.entry, config, team)
            if team.index == 0:
                write_sheet(run, step, shown)
        improved = psnr is not None and (best is None or psnr > best)
        best = psnr if improved else best
        skipped = tuple(sentence for batch in batches for sentence in batch.skipped)
        told = (step, course.steps, loss, learning_rate(course, step), psnr, clock.lap())
        progress = Progress(*told, chosen=chosen, skipped=skipped, stopped=late and not last)
        if team.index == 0:
            log_row(run, progress.row(auto=chosen is not None))
        if last or late or improved or step % course.save_every == 0:
            entry = _measured(learner, len(validation), psnr)
            _keep(learner, run, entry, Checkpoint(step, items, *_states(learner), best, chosen=chosen), improved)
        yield progress
        if late:
            return
        clock.go()


def _states(learner: Learner) -> tuple[dict, ...]:
    parts = (learner.net, learner.ema, learner.descent.optimiser, learner.descent.scaler)
    return tuple(part.state_dict() for part in parts)


def _measured(learner: Learner, pictures: int, psnr: float | None) -> Entry:
    """The card, with the score where these weights were measured."""
    if psnr is None:
        return learner.entry
    return replace(learner.entry, expect=(expected(learner.config, learner.entry, pictures, psnr),))


def _keep(learner: Learner, run: Path, entry: Entry, checkpoint: Checkpoint, best: bool) -> None:
    """Write what the run has come to: the checkpoint first, so that it is there whatever fails then."""
    if learner.team.index == 0:
        save_checkpoint(run, checkpoint, keep=learner.config.train.keep, best=best)
        for folder in (MODEL, BEST) if best else (MODEL,):
            write_readme(run / folder, save_model(run / folder, entry, learner.ema.module))
    learner.team.wait()
