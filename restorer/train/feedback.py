"""What a run shows besides its words: curves at its end, and the trackers that people know from elsewhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL import Image

from restorer.errors import UsageError, unknown
from restorer.images.atomic import write_bytes
from restorer.plot import Points, line_chart
from restorer.train.checkpoint import LOG
from restorer.train.config import Config
from restorer.train.progress import Progress

CURVES = "curves.png"
POINTS = 300
"""So many means are drawn of the loss of many steps."""


def write_curves(run: Path) -> Path | None:
    """The loss and, where it was measured, the PSNR of the run's log as one picture; None where there is nothing."""
    with (run / LOG).open(encoding="utf-8", newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if not row.get("share")]
    losses = _means([(int(row["step"]), float(row["loss"])) for row in rows])
    scores = [(int(row["step"]), float(row["psnr"])) for row in rows if row["psnr"]]
    charts = [_chart("loss", losses, log_y=True), _chart("PSNR", scores)]
    drawn = [chart for chart in charts if chart is not None]
    if not drawn:
        return None
    sheet = Image.new("RGB", (drawn[0].width, sum(chart.height for chart in drawn)))
    top = 0
    for chart in drawn:
        sheet.paste(chart, (0, top))
        top += chart.height
    file = io.BytesIO()
    sheet.save(file, "PNG")
    write_bytes(run / CURVES, file.getvalue())
    return run / CURVES


def _chart(name: str, points: Points, *, log_y: bool = False) -> Image.Image | None:
    try:
        return line_chart({name: points}, **WORDS[name], x="step", size=(900, 420), log_y=log_y)
    except ValueError:  # no point that could be drawn
        return None


def _means(points: Sequence[tuple[int, float]]) -> Points:
    """Means of equal stretches of steps, at their last steps."""
    size = -(-len(points) // POINTS)
    stretches = (points[i : i + size] for i in range(0, len(points), size or 1))
    return [(stretch[-1][0], sum(loss for _, loss in stretch) / len(stretch)) for stretch in stretches]


def check_trackers(config: Config) -> None:
    """Raises ``UsageError`` for a word of ``train.log`` that is none, or whose program is not installed."""
    for name in config.train.log:
        if name not in TRACKERS:
            raise unknown("log", name, list(TRACKERS))
        wanted = TRACKERS[name]
        missing = [program for program in ("accelerate",) if wanted and find_spec(program) is None]
        missing += [] if not wanted or any(map(find_spec, wanted)) else [wanted[0]]
        if missing:
            raise UsageError(f"train: log {name}: {missing[0]} is not installed; pip install {missing[0]}.")


def tracked(course: Iterable[Progress], config: Config, run: Path, device: torch.device) -> Iterator[Progress]:
    """The course itself, told to the recipe's trackers on the way, by accelerate. log.csv is written in any case."""
    names = [name for name in config.train.log if TRACKERS[name]]
    if not names:
        yield from course
        return
    from accelerate import Accelerator

    trackers = Accelerator(log_with=names, project_dir=run, cpu=device.type == "cpu")
    trackers.init_trackers(config.name, {f"train.{key}": _plain(value) for key, value in asdict(config.train).items()})
    try:
        for now in course:
            told = {"loss": now.loss, "lr": now.lr, "seconds": now.seconds, "psnr": now.psnr, "share": now.share}
            trackers.log({key: value for key, value in told.items() if value is not None}, step=now.step)
            yield now
    finally:
        trackers.end_training()


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | float | str) else str(value)


WORDS = {
    "loss": {"title": "What the net is trained by", "y": "loss"},
    "PSNR": {"title": "Validation pictures, restored by the averaged weights", "y": "dB"},
}
"""Chart -> its title, and what its axis says."""

TRACKERS: dict[str, tuple[str, ...]] = {
    "csv": (),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
}
"""Name -> the packages of which one is needed; none for what restorer does itself."""
