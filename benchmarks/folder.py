"""A folder of pictures, by `restorer restore`, against the bare network on the same pixels.

    python benchmarks/folder.py DATA [-m MODEL] [--steps N] [--pictures N] [--side N] [--rounds N] [-b N]
        [--before CHECKOUT] [--device cuda] [--dtype bf16] [--quick] [--write [PAGE]]

DATA: clean pictures, of which crops are damaged as `restorer degrade` does: of many sizes, or with --side all of that
one, taken from pictures that are large enough. Both sides are measured in turn: the command's own seconds, without its
start (loading the model included), and the calls of the net that those pictures take, one picture at a time, with the
pixels in memory already. CHECKOUT: an older version of restorer, which takes its turn with steps of its own.

``--quick`` is a few small pictures. ``--write`` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from speed_page import PAGE, markdown, told
from turns import timed

from restorer import Restorer, images
from restorer.cli import machine
from restorer.cli.output import counted
from restorer.degrade import degrade
from restorer.device import dtype_name
from restorer.errors import RestorerError
from restorer.images import format_of, read
from restorer.images.peek import size_of
from restorer.sampling import pad
from restorer.settings import Settings

SIDES = (200, 640)
TOY = {"pictures": 3, "side": 16, "rounds": 1}


def fill(data: Path, folder: Path, count: int, side: int | None = None) -> list[Path]:
    """Damaged crops of ``data``; ``side``: of each of them, None: of many sizes."""
    files = sorted(file for file in data.rglob("*") if format_of(file) and _holds(file, side or 1))
    if not files:
        raise SystemExit(f"{data}: no pictures" + (f" of {side} x {side} pixels or more." if side else "."))
    draw = random.Random(0)
    made = []
    for i in range(count):
        pixels = read(draw.choice(files)).pixels
        height, width = (side or min(draw.randint(*SIDES), own) for own in pixels.shape[-2:])
        rng = torch.Generator().manual_seed(i)
        damaged = degrade(pixels[..., :height, :width], "rain", strength=0.5, rng=rng)
        made.append(folder / f"{i:03d}.{draw.choice(('jpg', 'png'))}")
        images.write(images.Picture(damaged.contiguous()), made[-1])
    return made


def _holds(file: Path, side: int) -> bool:
    """Whether a crop of that side can be cut from the picture."""
    size = size_of(file)
    return size is not None and min(size) >= side


def ready(restorer: Restorer, files: Sequence[Path]) -> list[torch.Tensor]:
    """The pictures as the net is shown them, on its device."""
    lo, hi = restorer.denoiser.bounds
    padded = (pad(lo + (hi - lo) * read(file).pixels, restorer.entry.size.multiple) for file in files)
    return [y.to(restorer.device, memory_format=torch.channels_last) for y in padded]


def bare(restorer: Restorer, pictures: Sequence[torch.Tensor], steps: int) -> float:
    def calls() -> None:
        with torch.inference_mode():
            for y in pictures:
                for t in range(steps):
                    restorer.denoiser(y, restorer.denoiser.schedule.T - t, y, y)

    return timed(calls, restorer.device)


def command(folder: Path, restorer: Restorer, options: argparse.Namespace, checkout: Path | None = None) -> float:
    """Seconds of the run, by this version or by that of ``checkout``."""
    with TemporaryDirectory() as out:
        words = [sys.executable, "-m", "restorer", "restore", str(folder), "-o", out, "-m", options.model, "--json"]
        words += ["--device", str(restorer.device), "--dtype", dtype_name(restorer.denoiser.dtype)]
        words += ["-b", str(options.batch_size)]
        words += ["--steps", str(options.steps)] if options.steps else []
        done = subprocess.run(words, capture_output=True, text=True, cwd=checkout)
    if done.returncode:
        raise SystemExit(f"restorer ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])["summary"]["seconds"]


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    try:
        restorer = Restorer.from_pretrained(options.model, device=options.device, dtype=options.dtype)
        compare(restorer, options)
    except RestorerError as error:
        raise SystemExit(str(error)) from error


def compare(restorer: Restorer, options: argparse.Namespace) -> None:
    """Take turns, and tell the table."""
    steps = restorer.settled(Settings(options.steps)).steps
    with TemporaryDirectory() as place:
        files = fill(options.data, Path(place), options.pictures, options.side)
        pictures = ready(restorer, files)
        bare(restorer, pictures[:5], steps)
        sides = {
            "restorer restore": lambda: command(Path(place), restorer, options),
            "the bare net": lambda: bare(restorer, pictures, steps),
        }
        if options.before:
            sides = {"restorer before": lambda: command(Path(place), restorer, options, options.before)} | sides
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(options.rounds):
            for name, run in sides.items():
                taken[name].append(run())
                print(f"{name} {taken[name][-1]:.1f} s", flush=True)
    pixels = sum(y.shape[-1] * y.shape[-2] for y in pictures)
    made = table(len(files), pixels, {name: statistics.median(seconds) for name, seconds in taken.items()})
    told(_heading(restorer, options, steps), made, options.write)


def table(count: int, pixels: int, seconds: dict[str, float]) -> str:
    """As Markdown, of the seconds of each side, the bare net the last."""
    net = seconds["the bare net"]
    return markdown(
        {
            "": list(seconds),
            "pictures a minute": [f"{60 * count / one:.1f}" for one in seconds.values()],
            "megapixels a second": [f"{pixels / 1e6 / one:.3f}" for one in seconds.values()],
            "part of the bare net's": [f"{100 * net / one:.1f} %" for one in seconds.values()],
        }
    )


def _heading(restorer: Restorer, options: argparse.Namespace, steps: int) -> str:
    side = options.side
    sizes = f"{side} x {side}" if side else f"{SIDES[0]} to {SIDES[1]} pixels a side"
    together = f", batch size {options.batch_size}" if options.batch_size > 1 else ""
    model = f"{restorer.entry.name}, {counted(steps, 'step')}, {dtype_name(restorer.denoiser.dtype)}{together}"
    return f"A folder of {counted(options.pictures, 'picture')} of {sizes}, {model}, {machine.line(restorer.device)}"


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-m", "--model", default="rddm-derain-tiny")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--side", type=int, help="Of every picture, by default many sizes.")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="An older version of restorer.")
    parser.add_argument("-b", "--batch-size", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--quick", action="store_true", help="A few small pictures.")
    parser.add_argument("--write", type=Path, nargs="?", const=PAGE, metavar="PAGE")
    options = parser.parse_args(words)
    if options.quick:
        vars(options).update(TOY)
    return options


if __name__ == "__main__":
    main()
