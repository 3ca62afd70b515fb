"""A folder of pictures of mixed sizes, by `restorer restore`, against the bare network on the same pixels.

    python benchmarks/folder.py DATA [-m MODEL] [--steps N] [--pictures N] [--rounds N] [-b N]

DATA: clean pictures, of which crops of many sizes are damaged as `restorer degrade` does. Both sides are measured in
turn: the command's own seconds, without its start (loading the model included), and the calls of the net that those
pictures take, with the pixels in memory already.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from restorer import Restorer, images
from restorer.degrade import degrade
from restorer.images import format_of, read
from restorer.sampling import pad
from restorer.settings import Settings

SIDES = (200, 640)


def fill(data: Path, folder: Path, count: int) -> list[Path]:
    files = sorted(file for file in data.rglob("*") if format_of(file))
    draw = random.Random(0)
    made = []
    for i in range(count):
        pixels = read(draw.choice(files)).pixels
        height, width = (min(draw.randint(*SIDES), side) for side in pixels.shape[-2:])
        rng = torch.Generator().manual_seed(i)
        damaged = degrade(pixels[..., :height, :width], "rain", strength=0.5, rng=rng)
        made.append(folder / f"{i:03d}.{draw.choice(('jpg', 'png'))}")
        images.write(images.Picture(damaged.contiguous()), made[-1])
    return made


def bare(restorer: Restorer, pictures: list[torch.Tensor], steps: int) -> float:
    started = time.perf_counter()
    with torch.inference_mode():
        for y in pictures:
            for t in range(steps):
                restorer.denoiser(y, restorer.denoiser.schedule.T - t, y, y)
    return time.perf_counter() - started


def command(folder: Path, model: str, batch: int, steps: int) -> float:
    with TemporaryDirectory() as out:
        words = [sys.executable, "-m", "restorer", "restore", str(folder), "-o", out, "-m", model, "--json"]
        words += ["--steps", str(steps)]
        done = subprocess.run([*words, "-b", str(batch)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])["summary"]["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-m", "--model", default="rddm-derain-tiny")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("-b", "--batch-size", type=int, default=1)
    options = parser.parse_args()
    restorer = Restorer.from_pretrained(options.model)
    steps = restorer.settled(Settings(options.steps)).steps
    with TemporaryDirectory() as place:
        files = fill(options.data, Path(place), options.pictures)
        lo, hi = restorer.denoiser.bounds
        multiple = restorer.entry.size.multiple
        pictures = [pad(lo + (hi - lo) * read(file).pixels, multiple) for file in files]
        pixels = sum(y.shape[-1] * y.shape[-2] for y in pictures)
        bare(restorer, pictures[:5], steps)
        nets, runs = [], []
        for _ in range(options.rounds):
            nets.append(bare(restorer, pictures, steps))
            runs.append(command(Path(place), options.model, options.batch_size, steps))
            print(f"net {nets[-1]:.1f} s, command {runs[-1]:.1f} s", flush=True)
    net, run = statistics.median(nets), statistics.median(runs)
    print(
        f"{len(files)} pictures, {pixels / 1e6:.1f} megapixels, {steps} steps: net {pixels / net / 1e6:.3f} MP/s, ",
        end="",
    )
    print(f"command {pixels / run / 1e6:.3f} MP/s: {100 * net / run:.1f} % of the bare network's throughput")


if __name__ == "__main__":
    main()
