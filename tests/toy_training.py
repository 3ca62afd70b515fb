"""A recipe and pictures that train in a second, and what a run left behind; ``root`` and ``go`` are fixtures."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restorer.train.checkpoint import LOG
from restorer.train.config import Config, read_config
from restorer.train.loop import train
from restorer.train.progress import Progress

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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four smooth pictures in ``clean``, and the recipe beside them."""
    smooth_pictures(tmp_path / "clean", 4)
    (tmp_path / "train.toml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def go(root: Path) -> Callable[..., list[Progress]]:
    """Train the recipe, with overrides, in the folder of that name to its end."""

    def run(name: str, *overrides: str, resume: bool | Path = True) -> list[Progress]:
        return list(train(toy(root, *overrides), root, root / name, torch.device("cpu"), resume=resume))

    return run


def toy(root: Path, *overrides: str) -> Config:
    return read_config(root / "train.toml", overrides)


def smooth_pictures(folder: Path, count: int, size: tuple[int, int] = (50, 40)) -> None:
    folder.mkdir(parents=True)
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]] / 50
    for i in range(count):
        picture = np.stack([rows, columns, 0.3 + 0.2 * np.sin((i + 2) * rows)], axis=-1) * 0.6
        Image.fromarray((picture * 255).clip(0, 255).astype("uint8")).save(folder / f"{i}.png")


def log_of(run: Path, name: str = LOG) -> list[dict[str, str]]:
    """The rows of a run's log, without the seconds, which differ."""
    with (run / name).open() as log:
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
