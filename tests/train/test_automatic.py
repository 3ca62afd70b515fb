"""A recipe that leaves open what the net says: it is found out, and then trained as if it had been named."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_training import RECIPE

from restorer.errors import UsageError
from restorer.load import find
from restorer.train.checkpoint import LOG, MODEL, STATE, load_checkpoint
from restorer.train.config import read_config
from restorer.train.loop import train
from restorer.train.recipes import RECIPE as RECIPE_FILE

CPU = torch.device("cpu")
QUICK = (
    "predict.output=auto",
    "schedule.T=10",
    "train.warmup=0",
    "train.lr=5e-3",
    "train.steps=6",
    "train.save_every=2",
)
MILD = ("data.lq=lq", "data.gt=gt", "data.clean=[]", "data.damage=[]", "data.validation_pictures=0")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Flat black pictures, with an LQ nearly the same (``lq``) and one that is white (``white``)."""
    for folder, level in (("gt", 0), ("lq", 3), ("white", 255)):
        (tmp_path / folder).mkdir()
        for i in range(2):
            Image.fromarray(np.full((24, 24, 3), level, "uint8")).save(tmp_path / folder / f"{i}.png")
    (tmp_path / "train.toml").write_text(RECIPE.replace('validation = "clean"\n', ""))
    return tmp_path


def recipe(root: Path, *overrides: str):
    return read_config(root / "train.toml", [*QUICK, *MILD, *overrides])


def run(config, root, name, *, resume=True):
    return list(train(config, root, root / name, CPU, resume=resume))


def rows(root, name):
    with (root / name / LOG).open() as log:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(log)]


@pytest.mark.parametrize(("lq", "output"), [("lq", "res"), ("white", "eps")])
def test_what_is_easier_is_chosen_and_trained_as_if_it_had_been_named(root, lq, output):
    course = run(recipe(root, f"data.lq={lq}"), root, "auto")
    looking = [p for p in course if p.share is not None]
    assert [p.step for p in looking] == list(range(1, len(looking) + 1))
    assert [p.chosen for p in looking] == [None] * (len(looking) - 1) + [output]
    assert abs(looking[-1].share - 0.5) >= 0.01 > abs(looking[-2].share - 0.5)
    assert [p.step for p in course[len(looking) :]] == [1, 2, 3, 4, 5, 6]
    named = run(recipe(root, f"data.lq={lq}", f"predict.output={output}"), root, "named")
    assert [p.loss for p in named] == [p.loss for p in course[len(looking) :]]
    cards = [json.loads((root / name / MODEL / "config.json").read_text()) for name in ("auto", "named")]
    assert cards[0] == cards[1] and cards[0]["predict"]["output"] == output
    assert find(str(root / "auto" / MODEL)).entry.predict.output == output
    log = rows(root, "auto")
    assert [row["chosen"] for row in log] == [p.chosen or "" for p in course]
    assert [row["share"] for row in log] == ["" if p.share is None else str(p.share) for p in course]
    assert "share" not in rows(root, "named")[0]


@pytest.mark.parametrize("after", [3, 6, 9])
def test_a_run_that_stops_in_either_phase_goes_on_as_if_it_had_not(root, after):
    config = recipe(root, "train.lr=3.2e-3", "train.steps=8")
    whole = run(config, root, "whole")
    choosing = sum(p.share is not None for p in whole)
    assert 4 <= choosing <= 6 and len(whole) == choosing + 8
    parts = train(config, root, root / "parts", CPU)
    for _ in range(after):
        next(parts)
    parts.close()
    run(config, root, "parts")
    assert rows(root, "parts") == rows(root, "whole")
    first, second = (load_checkpoint(root / name / STATE) for name in ("whole", "parts"))
    assert all(torch.equal(first.ema[key], second.ema[key]) for key in first.ema)
    assert first.chosen == second.chosen and first.step == 8


def test_the_recipe_that_is_kept_leaves_it_open_too(root):
    config = recipe(root)
    run(config, root, "run")
    kept = read_config(root / "run" / RECIPE_FILE, ())
    assert kept == config and run(kept, root, "run") == []


def test_a_share_that_does_not_settle_is_told(root):
    with pytest.raises(UsageError, match=r"After 6 steps the residual's share is 0\.50\d+; 0\.51 would choose res"):
        run(recipe(root, "train.lr=1e-5"), root, "run")


def test_starting_again_finds_it_out_again(root):
    config = recipe(root)
    first = run(config, root, "run")
    again = run(config, root, "run", resume=False)
    assert [p.loss for p in again] == [p.loss for p in first]


@pytest.mark.parametrize("change", [("predict.output=res",), ("predict.output=eps", "train.steps=9")])
def test_a_recipe_that_names_the_output_does_not_go_on_from_one_that_does_not(root, change):
    run(recipe(root), root, "run")
    with pytest.raises(UsageError, match="made by another recipe"):
        run(recipe(root, *change), root, "run")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.objective=noise", "objective noise is for a net whose output is named"),
        ('schedule={kind="rddm", T=10, family="linspace"}', "needs noise at every time"),
    ],
)
def test_where_it_cannot_be_found_out(root, override, sentence):
    with pytest.raises(UsageError, match=sentence):
        run(recipe(root, override), root, "run")


def test_the_command_says_what_was_chosen(root, cli):
    words = [word for override in (*QUICK, *MILD) for word in ("--set", override)]
    result = cli("train", root, "-c", root / "train.toml", "-o", root / "run", "-d", "cpu", *words, model=False)
    assert result.exit_code == 0, result.stderr
    assert "the net says res (share of the residual 0.5" in result.stderr
    result = cli(
        "train", root, "-c", root / "train.toml", "-o", root / "two", "-d", "cpu", "--json", *words, model=False
    )
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert any(line.get("chosen") == "res" and line["share"] for line in lines)
