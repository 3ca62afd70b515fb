"""How the time of a restoration grows with the picture, with the steps, and with the pictures of a batch.

    python benchmarks/cost.py [--device cuda] [--dtype bf16] [-m MODEL] [--megapixels N ...] [--rounds 5] [--quick]
        [--write [PAGE]]

Whole restorations are timed, from pixels to pixels in memory, as `Restorer.restore` makes them and as the tool makes a
batch: windows, noise that is drawn on the CPU, checks and clamping are in them. The rows of a table take turns, A B C
A B C, after a round that warms up. A column tells microseconds for each pixel of each picture and each step, and the
next how many times those of the row that others are measured by: 1 megapixel, 1 step, 1 picture. Under the megapixels
stands by how much the time of a pixel is off that of 1 megapixel in larger pictures, at most.

48 megapixels take some 8 GB of main memory; `--megapixels` names others, of which the first is measured by where 1 is
not among them. ``--quick`` is toy sizes. ``--write`` puts the tables into docs/performance.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from drawn import drawn, sides
from speed_page import PAGE, markdown, told
from turns import Comparison, Turn, take

from restorer import Restorer
from restorer.cli import machine
from restorer.device import dtype_name
from restorer.errors import RestorerError
from restorer.settings import Settings
from restorer.tiling import Tiling
from restorer.work import restoring

MEGAPIXELS = (0.25, 0.5, 1.0, 2.0, 4.0, 12.0, 24.0, 48.0)
LIMIT = 0.15
"""Time a pixel is called steady where it is off by no larger part."""
FULL = {"steps": (1, 2, 5, 10, 20, 50, 100), "batch": (1, 2, 4, 8, 16), "side": 256}
TOY = {"steps": (1, 2), "batch": (1, 2), "side": 32, "megapixels": (0.002, 0.004), "rounds": 1}


@dataclass(frozen=True)
class Row:
    """One amount of ``work``: ``call`` does it, which takes so many pixels, of all pictures, through so many steps."""

    work: float
    call: Callable[[], object]
    pixels: int
    steps: int = 1


@dataclass(frozen=True)
class Series:
    """Rows of growing work; ``unit``: the head of their column. ``steady``: whether it is told how steady time is."""

    heading: str
    unit: str
    rows: Sequence[Row]
    steady: bool = False


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    try:
        restorer = Restorer.from_pretrained(options.model, device=options.device, dtype=options.dtype)
        for series in (by_pixels(restorer, options), by_steps(restorer, options), by_batch(restorer, options)):
            told(_heading(series, restorer), measured(series, restorer.device, options.rounds), options.write)
    except RestorerError as error:
        raise SystemExit(str(error)) from error


def by_pixels(restorer: Restorer, options: argparse.Namespace) -> Series:
    """One picture of each size, in one step."""
    rows = []
    for megapixels in options.megapixels:
        y = drawn(*sides(megapixels))
        rows.append(Row(megapixels, lambda y=y: restorer.restore(y, Settings(steps=1)), y[0, 0].numel()))
    return Series("Cost of megapixels, 1 step", "megapixels", rows, steady=True)


def by_steps(restorer: Restorer, options: argparse.Namespace) -> Series:
    """One small picture in more and more steps."""
    side = options.side
    y = drawn(side, side)
    calls = {steps: lambda steps=steps: restorer.restore(y, Settings(steps=steps)) for steps in options.steps}
    rows = [Row(steps, call, side**2, steps) for steps, call in calls.items()]
    return Series(f"Cost of steps, {side} x {side}", "steps", rows)


def by_batch(restorer: Restorer, options: argparse.Namespace) -> Series:
    """More and more pictures at once, in one step each, as ``restorer restore --batch-size`` has them made."""
    side, rows = options.side, []
    for count in options.batch:
        y = torch.cat([drawn(side, side, seed) for seed in range(count)])
        work = restoring(restorer, Settings(steps=1, tiling=Tiling(batch=count)))
        rows.append(Row(count, lambda y=y, work=work: work.apply(y, lambda done: None), count * side**2))
    return Series(f"Cost of a batch, 1 step, pictures of {side} x {side}", "pictures", rows)


def measured(series: Series, device: torch.device, rounds: int) -> str:
    """The table, and what is told under it."""
    turns = [Turn(f"{row.work:g}", row.call) for row in series.rows]
    found = take(Comparison(series.heading, turns, rounds), device, warmup=1)
    return table(series, [median(taken.seconds) for taken in found])


def table(series: Series, seconds: Sequence[float]) -> str:
    """As Markdown, of a median of each row."""
    works = [row.work for row in series.rows]
    each = [took / (row.pixels * row.steps) for row, took in zip(series.rows, seconds, strict=True)]
    times = relative(works, each)
    columns = {
        series.unit: [f"{work:g}" for work in works],
        "median, s": [f"{took:.4f}" for took in seconds],
        "µs a pixel and step": [f"{1e6 * one:.4f}" for one in each],
        f"times that of {base(works):g}": [f"{one:.2f}" for one in times],
    }
    under = f"\n\n{sentence(works, times)}" if series.steady else ""
    return markdown(columns) + under


def base(works: Sequence[float]) -> float:
    """The work that others are measured by: 1, or the first there is."""
    return 1 if 1 in works else works[0]


def relative(works: Sequence[float], costs: Sequence[float]) -> list[float]:
    """How many times the cost of the ``base`` each one is."""
    own = costs[list(works).index(base(works))]
    return [cost / own for cost in costs]


def deviation(works: Sequence[float], times: Sequence[float]) -> tuple[float, float]:
    """(work, by which part it is off) of the row that is furthest off the base, among those of as much work or more."""
    larger = [(work, times - 1) for work, times in zip(works, times, strict=True) if work >= base(works)]
    return max(larger, key=lambda one: abs(one[1]))


def sentence(works: Sequence[float], times: Sequence[float]) -> str:
    """What is under the table of megapixels."""
    at, off = deviation(works, times)
    verdict = "within" if abs(off) <= LIMIT else "beyond"
    own = f"{base(works):g}"
    return (
        f"From {own} MP up, the time a pixel is off that of {own} MP by {100 * off:+.1f} % at most, at {at:g} MP: "
        f"{verdict} {100 * LIMIT:.0f} %."
    )


def _heading(series: Series, restorer: Restorer) -> str:
    dtype = dtype_name(restorer.denoiser.dtype)
    return f"{series.heading}, {restorer.entry.name}, {dtype}, {machine.line(restorer.device)}"


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("-m", "--model", default="rddm-derain-tiny")
    parser.add_argument("--megapixels", type=float, nargs="+", default=MEGAPIXELS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="Toy sizes, instead of all these numbers.")
    parser.add_argument("--write", type=Path, nargs="?", const=PAGE, metavar="PAGE")
    options = parser.parse_args(words)
    vars(options).update(FULL)
    if options.quick:
        vars(options).update(TOY)
    return options


if __name__ == "__main__":
    main()
