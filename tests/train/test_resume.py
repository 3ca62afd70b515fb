"""A run that stops, however it is stopped, goes on as if it had not; and what it keeps."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy_training import log_of, same, toy

from restorer.errors import ModelError, UsageError
from restorer.load import find
from restorer.train import loop, progress
from restorer.train.checkpoint import BEST, BEST_STATE, MODEL, OLDER, STATE, load_checkpoint
from restorer.train.loop import train
from restorer.train.score import Score

CPU = torch.device("cpu")
WAYS = [
    (),
    ("train.grad_accum=2", "train.optimiser=radam"),
    ("train.optimiser=lion", "train.ema_every=3", "data.rotate=true"),
    ("train.mixed_precision=fp16", "train.workers=1"),
    ("train.mixed_precision=bf16", "train.optimiser=adam", "train.lr_schedule=step", "train.lr_steps=[3, 5]"),
]


def equal(first: Path, second: Path) -> bool:
    """Whether two checkpoints are equal in everything that a run goes on from."""
    return same(vars(load_checkpoint(first)), vars(load_checkpoint(second)))


@pytest.mark.parametrize("more", WAYS)
def test_a_run_that_is_left_goes_on_to_the_same_bits(root, go, more):
    go("whole", *more)
    parts = train(toy(root, *more), root, root / "parts", CPU)
    for _ in range(6):
        next(parts)
    parts.close()
    assert [now.step for now in go("parts", *more)] == [5, 6, 7, 8]
    assert equal(root / "whole" / STATE, root / "parts" / STATE)
    assert log_of(root / "whole") == log_of(root / "parts")


def test_a_process_that_is_killed_goes_on_to_the_same_bits(root, go):
    go("whole", "train.save_every=2")
    words = [sys.executable, "-m", "restorer", "train", str(root), "-c", str(root / "train.toml"), "-d", "cpu"]
    words += ["-o", str(root / "parts"), "--save-every", "2", "--set", "train.val_every=1", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            if json.loads(line).get("step") == 5:
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert load_checkpoint(root / "parts" / STATE).step in range(4, 8)
    go("parts", "train.save_every=2")
    assert equal(root / "whole" / STATE, root / "parts" / STATE)


def test_a_checkpoint_may_be_named(root, go):
    whole = go("whole", "train.save_every=2")
    older = root / "whole" / OLDER / "step-00000006.pt"
    assert [now.loss for now in go("other", resume=older)] == [now.loss for now in whole[6:]]
    assert equal(root / "whole" / STATE, root / "other" / STATE)
    assert go("third", resume=root / "whole") == []
    with pytest.raises(UsageError, match=r"7\.pt: no such checkpoint"):
        go("other", resume=older.with_name("7.pt"))


def test_the_last_few_checkpoints_are_kept_and_the_best(root, go):
    go("run", "train.save_every=1", "train.keep=2")
    assert sorted(file.name for file in (root / "run" / OLDER).iterdir()) == [
        f"step-0000000{n}.pt" for n in (6, 7, 8)
    ]  # the last one under its number too
    go("few", "train.save_every=1", "train.keep=0")
    assert not (root / "few" / OLDER).exists() and (root / "few" / STATE).exists()
    go("few", "train.save_every=1", "train.keep=1", "train.steps=12")
    assert len(list((root / "few" / OLDER).iterdir())) == 2


def test_checkpoints_of_a_course_that_was_left_do_not_stay(root, go):
    go("run", "train.save_every=2", "train.keep=3")
    go("run", "train.save_every=2", "train.keep=3", "train.steps=4", resume=False)
    assert [file.name for file in sorted((root / "run" / OLDER).iterdir())] == ["step-00000002.pt", "step-00000004.pt"]


def test_the_model_of_the_highest_psnr_is_kept_and_says_its_score(root, go, monkeypatch):
    scores = iter([20.0, 30.0, 25.0, 26.0])
    monkeypatch.setattr(loop, "score", lambda *words: Score(next(scores), []))
    monkeypatch.setattr(loop, "write_sheet", lambda *words: None)
    go("run", "train.val_every=2", "train.save_every=8")
    assert load_checkpoint(root / "run" / BEST_STATE).step == 4
    assert load_checkpoint(root / "run" / STATE).best == 30.0
    best, last = (find(str(root / "run" / name)).entry.expect for name in (BEST, MODEL))
    assert (best[0].value, last[0].value, best[0].metric, best[0].steps) == (30.0, 26.0, "psnr", 2)
    assert best[0].set == "clean: 2 crops of 32"


def test_a_worse_score_after_a_rest_does_not_pass_for_the_best(root, go):
    config = toy(root, "train.steps=4")
    list(train(config, root, root / "run", CPU))
    best = load_checkpoint(root / "run" / STATE)
    file = root / "run" / STATE
    torch.save(vars(best) | {"best": 99.0}, file)
    go("run")
    assert load_checkpoint(root / "run" / BEST_STATE).step == 4 and load_checkpoint(file).best == 99.0


def test_a_run_whose_hours_are_over_stops_with_a_checkpoint(root, go, monkeypatch):
    whole = go("whole", "data.validation_pictures=0")
    ticks = iter(range(1000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))
    hours = ("train.max_hours=0.002", "data.validation_pictures=0", "train.save_every=100")  # 7.2 ticks
    first = go("parts", *hours)
    assert first[-1].stopped and 1 < len(first) < 8
    assert load_checkpoint(root / "parts" / STATE).step == first[-1].step
    while first[-1].step < 8:
        first += go("parts", *hours)
    assert [now.loss for now in first] == [now.loss for now in whole]
    assert equal(root / "whole" / STATE, root / "parts" / STATE)


def test_training_goes_on_from_a_model(root, go):
    go("first")
    model = str(root / "first" / MODEL)
    fresh = go("fresh", "train.seed=7")
    tuned = go("tuned", "train.seed=7", f"init={model!r}", "train.lr=0", "train.steps=1")
    assert tuned[0].loss != fresh[0].loss
    first, second = (find(str(root / name / MODEL)).weights.read_bytes() for name in ("first", "tuned"))
    state = [load_checkpoint(root / "tuned" / STATE).net, load_checkpoint(root / "first" / STATE).ema]
    assert all(torch.equal(state[0][k], state[1][f"module.{k}"].half().float()) for k in state[0])
    assert len(first) and len(second)


def test_a_run_goes_on_without_the_model_that_it_began_from(root, go):
    go("first", "train.steps=1")
    (root / "first" / MODEL).rename(root / "model")
    begun = f"init={str(root / 'model')!r}"
    go("tuned", begun, "train.steps=4")
    shutil.rmtree(root / "model")
    assert len(go("tuned", begun)) == 4


def test_a_model_that_does_not_fit_or_is_not_there_is_a_sentence(root, go):
    go("first", "train.steps=1")
    model = f"init={str(root / 'first' / MODEL)!r}"
    with pytest.raises(UsageError, match=r"--init .*model: its tensors do not fit the net") as caught:
        go("tuned", model, "net.widths=[8, 16]")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ModelError, match="No model 'nowhere'"):
        go("tuned", "init=nowhere")
