"""A net of latents: trained on what a model's codec makes of pictures, kept with the codec, restored by both."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_codec import CODEC, latent_model
from toy import toy_model
from toy_training import log_of, same, toy

from restorer import Restorer
from restorer.errors import UsageError
from restorer.load import build_codec, find, load
from restorer.metrics import psnr
from restorer.settings import Settings
from restorer.train.checkpoint import STATE, load_checkpoint
from restorer.train.data import crops_of, feed, validation_set
from restorer.train.learner import learner
from restorer.train.loop import train
from restorer.train.preflight import SHEET, preflight
from restorer.train.team import Alone

CPU = torch.device("cpu")
LATENTS = (
    'net={arch="plain_unet", widths=[8, 8], depths=[1, 1], in_channels=10, out_channels=5}',
    'predict={output="res", range=[0.0, 1.0], clip="none"}',
)


@pytest.fixture
def codec(root, monkeypatch) -> Path:
    """A model of latents, whose codec the recipes name."""
    net = {"arch": "nafnet", "in_channels": 10, "out_channels": 5, "width": 8, "encoder": [1, 1], "middle": 1}
    monkeypatch.setattr("toy.NET", {**net, "decoder": [1, 1], "global_skip": True})
    return latent_model(root / "latent")


def recipe(root, *words):
    return toy(root, *LATENTS, f"codec={str(root / 'latent')!r}", *words)


def run(config, root, name, **more):
    return list(train(config, root, root / name, CPU, **more))


def codec_of(model: Path):
    codec = build_codec(CODEC)
    codec.load_state_dict(load(find(str(model)), CPU, torch.float32).net.get_submodule("codec").state_dict())
    return codec


def test_the_net_learns_from_what_the_codec_makes(root, codec):
    pupil = learner(recipe(root), Alone(CPU))
    [batch] = next(feed(crops_of(root, pupil.config), pupil.config.train, 0, 1, pupil.team))
    shown = []
    pupil.net.register_forward_pre_hook(lambda net, args: shown.append(args[0]))
    pupil.descent.loss(batch)
    with torch.no_grad():
        wanted = codec_of(codec).encode(batch.y)[0]
    assert wanted.shape == (2, 5, 8, 8)
    torch.testing.assert_close(shown[0][:, 5:], wanted)
    assert pupil.entry.codec == CODEC and pupil.entry.size.multiple == 8  # 4 latents a side, of 2 pixels each


def test_a_run_moves_the_net_and_not_the_codec_and_keeps_both(root, codec):
    config = recipe(root)
    *_, last = run(config, root, "run")
    model = root / "run" / "model"
    kept, given = (load_file(folder / "model.safetensors") for folder in (model, codec))
    for key in (key for key in given if key.startswith("codec.")):
        assert torch.equal(kept[key].float(), given[key].half().float())
    fresh = learner(config, Alone(CPU)).net.state_dict()
    moved = [key for key in fresh if not torch.equal(load_checkpoint(root / "run" / STATE).net[key], fresh[key])]
    assert moved and not any(key.startswith("codec.") for key in moved)
    restorer = Restorer.from_pretrained(str(model), device="cpu", dtype="fp32")
    scores = []
    for x0, y, *_ in validation_set(root, config.data):
        made = restorer.restore(y, Settings())
        scores.append(psnr(made.mul(255).round() / 255, x0))
    assert last.psnr == pytest.approx(sum(scores) / len(scores), abs=0.05)  # the weights are kept in float16
    assert restorer(torch.rand(3, 21, 34)).shape == (3, 21, 34)


def test_a_run_of_latents_goes_on_as_if_it_had_not_stopped(root, codec):
    config = recipe(root)
    run(config, root, "whole")
    parts = train(config, root, root / "parts", CPU)
    for _ in range(5):
        next(parts)
    parts.close()
    run(config, root, "parts")
    assert log_of(root / "whole") == log_of(root / "parts")
    whole, parts = (load_checkpoint(root / name / STATE) for name in ("whole", "parts"))
    assert same(whole.ema, parts.ema)


def test_what_a_run_made_can_be_trained_on_and_lend_its_codec(root, codec, cli):
    run(recipe(root), root, "first")
    first = root / "first" / "model"
    again = recipe(root, f"codec={str(first)!r}", f"init={str(first)!r}", "train.steps=1")
    state = learner(again, Alone(CPU)).net.state_dict()
    assert all(torch.equal(state[key], value.float()) for key, value in load_file(first / "model.safetensors").items())
    words = ["train", root, "--init", first, "-o", root / "second", "-d", "cpu", "-b", 2, "--max-steps", 1]
    answer = cli(*words, "--degrade", "rain", "--patch-size", 16, "--set", 'data.clean=["clean"]', model=False)
    assert answer.exit_code == 0, answer.stderr
    card = json.loads((root / "second" / "model" / "config.json").read_text())
    assert card["codec"] == CODEC
    with pytest.raises(UsageError, match="it restores latents; name the codec"):
        learner(toy(root, f"init={str(first)!r}"), Alone(CPU))


def test_a_dry_run_shows_latents_as_pictures(root, codec):
    config = recipe(root)
    alone = replace(config, data=replace(config.data, validation=None))  # which are the same pictures
    found = preflight(alone, root, root / "run", CPU)
    assert found.ready and (root / "run" / SHEET).is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("predict.clip=range",), "values of latents have no bounds, so predict.clip must be none"),
        (("predict.output=auto",), "predict.output named; not none and auto"),
        (("predict.range=[-1.0, 1.0]",), r"has the range \[0, 1\]"),
        (("data.patch_size=12",), "patch_size 12 is no multiple of 8"),
        (('predict.input=["x"]',), r"the net must make \(5, 4, 4\) of \(5, 4, 4\), but fails"),
        (("codec=plain",), "plain restores pictures, not latents; name a model that has a codec"),
    ],
)
def test_what_cannot_be_is_a_sentence(root, codec, monkeypatch, words, sentence):
    monkeypatch.undo()
    toy_model(root / "plain")
    words = [word.replace("codec=plain", f"codec={str(root / 'plain')!r}") for word in words]
    with pytest.raises(UsageError, match=sentence):
        learner(recipe(root, *words), Alone(CPU))
