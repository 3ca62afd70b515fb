"""The table of a prior's card: zero-shot restoration of the centres of clean pictures, against the pseudo-inverse.

    python benchmarks/zeroshot.py DATA [-m MODEL] [--steps 20] [--eta 0.85] [--rows sr:4 denoise@25 ...] [--sets ...]

DATA holds eval_clean/<set>/. A row is OPERATOR[@SIGMA]; mask-random hides a fourth of the pixels, mask-text is lines of
writing. Picture i is measured with noise of seed i, and drawn with seed i. PSNR and SSIM over RGB of the 8-bit pictures
that would be written. "RMS / sigma" is how far the result lies from the noisy measurement, over the noise: 1 is right.
"colour" is Hasler and Süsstrunk's colourfulness of the result, and of the clean picture.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from restorer import Restorer
from restorer.cli.output import counted
from restorer.images import format_of, read
from restorer.metrics import psnr, ssim
from restorer.settings import Settings
from restorer.zeroshot import ZeroShot, check, consistency, pose, solve

SETS = ("Kodak24", "McMaster", "Set14", "Set5", "CBSD68_every5th")
ROWS = (
    *("sr:4", "mask-random", "mask-text", "gray", "blur:gauss:2", "cs:0.25"),
    *("sr:4@10", "mask-random@10", "gray@10", "blur:gauss:2@10", "cs:0.25@10", "denoise@25"),
)
SIDE = 256


class Scores(NamedTuple):
    """Of one picture: of the pseudo-inverse, of the result, of what takes y to be clean, and what else is told."""

    before: tuple[float, float]
    after: tuple[float, float]
    naive: tuple[float, float] | None
    rms: float
    colour: tuple[float, float]


def centres(data: Path, sets: tuple[str, ...], every: int) -> list[Tensor]:
    files = [file for name in sets for file in sorted((data / "eval_clean" / name).iterdir()) if format_of(file)]
    return [_centre(read(file).pixels) for file in files[::every]]


def _centre(x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    high, wide = (min(SIDE, side - side % 4) for side in (height, width))
    top, left = (height - high) // 2, (width - wide) // 2
    return x[..., top : top + high, left : left + wide]


def mask_of(name: str, x: Tensor, seed: int) -> Tensor | None:
    height, width = x.shape[-2:]
    if name == "mask-random":
        hidden = torch.rand(height, width, generator=torch.Generator().manual_seed(seed)) < 0.25
        return hidden.float().expand(1, 3, -1, -1)
    if name != "mask-text":
        return None
    sheet = Image.new("L", (width, height))
    font = ImageFont.load_default(22)
    for line, top in enumerate(range(6, height - 20, 34)):
        ImageDraw.Draw(sheet).text((4 + 9 * (line % 3), top), "Lorem ipsum dolor sit amet 1234", fill=255, font=font)
    return torch.tensor(list(sheet.getdata())).view(1, 1, height, width).gt(127).float().expand(-1, 3, -1, -1)


def colourfulness(x: Tensor) -> float:
    red, green, blue = (255 * x[0]).double()
    first, second = red - green, (red + green) / 2 - blue
    spread = (first.var() + second.var()).sqrt()
    return float(spread + 0.3 * (first.mean() ** 2 + second.mean() ** 2).sqrt())


def scores(x: Tensor, clean: Tensor) -> tuple[float, float]:
    x = (x.clamp(0, 1) * 255).round() / 255
    return psnr(x, clean), ssim(x, clean)


def measure(restorer: Restorer, row: str, clean: Tensor, seed: int, options: argparse.Namespace) -> Scores:
    word, _, sigma = row.partition("@")
    mask = mask_of(word, clean, seed)
    word = "mask" if mask is not None else word
    told = {"method": options.method, "travel_length": options.travel_length, "travel_repeat": options.travel_repeat}
    zero = ZeroShot(word, sigma=float(sigma or 0), simulate=True, tile=options.tile, **told)
    given = Settings(options.steps, options.eta, seed, options.times)
    settings = check(restorer, given, zero, masked=mask is not None)
    bounds = restorer.denoiser.bounds
    lo, hi = bounds
    problem = pose(zero, clean, mask, bounds, seed, torch.zeros(()))
    after = solve(restorer, problem, settings, zero)
    naive = None
    if zero.sigma and not options.no_naive:
        naive = scores(solve(restorer, problem._replace(sigma_y=0.0), settings, zero), clean)
    before = scores((problem.op.pinv(problem.y) - lo) / (hi - lo), clean)
    rms = consistency(problem, after, bounds) / zero.sigma if zero.sigma else consistency(problem, after, bounds)
    return Scores(before, scores(after, clean), naive, rms, (colourfulness(after), colourfulness(clean)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-m", "--model", default="ddpm-natural-tiny")
    parser.add_argument("--rows", nargs="+", default=ROWS)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--every", type=int, default=1, help="Only every so many pictures.")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--eta", type=float)
    parser.add_argument("--times")
    parser.add_argument("--method", default="ddnm")
    parser.add_argument("--travel-length", type=int, default=1)
    parser.add_argument("--travel-repeat", type=int, default=1)
    parser.add_argument("--tile", type=int)
    parser.add_argument("--no-naive", action="store_true", help="Leave out DDNM told that y is clean.")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    restorer = Restorer.from_pretrained(options.model, device=options.device, dtype=options.dtype)
    pictures = centres(options.data, options.sets, options.every)
    print(f"{restorer.entry.name}, {restorer.denoiser.dtype}, {counted(len(pictures), 'picture')}, {vars(options)}\n")
    print("| damage | sigma | A†y | result | y taken to be clean | RMS / sigma | colour: result, clean | s each |")
    print("|---" * 8 + "|")
    for row in options.rows:
        started = time.perf_counter()
        found = [measure(restorer, row, clean, i, options) for i, clean in enumerate(pictures)]
        seconds = (time.perf_counter() - started) / len(found)
        cells = [_pair([one.before for one in found]), _pair([one.after for one in found])]
        cells.append("" if found[0].naive is None else _pair([one.naive for one in found]))
        colour = ", ".join(f"{fmean(column):.1f}" for column in zip(*(one.colour for one in found), strict=True))
        word, _, sigma = row.partition("@")
        rms = f"{fmean(one.rms for one in found):.2f}" if sigma else ""
        print(f"| {word} | {sigma or 0} | {' | '.join(cells)} | {rms} | {colour} | {seconds:.1f} |", flush=True)


def _pair(values: list[tuple[float, float]]) -> str:
    decibel, likeness = (fmean(column) for column in zip(*values, strict=True))
    return f"{decibel:.2f} / {likeness:.4f}"


if __name__ == "__main__":
    main()
