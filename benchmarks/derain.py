"""The deraining table of a model card: mean PSNR before and after, on synthetic rain and on pairs it never saw.

    python benchmarks/derain.py DATA [-m MODEL] [--steps N] [--seed N] [--strength S ...]

DATA holds eval_clean/{Kodak24,McMaster,Set14} (clean pictures; rain is made here, picture i with seed i) and
eval_pairs/derain_*/{input,target}. PSNR over RGB, of the 8-bit pictures that would be written.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from restorer import Restorer
from restorer.cli.output import counted
from restorer.degrade import degrade
from restorer.images import format_of, read
from restorer.metrics import psnr
from restorer.settings import Settings

CLEAN = ("Kodak24", "McMaster", "Set14")
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
PAIRS = ("derain_Rain100L", "derain_Rain100H", "derain_Rain1400val")


def synthetic(data: Path, strength: float) -> Iterator[tuple[Tensor, Tensor]]:
    files = [file for name in CLEAN for file in _pictures(data / "eval_clean" / name)]
    for i, file in enumerate(files):
        clean = read(file).pixels
        yield clean, levels(degrade(clean, "rain", strength=strength, rng=torch.Generator().manual_seed(i)))


def pairs(data: Path, name: str) -> Iterator[tuple[Tensor, Tensor]]:
    for file in _pictures(data / "eval_pairs" / name / "input"):
        yield read(file.parents[1] / "target" / file.name).pixels, read(file).pixels


def levels(x: Tensor) -> Tensor:
    return (x * 255).round() / 255


def row(name: str, restorer: Restorer, settings: Settings, pictures: Iterator[tuple[Tensor, Tensor]]) -> str:
    before, after, started = [], [], time.perf_counter()
    for clean, rainy in pictures:
        before.append(psnr(rainy, clean))
        after.append(psnr(levels(restorer.restore(rainy, settings)), clean))
    count = len(before)
    was, now = sum(before) / count, sum(after) / count
    seconds = (time.perf_counter() - started) / count
    return f"| {name} | {count} | {was:.2f} | {now:.2f} | {now - was:+.2f} | {seconds:.2f} |"


def _pictures(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if format_of(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-m", "--model", default="rddm-derain-tiny")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--strength", type=float, nargs="+", default=STRENGTHS)
    options = parser.parse_args()
    restorer = Restorer.from_pretrained(options.model, dtype=options.dtype)
    settings = restorer.settled(Settings(options.steps, None, options.seed))
    print(
        f"{restorer.entry.name}, {counted(settings.steps, 'step')}, seed {settings.seed}, {restorer.denoiser.dtype}\n"
    )
    print("| pictures | n | rainy, dB | restored, dB | gain | s each |\n|---|---|---|---|---|---|")
    for strength in options.strength:
        name = f"{', '.join(CLEAN)}; rain {strength}"
        print(row(name, restorer, settings, synthetic(options.data, strength)), flush=True)
    for name in PAIRS:
        print(row(name, restorer, settings, pairs(options.data, name)), flush=True)


if __name__ == "__main__":
    main()
