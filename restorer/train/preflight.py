"""Before a long run: are the pictures fit to learn from, and what will it take? Only a sheet of them is kept."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from restorer.device import is_out_of_memory
from restorer.diffusion.schedule import diffuse
from restorer.errors import ImageError, RestorerError, UsageError
from restorer.images import Picture, read, write
from restorer.prepare import preparation
from restorer.report.sheets import grid, small
from restorer.sampling import decoded, encoded
from restorer.train.alignment import alike, shift_of, thumbnail
from restorer.train.begin import check_words, make, saying
from restorer.train.config import AUTO, Config
from restorer.train.data import Crops, crops_of, crops_remarks, feed, marked, validation_set
from restorer.train.feedback import check_trackers
from restorer.train.folders import Pair, training_pairs, unmatched, validation_pairs
from restorer.train.learner import Learner, learner
from restorer.train.optimise import draw_noise, finite, three
from restorer.train.score import score
from restorer.train.team import Alone, launched

SHEET = "pairs.png"
SHOWN = 6
MEASURED = 2
"""Steps that are timed, after one that warms up."""
WORKERS = 8
"""The most pictures that are looked at at a time."""


class Needs(NamedTuple):
    """Seconds of a step; hours of the whole run, with its validation; the most bytes of memory, where that is told."""

    step_seconds: float
    hours: float
    bytes: int | None


@dataclass(frozen=True)
class Preflight:
    """What was found: sentences on all that is wrong, and on what should be known; the sheet; what the run needs."""

    problems: tuple[str, ...]
    remarks: tuple[str, ...]
    pictures: int
    sheet: Path | None
    needs: Needs | None

    @property
    def ready(self) -> bool:
        """Whether nothing was found that is wrong."""
        return not self.problems


def preflight(config: Config, root: Path, run: Path, device: torch.device) -> Preflight:
    """Look at every picture, write the sheet into the folder ``run``, and measure two steps.

    Raises ``UsageError`` for a recipe that cannot work, and ``InputError`` for folders that have no pictures.
    """
    check_words(config)
    check_trackers(config)
    if launched() > 1:
        raise UsageError("--dry-run looks at every picture once, and needs one process; run it without the launcher.")
    config = saying(config, "res") if config.predict.output == AUTO else config
    masked = {"masked": config.masked}
    problems = [*unmatched(root, config.data, **masked)]
    pairs = list(dict.fromkeys(training_pairs(root, config.data, strict=False, **masked)))
    training, validation = [], []
    for looked, pair in _looked(pairs, config):
        problems += looked.problems
        training += [(pair.gt, looked.thumbnail)] if looked.thumbnail is not None else []
    for looked, pair in _looked(validation_pairs(root, config.data, strict=False, **masked), config, patch=1):
        problems += looked.problems
        validation += [(pair.gt, looked.thumbnail)] if looked.thumbnail is not None else []
    problems += _duplicates(training, validation)
    if problems or not pairs:
        return Preflight(tuple(problems), (), len(pairs), None, None)

    pupil, crops = learner(config, Alone(device)), crops_of(root, config)
    make(run)
    sheet = _write_sheet(run / SHEET, pupil, crops)
    remarks = crops_remarks(crops, config.train, pupil.team)
    if config.fresh_codec is not None:
        remarks += (f"The codec's own {config.fresh_codec.steps} steps come first, and are not in what is told here.",)
    try:
        needs = _measure(pupil, crops, root)
    except (RestorerError, RuntimeError, MemoryError) as error:
        if not isinstance(error, RestorerError) and not is_out_of_memory(error):
            raise
        said = f"{device} has too little memory for a step; lower --batch-size or --patch-size."
        return Preflight((str(error) if isinstance(error, RestorerError) else said,), remarks, len(pairs), sheet, None)
    return Preflight((), remarks, len(pairs), sheet, needs)


class Looked(NamedTuple):
    """What is wrong with a pair, and its clean picture in small; None of one that cannot be read."""

    problems: tuple[str, ...]
    thumbnail: Tensor | None


def _looked(pairs: list[Pair], config: Config, patch: int | None = None) -> Iterator[tuple[Looked, Pair]]:
    with ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1)) as pool:
        side = patch or config.data.patch_size
        yield from zip(pool.map(lambda pair: _look(pair, side, config.prepare), pairs), pairs, strict=True)


def _look(pair: Pair, patch: int, prepare: str | None) -> Looked:
    try:
        gt = read(pair.gt).pixels
        lq = None if pair.lq is None else preparation(prepare).apply(read(pair.lq).pixels, None)
        mask = None if pair.mask is None else marked(read(pair.mask))
    except ImageError as error:
        return Looked((str(error),), None)
    problems = []
    if min(gt.shape[-2:]) < patch:
        problems.append(f"{pair.gt}: {_size(gt)} is smaller than the patch of {patch}; use a smaller one.")
    if lq is not None and lq.shape != gt.shape:
        problems.append(f"{pair.lq}: {_size(lq)}, and {pair.gt} is {_size(gt)}; make them of one size.")
    elif lq is not None and (shift := shift_of(gt, lq)):
        problems.append(f"{pair.lq}: lies {shift[0]} pixels right and {shift[1]} down of {pair.gt}; align them.")
    if mask is not None and mask.shape[-2:] != gt.shape[-2:]:
        problems.append(f"{pair.mask}: {_size(mask)}, and {pair.gt} is {_size(gt)}; make them of one size.")
    elif mask is not None and lq is not None and lq.shape == gt.shape and _inverted(mask, lq, gt):
        problems.append(f"{pair.mask}: {pair.lq} differs more from {pair.gt} where it is black; white is damaged.")
    return Looked(tuple(problems), thumbnail(gt))


def _inverted(mask: Tensor, lq: Tensor, gt: Tensor) -> bool:
    """Whether a mask that marks a part only marks the wrong one: others have 1 where a picture is kept."""
    off = (lq - gt).abs().mean(dim=1, keepdim=True)
    inside, outside = ((off * part).sum() / part.sum() for part in (mask, 1 - mask))
    return bool(outside > inside)  # of all or nothing one of them is no number


def _duplicates(training: list[tuple[Path, Tensor]], validation: list[tuple[Path, Tensor]]) -> Iterator[str]:
    """Pictures by which a run would be measured on what it learned from."""
    if not (training and validation):
        return
    thumbnails = (torch.stack([small for _, small in side]) for side in (training, validation))
    for i, j in alike(*thumbnails):
        yield f"{validation[j][0]}: shows the same as {training[i][0]}; leave one of them out."


def _write_sheet(file: Path, pupil: Learner, crops: Crops) -> Path:
    """The first crops as the net sees them: degraded, on the way with noise, and clean."""
    student, course = pupil.descent.student, pupil.config.train
    lo, hi = student.bounds
    rows = []
    for i in range(SHOWN):
        made = crops[i]
        x0, y = made.x0[None], made.y[None]
        begin, end = (v.to(pupil.team.device) for v in (x0, y))
        hidden = None
        if student.codec is not None:
            (begin, _), (end, hidden) = (encoded(student, v) for v in (begin, end))
        begin, end = (lo + (hi - lo) * v.cpu() for v in (begin, end))
        eps, t = draw_noise(course, i, tuple(begin.shape[1:]), student.schedule.T)
        end = torch.zeros_like(end) if pupil.descent.blind else end
        x = (diffuse(student.schedule, begin, end, eps[None], t) - lo) / (hi - lo)
        x = x if hidden is None else decoded(student, x.float().to(pupil.team.device), hidden).cpu()
        mask = (three(made.mask[None]),) if crops.masked else ()
        rows.append(small(y, x.clamp(0, 1).float(), *mask, x0))
    words = ("degraded", "with noise", *(["mask"] if crops.masked else []), "clean")
    write(Picture(grid(rows, words=words).contiguous()), file)
    return file


def _measure(pupil: Learner, crops: Crops, root: Path) -> Needs:
    """Time and memory of a step and of a validation picture, for the whole run."""
    config, device = pupil.config, pupil.team.device
    course = config.train
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    began, seconds = time.perf_counter(), []
    for step, batches in enumerate(feed(crops, course, 0, 1 + MEASURED, pupil.team), 1):
        finite(pupil.descent.step(batches, step), step)
        pupil.ema.update_parameters(pupil.net)
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
    step_seconds = min(seconds[1:])
    validation = validation_set(root, config.data, config.prepare, masked=config.masked)
    scoring = 0.0
    if validation:
        began = time.perf_counter()
        score(pupil.teacher, validation[:1], pupil.entry, config, pupil.team)
        scoring = (time.perf_counter() - began) * len(validation)
    rounds = -(-course.steps // course.val_every)
    return Needs(step_seconds, (step_seconds * course.steps + scoring * rounds) / 3600, _most_bytes(device))


def _most_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":  # which does not tell
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _size(picture: Tensor) -> str:
    return f"{picture.shape[-1]}x{picture.shape[-2]}"
