"""The denoising table of a model card: mean PSNR and SSIM of every sampler, on clean pictures with Gaussian noise.

    python benchmarks/denoise.py DATA [-m MODEL] [--sigma 25 50] [--runs irsde-ode:100 ode-2:5 ...] [--sets Kodak24 ...]

DATA holds eval_clean/<set>/. Picture i of a set has noise of seed i, not cut off at 0 and 1 and not rounded, as the
field does; its level is told to the model. PSNR and SSIM over RGB, of the 8-bit pictures that would be written. Grey
sets are measured as grey pictures of three equal channels with noise of their own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from restorer import Restorer
from restorer.images import format_of, read
from restorer.metrics import psnr, ssim
from restorer.settings import Settings

SETS = ("Kodak24", "McMaster", "Set14", "Set5", "CBSD68_every5th")
RUNS = ("irsde-ode:100", "ode:100", "ode-2:1", "ode-2:2", "ode-2:5", "ode-2:10", "ode-2:20", "ode-3:10", "sde-2:10")


def noisy(data: Path, name: str, sigma: float) -> Iterator[tuple[Tensor, Tensor]]:
    for i, file in enumerate(sorted(file for file in (data / "eval_clean" / name).iterdir() if format_of(file))):
        clean = read(file).pixels
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(i))
        yield clean, clean + sigma / 255 * noise


def levels(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round() / 255


def scores(pairs: Iterator[tuple[Tensor, Tensor]]) -> list[tuple[float, float]]:
    return [(psnr(levels(restored), clean), ssim(levels(restored), clean)) for clean, restored in pairs]


def mean(values: list[tuple[float, float]]) -> tuple[float, float]:
    return tuple(sum(column) / len(values) for column in zip(*values, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-m", "--model", default="irsde-denoise-tiny")
    parser.add_argument("--sigma", type=float, nargs="+", default=(25.0, 50.0))
    parser.add_argument("--runs", nargs="+", default=RUNS, help="SAMPLER:STEPS")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--guess", action="store_true", help="Do not tell the model the level.")
    options = parser.parse_args()
    restorer = Restorer.from_pretrained(options.model, device="cpu", dtype=options.dtype)
    print(f"{restorer.entry.name}, {restorer.denoiser.dtype}, level {'guessed' if options.guess else 'told'}\n")
    print("| sigma | run | " + " | ".join(options.sets) + " | all | s each |")
    print("|---" * (len(options.sets) + 4) + "|")
    for sigma in options.sigma:
        before = [scores(noisy(options.data, name, sigma)) for name in options.sets]
        print(row(f"{sigma:g}", "noisy", before, 0.0), flush=True)
        for run in options.runs:
            sampler, steps = run.split(":")
            settings = Settings(int(steps), sampler=sampler, sigma=None if options.guess else sigma)
            started = time.perf_counter()
            after = [
                scores((clean, restorer.restore(y, settings)) for clean, y in noisy(options.data, name, sigma))
                for name in options.sets
            ]
            seconds = (time.perf_counter() - started) / sum(map(len, after))
            print(row(f"{sigma:g}", run, after, seconds), flush=True)


def row(sigma: str, run: str, sets: list[list[tuple[float, float]]], seconds: float) -> str:
    means = [mean(values) for values in sets] + [mean([value for values in sets for value in values])]
    cells = " | ".join(f"{decibel:.2f} / {likeness:.4f}" for decibel, likeness in means)
    return f"| {sigma} | {run} | {cells} | {seconds:.2f} |"


if __name__ == "__main__":
    main()
