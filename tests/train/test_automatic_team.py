"""Two processes find out what the net says as one does with the batches of both, and stop and go on as it does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_automatic import CPU, MILD, QUICK, recipe, root, rows, run  # noqa: F401  one is a fixture
from test_team import LAUNCH

from restorer.train.checkpoint import STATE, load_checkpoint
from restorer.train.config import read_config
from restorer.train.loop import train

SIDES = {"lq": "res", "white": "eps"}
"""Folder of degraded pictures -> what is chosen of them."""
COURSE = ("train.lr=3.2e-3", "train.steps=8", "train.save_every=2")
STOPPED = 3
"""Steps after which a run that is to choose is left, once."""


def both(folder: Path) -> None:
    """What each process does: a run of either outcome, and one that is left while it chooses and goes on."""
    told = {}
    for side in SIDES:
        config = read_config(folder / "train.toml", json.loads((folder / f"{side}.json").read_text()))
        told[side] = [(p.step, p.share, p.chosen) for p in run(config, folder, f"two-{side}")]
    parts = train(config, folder, folder / "two-parts", CPU)
    for _ in range(STOPPED):
        next(parts)
    parts.close()
    told["parts"] = [(p.step, p.share, p.chosen) for p in run(config, folder, "two-parts")]
    (folder / f"told-{os.environ['RANK']}.json").write_text(json.dumps(told))


@pytest.fixture
def launched(root):  # noqa: F811
    for side in SIDES:
        overrides = [*QUICK, *MILD, f"data.lq={side}", *COURSE, "train.batch_size=1"]
        (root / f"{side}.json").write_text(json.dumps(overrides))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    words = [*LAUNCH, __file__, str(root)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(words, env=environment, start_new_session=True, **streams) as process:
        try:
            out, _ = process.communicate(timeout=120)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, out
    return root


def test_two_processes_choose_what_one_does_and_go_on_where_they_stopped(launched):
    first, second = (json.loads((launched / f"told-{i}.json").read_text()) for i in range(2))
    assert first == second
    for side, output in SIDES.items():
        config = recipe(launched, f"data.lq={side}", *COURSE)
        one, two = run(config, launched, f"one-{side}"), first[side]
        assert [(p.step, p.chosen) for p in one] == [(step, chosen) for step, _, chosen in two]
        assert one[-1].chosen == output and sum(p.share is not None for p in one) > STOPPED
        shares = [p.share for p in one if p.share is not None]
        assert [share for _, share, _ in two if share is not None] == pytest.approx(shares, rel=1e-5)
        for own, told in zip(rows(launched, f"one-{side}"), rows(launched, f"two-{side}"), strict=True):
            assert float(own["loss"]) == pytest.approx(float(told["loss"]), rel=1e-4)
        whole, halves = (load_checkpoint(launched / f"{name}-{side}" / STATE) for name in ("one", "two"))
        assert whole.chosen == halves.chosen == output and whole.items == halves.items
        for key in whole.ema:
            torch.testing.assert_close(halves.ema[key], whole.ema[key], rtol=1e-3, atol=1e-5)  # Adam at 3.2e-3
    assert rows(launched, "two-parts") == rows(launched, f"two-{side}")
    whole, parts = (load_checkpoint(launched / name / STATE) for name in (f"two-{side}", "two-parts"))
    assert all(torch.equal(whole.ema[key], parts.ema[key]) for key in whole.ema)


if __name__ == "__main__":
    both(Path(sys.argv[1]))
