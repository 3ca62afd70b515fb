"""A recipe and pictures that train in a second, and what a run left behind."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from restorer.train.checkpoint import LOG
from restorer.train.config import Config, read_config

RECIPE = """
name = "toy"
task = "derain"
method = "rddm"
net = { arch = "plain_unet", widths = [8, 8], depths = [1, 1] }
schedule = { kind = "rddm", sum_scale = 0.25 }
predict = { output = "res" }
sample = { sampler = "rddm", steps = 2 }
[data]
clean = ["clean"]
validation = "clean"
validation_pictures = 2
validation_crop = 32
patch_size = 16
[[data.damage]]
recipe = "rain"
strength = [0.5, 0.9]
[train]
steps = 8
batch_size = 2
lr = 1e-3
warmup = 2
val_every = 4
save_every = 4
workers = 0
"""


def toy(root: Path, *overrides: str) -> Config:
    return read_config(root / "train.toml", overrides)


def smooth_pictures(folder: Path, count: int, size: tuple[int, int] = (50, 40)) -> None:
    folder.mkdir(parents=True)
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]] / 50
    for i in range(count):
        picture = np.stack([rows, columns, 0.3 + 0.2 * np.sin((i + 2) * rows)], axis=-1) * 0.6
        Image.fromarray((picture * 255).clip(0, 255).astype("uint8")).save(folder / f"{i}.png")


def log_of(run: Path) -> list[dict[str, str]]:
    """The rows of a run's log, without the seconds, which differ."""
    with (run / LOG).open() as log:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(log)]


def same(first: dict, second: dict) -> bool:
    """Whether two state dicts, or parts of them, are equal to the bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second
