"""``restorer bench``: what it measures, in which order, and what it leaves out."""

import json

import pytest
import torch
from toy import toy_model, toy_net

from restorer import speed
from restorer.device import precisions
from restorer.speed import Speed, Trial, foreseen, seconds

CPU = torch.device("cpu")
FEW = ("--rounds", "1", "-d", "cpu")


def bench(cli, *words):
    return cli("bench", *words, *FEW, model=False)


def lines(answer):
    assert answer.exit_code == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


def test_every_precision_of_every_size_has_a_line_the_small_ones_first(cli, toy, monkeypatch):
    monkeypatch.setattr("restorer.device.precisions", lambda device: ["fp32", "bf16"])
    found = lines(bench(cli, "-m", toy, "--size", 24, "--size", 16, "--json"))
    assert [(line["size"], line["dtype"]) for line in found] == [(16, "fp32"), (16, "bf16"), (24, "fp32"), (24, "bf16")]
    for line in found:
        assert (line["v"], line["model"], line["task"], line["device"], line["steps"]) == (1, "toy", "derain", "cpu", 3)
        assert line["net_seconds"] > 0 and line["seconds"] > 0 and "torch" in line["machine"]
        assert line["pictures_per_minute"] == pytest.approx(60 / line["seconds"], rel=0.01)
        assert line["bytes"] is None or line["bytes"] > 1e7


def test_the_table_says_the_machine_first(cli, toy):
    answer = bench(cli, "-m", toy, "--size", 16, "--dtype", "fp32", "--steps", 2)
    head, *rows = answer.stdout.splitlines()
    assert head.startswith("toy, derain, cpu: ") and f"torch {torch.__version__}" in head
    names, row = (line.split("\t") for line in rows)
    assert names == ["size", "dtype", "net", "steps", "picture", "pictures a minute", "memory"]
    assert row[:2] == ["16x16", "fp32"] and row[2].endswith(" s") and row[3] == "2"


def test_what_would_take_long_is_left_out_and_named(cli, toy, monkeypatch):
    monkeypatch.setattr("restorer.cli.speed.LIMIT", 0.0)
    monkeypatch.setattr("restorer.speed.SIZES", (16, 24))
    answer = bench(cli, "-m", toy, "--dtype", "fp32", "--json")
    assert [line["size"] for line in lines(answer)] == [16]
    assert "24x24 in fp32. Ask for it: --size 24." in answer.stderr
    asked = bench(cli, "-m", toy, "--dtype", "fp32", "--json", "--size", 16, "--size", 24)
    assert len(lines(asked)) == 2 and asked.stderr == ""


def test_models_that_draw_that_enlarge_and_that_need_a_mask(cli, tmp_path):
    drawing = {"schedule": {"kind": "vp"}, "predict": {"output": "eps", "input": ["x"]}, "task": "generate"}
    prior = toy_model(tmp_path / "prior", state=toy_net(in_channels=3).state_dict(), net={"in_channels": 3}, **drawing)
    larger = toy_model(tmp_path / "larger", task="upscale", prepare="enlarge-bicubic:2")
    words = {"net": {"in_channels": 9}, "predict": {"input": ["x", "y", "mask"]}}
    masked = toy_model(tmp_path / "masked", state=toy_net(in_channels=9).state_dict(), task="deshadow", **words)
    filled = toy_model(tmp_path / "filled", task="inpaint", prepare="fill:1")
    for model in (prior, larger, masked, filled):
        (line,) = lines(bench(cli, "-m", model, "--size", 16, "--dtype", "fp32", "--json"))
        assert line["size"] == 16 and line["steps"] == 3


def test_a_picture_that_does_not_fit_whole_is_made_in_windows(cli, toy, monkeypatch):
    monkeypatch.setattr(speed, "auto_side", lambda *words: 8)
    answer = bench(cli, "-m", toy, "--size", 16, "--dtype", "fp32")
    assert answer.stdout.splitlines()[-1].split("\t")[2] == "in windows"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--size", "2"], 1, "too small"),
        (["--size", "0"], 2, "--size"),
        (["--steps", "1000"], 2, "from 1 to 100"),
        (["-T", "abacus"], 2, "abacus"),
        (["-d", "abacus"], 2, "abacus"),
    ],
)
def test_words_that_are_off(cli, toy, words, code, sentence):
    model = [] if "-T" in words else ["-m", str(toy)]
    answer = cli("bench", *model, *words, "--dtype", "fp32", model=False)
    assert answer.exit_code == code and sentence in answer.stderr, answer.stderr


def test_slow_calls_are_timed_once_and_quick_ones_as_often_as_told(monkeypatch):
    calls = []
    assert seconds(lambda: calls.append(1), 3, CPU) < speed.PATIENCE and len(calls) == 4
    monkeypatch.setattr(speed, "PATIENCE", -1.0)
    seconds(lambda: calls.append(1), 3, CPU)
    assert len(calls) == 5


def test_larger_pictures_are_foreseen_from_those_of_the_same_precision(toy_restorer):
    known = [Speed(256, "fp32", 3, 1.0, 4.0, None), Speed(256, "bf16", 3, 0.1, 0.4, None)]
    assert foreseen(Trial(toy_restorer, 512), known) == 20.0
    assert foreseen(Trial(toy_restorer, 512), known[1:]) == 0.0


def test_a_cpu_is_fast_in_what_auto_takes(monkeypatch):
    for fast, words in ((True, ["fp32", "bf16"]), (False, ["fp32"])):
        monkeypatch.setattr("restorer.device._fast_bf16", lambda device, fast=fast: fast)
        assert precisions(CPU) == words


@pytest.mark.gpu
def test_on_an_accelerator_memory_is_the_pictures_own(cli, toy):
    (line,) = lines(cli("bench", "-m", toy, "--size", 64, "--dtype", "fp32", "--json", model=False))
    assert line["device"] != "cpu" and (line["bytes"] is None or 0 < line["bytes"] < 1e9)
