"""Windows against the whole: PSNR of both, and the step across the windows' edges against the step elsewhere.

    python benchmarks/tiles.py DATA [-m MODEL] [--tile SIDE] [--degrade RECIPE] [--strength S] [--steps N]

DATA: 512 x 512 pictures, of which each four make one of 1024 x 1024. The step is the mean absolute difference of
neighbouring pixels; a picture has edges of its own where windows end, so it is also told of the whole.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from restorer import Restorer
from restorer.degrade import degrade
from restorer.images import format_of, read
from restorer.metrics import psnr
from restorer.settings import Settings
from restorer.tiling import Tiling, snug_windows


def mosaics(data: Path, count: int) -> list[Tensor]:
    files = sorted(file for file in data.iterdir() if format_of(file))
    tiles = [read(file).pixels[..., :512, :512] for file in files[: 4 * count]]
    return [
        torch.cat([torch.cat(tiles[i : i + 2], 3), torch.cat(tiles[i + 2 : i + 4], 3)], 2)
        for i in range(0, 4 * count, 4)
    ]


def step_ratio(picture: Tensor, edges: set[int]) -> float:
    """Mean step across ``edges``, upright and level, over the mean step elsewhere."""
    across, elsewhere = [], []
    for v in (picture, picture.mT):
        steps = (v[..., 1:] - v[..., :-1]).abs().mean(dim=(0, 1, 2))
        at = torch.zeros(len(steps), dtype=torch.bool)
        at[[edge - 1 for edge in edges]] = True
        across.append(steps[at])
        elsewhere.append(steps[~at])
    return float(torch.cat(across).mean() / torch.cat(elsewhere).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-m", "--model", default="rddm-derain-tiny")
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--degrade", default="rain")
    parser.add_argument("--strength", type=float, default=0.5)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--pictures", type=int, default=2)
    options = parser.parse_args()
    restorer = Restorer.from_pretrained(options.model, dtype=options.dtype)
    tiling = Tiling(options.tile)
    multiple = restorer.entry.size.multiple
    over = snug_windows((1024, 1024), options.tile, tiling.shared(options.tile), multiple)
    starts = {left for _, left in over.corners}
    edges = {edge for left in starts for edge in (left, left + over.size[1])} - {0, 1024, 512}
    print(f"{restorer.entry.name} in {restorer.denoiser.dtype}: windows of {over.size[0]}, edges at {sorted(edges)}")
    for i, clean in enumerate(mosaics(options.data, options.pictures)):
        y = degrade(clean, options.degrade, strength=options.strength, rng=torch.Generator().manual_seed(i)).clamp(0, 1)
        whole, tiled = (restorer.restore(y, Settings(options.steps, tiling=t)) for t in (Tiling(0), tiling))
        scores = [psnr(v, clean) for v in (y, whole, tiled)]
        ratios = [step_ratio(v, edges) for v in (whole, tiled)]
        print(f"picture {i}: {scores[0]:.2f} dB; whole {scores[1]:.3f}, tiled {scores[2]:.3f}; ", end="")
        print(f"step across edges / elsewhere: whole {ratios[0]:.3f}, tiled {ratios[1]:.3f}", flush=True)


if __name__ == "__main__":
    main()
