"""Two processes that accelerate launches learn what one learns of the batches of both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch
from toy_training import log_of

from restorer.errors import UsageError
from restorer.train.checkpoint import BEST, MODEL, OLDER, STATE, load_checkpoint
from restorer.train.team import Alone, gather

LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
LAUNCH += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]


def launch(root, name, *words):
    """Train on the CPU in two processes; the launcher's, and what they wrote on both streams."""
    told = ["-m", "restorer", "train", str(root), "-c", str(root / "train.toml"), "-o", str(root / name), "-d", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*LAUNCH, *told, *words], env=environment, start_new_session=True, **streams) as process:
        try:
            return process, *process.communicate(timeout=120)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # the launcher's own processes too


def test_two_processes_equal_one_with_the_batches_of_both(root, go):
    more = ("train.mixed_precision=no", "data.validation_pictures=3", "train.log=['csv']")
    words = [word for override in more for word in ("--set", override)]
    process, out, err = launch(root, "two", "--batch-size", "1", *words)
    assert process.returncode == 0, err
    assert out == f"{root / 'two' / MODEL}\n" and err.count("Done, best psnr") == 1
    go("one", *more)
    for one, two in zip(log_of(root / "one"), log_of(root / "two"), strict=True):
        assert one["step"] == two["step"] and one["lr"] == two["lr"]
        assert float(one["loss"]) == pytest.approx(float(two["loss"]), rel=1e-5)
        if one["psnr"]:
            assert float(one["psnr"]) == pytest.approx(float(two["psnr"]), rel=1e-5)
    one, two = (load_checkpoint(root / name / STATE) for name in ("one", "two"))
    assert one.items == two.items == 16
    for key in one.ema:
        torch.testing.assert_close(two.ema[key], one.ema[key], rtol=1e-4, atol=1e-6)
    assert (root / "two" / BEST).is_dir() and (root / "two" / OLDER).is_dir()


def test_batches_of_a_step_may_come_one_after_the_other(root, go):
    whole, parts = go("whole", "train.batch_size=4"), go("parts", "train.batch_size=2", "train.grad_accum=2")
    assert [now.loss for now in parts] == pytest.approx([now.loss for now in whole], rel=1e-5)
    one, two = (load_checkpoint(root / name / STATE) for name in ("whole", "parts"))
    assert one.items == two.items == 32
    for key in one.ema:
        torch.testing.assert_close(two.ema[key], one.ema[key], rtol=1e-4, atol=1e-6)


def test_one_process_needs_no_accelerate(root, go, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert isinstance(gather(torch.device("cpu")), Alone) and len(go("run", "train.steps=1")) == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        UsageError, match=r"accelerate, which joins them, is not installed: pip install 'restorer\[train\]'"
    ):
        go("two")
