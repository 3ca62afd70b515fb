"""What a run shows on its way and at its end: sheets, curves, trackers."""

from __future__ import annotations

import sys
import types
from typing import ClassVar

import pytest
import torch
from toy_training import toy

from restorer.errors import UsageError
from restorer.images import read
from restorer.train import feedback
from restorer.train.checkpoint import LOG
from restorer.train.feedback import CURVES, tracked, write_curves
from restorer.train.loop import train
from restorer.train.score import SAMPLES

CPU = torch.device("cpu")


def test_a_sheet_shows_degraded_restored_and_clean(root, go):
    go("run")
    sheets = sorted((root / "run" / SAMPLES).iterdir())
    assert [sheet.name for sheet in sheets] == ["step-00000004.png", "step-00000008.png"]
    assert read(sheets[0]).size == (3 * 32 + 2 * 8, 2 * 32 + 8)
    assert not torch.equal(read(sheets[0]).pixels, read(sheets[1]).pixels)


def test_loss_and_psnr_are_drawn_at_the_end(root, go):
    go("run")
    assert read(root / "run" / CURVES).size == (900, 840)
    go("blind", "data.validation_pictures=0")
    assert read(root / "blind" / CURVES).size == (900, 420)
    assert not (root / "blind" / SAMPLES).exists()


def test_many_steps_are_drawn_as_means(root):
    header = "step,steps,loss,lr,psnr,seconds\n"
    (root / LOG).write_text(header + "".join(f"{i},9000,{1 / i},1e-3,,0.1\n" for i in range(1, 9001)))
    assert write_curves(root) == root / CURVES
    assert len(feedback._means([(i, 1.0) for i in range(9000)])) <= feedback.POINTS
    (root / LOG).write_text(header)
    assert write_curves(root) is None


class Accelerator:
    """Stands in for accelerate's: keeps what it is told."""

    made: ClassVar[list[Accelerator]] = []

    def __init__(self, **words):
        self.words, self.told, self.ended = words, [], False
        Accelerator.made.append(self)

    def init_trackers(self, name, config):
        self.name, self.config = name, config

    def log(self, values, step):
        self.told.append((step, values))

    def end_training(self):
        self.ended = True


def test_trackers_are_told_every_step_by_accelerate(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", types.SimpleNamespace(Accelerator=Accelerator))
    monkeypatch.setattr(feedback, "find_spec", lambda name: object())
    config = toy(root, 'train.log=["csv", "tensorboard"]')
    steps = list(tracked(train(config, root, root / "run", CPU), config, root / "run", CPU))
    [trackers] = Accelerator.made
    assert trackers.words == {"log_with": ["tensorboard"], "project_dir": root / "run", "cpu": True}
    assert trackers.name == "toy" and trackers.config["train.batch_size"] == 2 and trackers.ended
    assert trackers.config["train.betas"] == "(0.9, 0.999)"
    assert [step for step, _ in trackers.told] == list(range(1, 9))
    assert trackers.told[0][1].keys() == {"loss", "lr", "seconds"} and trackers.told[3][1]["psnr"] == steps[3].psnr


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        ("tensorbord", "did you mean 'tensorboard'"),
        ("wandb", "log wandb: wandb is not installed; pip install wandb"),
    ],
)
def test_a_tracker_that_is_not_there_is_a_sentence_before_training(root, go, monkeypatch, log, sentence):
    monkeypatch.setattr(feedback, "find_spec", lambda name: None if name == "wandb" else object())
    with pytest.raises(UsageError, match=sentence):
        go("run", f'train.log=["{log}"]')
    assert not (root / "run").exists()
