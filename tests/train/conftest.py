"""A toy to train: four smooth pictures, and a recipe beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toy_training import RECIPE, smooth_pictures, toy

from restorer.train.loop import train
from restorer.train.progress import Progress


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
