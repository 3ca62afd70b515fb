"""Another schedule than the model was trained with, chosen when it is used: ``decreased:0.3`` in place of its tables.

[RDDM] Liu et al., CVPR 2024, on readjusting coefficient schedules; official experiment 1, ``adjust_alpha``.
See docs/methods/rddm.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from restorer.diffusion.paths import Path, check_path
from restorer.diffusion.predict import TOLD_TIME, Denoiser
from restorer.diffusion.predict import readjusted as on_schedule
from restorer.diffusion.samplers import ON_ANY_TABLES
from restorer.diffusion.schedule import Schedule, rddm_schedule
from restorer.entry import Entry
from restorer.errors import UsageError

OWN = "model"
"""The word for leaving a schedule as it is."""

MODES = ("increased", "decreased", "average", "normal")
KINDS = ("rddm", "vp", "tables")
"""Kinds of schedule whose shift and sigma may be chosen apart; those of IR-SDE and GOUB come of one process."""

LONGEST_PATH = 1001
"""Points; the path is recorded in every picture, and a record has an end."""


class Shape(NamedTuple):
    """The increments of a table: their mode, the power in P(x, power), and what they sum to, None: as the model's."""

    mode: str
    power: float
    total: float | None = None


def parse(word: str | None, option: str) -> Shape | None:
    """``MODE[:POWER]``, for beta also ``MODE:POWER:SUM``; None for ``model``. Raises ``UsageError``."""
    if word in (None, OWN):
        return None
    mode, *numbers = str(word).split(":")
    beta = option == "--beta-schedule"
    form = "MODE, MODE:POWER or MODE:POWER:SUM" if beta else "MODE or MODE:POWER"
    if mode not in MODES or len(numbers) > (2 if beta else 1):
        known = ", ".join((*MODES, OWN))
        raise UsageError(f"{option} {word}: write {form}, as decreased:0.3; known modes: {known}.")
    try:
        power, total = [float(number) for number in numbers] + [1.0, None][len(numbers) :]
    except ValueError:
        raise UsageError(f"{option} {word}: {':'.join(numbers)!r} is no number; write {form}.") from None
    if not 0 <= power <= 100:
        raise UsageError(f"{option} {word}: the power must be from 0 to 100, not {power:g}.")
    if total is not None and not 0 < total < math.inf:
        raise UsageError(f"{option} {word}: the sum, the variance of the noise at the start, must be above 0.")
    return Shape(mode, power, total)


def spelled(shape: Shape | None) -> str | None:
    """The word for a shape in full: two words for one shape make one recipe."""
    if shape is None:
        return None
    total = "" if shape.total is None else f":{shape.total!r}"
    return f"{shape.mode}:{shape.power!r}{total}"


def readjusted(denoiser: Denoiser, entry: Entry, sampler: str | None, alpha: str | None, beta: str | None) -> Denoiser:
    """``denoiser`` on other tables; ``alpha`` and ``beta`` are words, None leaves the model's own.

    ``sampler``: what will walk them, None: the card's. Raises ``UsageError`` for words that are none, and for a model
    that cannot be readjusted, saying why.
    """
    shapes = parse(alpha, "--alpha-schedule"), parse(beta, "--beta-schedule")
    if shapes == (None, None):
        return denoiser
    _check(entry, sampler or entry.sample.sampler, beta=shapes[1] is not None)
    return on_schedule(denoiser, _schedule(denoiser.schedule, entry, *shapes))


def _check(entry: Entry, sampler: str, *, beta: bool) -> None:
    kind, name = entry.schedule.get("kind"), entry.name
    if kind not in KINDS or sampler not in ON_ANY_TABLES:
        what = f"its schedule is {kind!r}" if kind not in KINDS else f"it samples with {sampler!r}"
        raise UsageError(
            f"Model {name!r} has no alpha and beta to choose: {what}; leave out --alpha-schedule and --beta-schedule."
        )
    if beta and entry.predict.time in TOLD_TIME:
        raise UsageError(
            f"The net of model {name!r} is told the time, not how much noise there is, and another beta would make "
            "that time a wrong one; leave out --beta-schedule."
        )


def _schedule(own: Schedule, entry: Entry, alpha: Shape | None, beta: Shape | None) -> Schedule:
    """The tables that are asked for, and the model's own for the rest, of its own family (or generation's)."""
    family = entry.schedule.get("family", "integer") if entry.schedule["kind"] == "rddm" else "linspace"
    total = float(own.sigma[-1]) ** 2 if beta is None or beta.total is None else beta.total
    first, second = alpha or Shape("average", 1.0), beta or Shape("average", 1.0)
    made = rddm_schedule(
        own.T,
        alpha=first.mode,
        beta=second.mode,
        alpha_power=first.power,
        beta_power=second.power,
        sum_scale=total,
        family=family,
    )
    return Schedule(made.shift if alpha else own.shift, made.sigma if beta else own.sigma, decay=own.decay)


# ------------------------------------------------------------------------------------------------ a path of one's own


def check_model(entry: Entry) -> None:
    """Raises ``UsageError`` for a model that cannot follow a path, saying why."""
    p = entry.predict
    if p.time != "shift_sigma" or p.output != "res_eps":
        raise UsageError(
            f"Model {entry.name!r} cannot follow a path: its net must say both residual and noise and be told where it "
            f"is (res_eps, shift_sigma), but it says {p.output} and is told {p.time}; leave out --path."
        )


def checked_path(path: Path, denoiser: Denoiser, entry: Entry) -> tuple[tuple[float, float], ...]:
    """``path`` as numbers. Raises ``UsageError`` for one that the model cannot follow, or that is none."""
    check_model(entry)
    if len(path) > LONGEST_PATH:
        raise UsageError(f"The path has {len(path)} points; the most are {LONGEST_PATH}.")
    try:
        points = tuple((float(shift), float(sigma)) for shift, sigma in path)
    except (TypeError, ValueError):
        raise UsageError("A path is a list of points, each two numbers: (shift, sigma).") from None
    try:
        check_path(denoiser.schedule, points)
    except ValueError as error:
        sentence = str(error)
        raise UsageError(f"{sentence[:1].upper()}{sentence[1:]}") from error
    return points


def read_path(text: str, name: str) -> tuple[tuple[float, float], ...]:
    """The points in a CSV file's ``text``: ``shift,sigma`` a line; a header and lines behind # are passed over.

    Raises ``UsageError`` naming the line.
    """
    points = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        words = [word.strip() for word in line.split(",")]
        if not points and words == ["shift", "sigma"]:
            continue
        try:
            shift, sigma = (float(word) for word in words)
        except ValueError:
            raise UsageError(
                f"{name}, line {number}: {line[:40]!r} is not two numbers; write shift,sigma, as 1,0.5."
            ) from None
        points.append((shift, sigma))
    return tuple(points)
