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
from restorer.diffusion.losses import Compression, compression_loss
from restorer.diffusion.predict import Denoiser
from restorer.diffusion.schedule import SCHEDULES
from restorer.errors import UsageError
from restorer.load import build_codec, find, load
from restorer.metrics import psnr
from restorer.settings import Settings
from restorer.train.checkpoint import STATE, load_checkpoint
from restorer.train.config import FreshCodec, read_config
from restorer.train.data import crops_of, feed, validation_set
from restorer.train.learner import learner
from restorer.train.loop import train
from restorer.train.preflight import SHEET, preflight
from restorer.train.recipes import RECIPE
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
    own = replace(alone, codec=None, fresh_codec=FreshCodec(CODEC, steps=6))
    found = preflight(own, root, root / "run", CPU)
    assert found.ready and "The codec's own 6 steps come first" in found.remarks[-1]


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


# ------------------------------------------------------------------------------------------------ a codec of its own

TABLE = "{arch='latent_unet', width=4, mults=[2, 3], latent_channels=5}"
OWN = (*LATENTS, f"fresh_codec={{net={TABLE}, steps=6}}", "train.save_every=2", "train.ema_decay=0.0")


def shares(folder):
    """How far pictures are from what comes back of them by the codec of a model, on average."""
    codec, total = codec_of(folder), 0.0
    for x0, y, *_ in validation_set(folder.parents[1], toy(folder.parents[1]).data):
        with torch.no_grad():
            _, hidden = codec.encode(y)
            total += float((codec.decode(codec.encode(x0)[0], hidden) - x0).abs().mean())
    return total


def test_the_loss_of_a_codec_is_the_official_one():
    torch.manual_seed(0)
    codec = build_codec(CODEC)
    x0, y = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        latent, hidden = codec.encode(y)
        there = codec.decode(latent, hidden), codec.decode(codec.encode(x0)[0], hidden)
        wanted = (there[0] - y).abs().mean() + (there[1] - x0).abs().mean()
        wanted += 0.001 * ((latent.mean() - y.mean()).abs() + (latent.std() - 0.5 * y.std()).abs())
        whole = Compression(codec)
        assert float(whole(x0, y)) == pytest.approx(float(wanted), rel=1e-6)
        eps = torch.ones(2, 3, 1, 1)
        eps[1] = -1
        mixed = compression_loss(Denoiser(whole, SCHEDULES["rddm"](T=5)), x0, y, eps, torch.ones(2))
        swapped = torch.stack([y[0], x0[1]]), torch.stack([x0[0], y[1]])
        assert float(mixed) == pytest.approx(float(whole(*swapped)), rel=1e-6)


def test_a_codec_is_trained_first_and_then_stays(root):
    long = toy(root, *OWN, "fresh_codec.steps=60", "train.lr=3e-3")
    course = run(long, root, "long")
    first = [p for p in course if p.codec]
    assert [p.step for p in first] == list(range(1, 61)) and [p.step for p in course[60:]] == list(range(1, 9))
    assert sum(p.loss for p in first[-5:]) < 0.7 * sum(p.loss for p in first[:5])
    run(toy(root, *OWN, "fresh_codec.steps=1"), root, "short")
    assert shares(root / "long" / "model") < 0.7 * shares(root / "short" / "model")
    assert len(log_of(root / "long")) == 8 and len(log_of(root / "long", "codec.csv")) == 60
    assert read_config(root / "long" / RECIPE, ()) == long
    restorer = Restorer.from_pretrained(str(root / "long" / "model"), device="cpu", dtype="fp32")
    assert restorer(torch.rand(3, 21, 34)).shape == (3, 21, 34)


@pytest.mark.parametrize("after", [3, 6, 8])
def test_a_run_that_stops_at_its_codec_or_its_net_goes_on_as_if_it_had_not(root, after):
    config = toy(root, *OWN, "train.steps=4", "train.val_every=4")
    whole = run(config, root, "whole")
    assert len(whole) == 10
    parts = train(config, root, root / "parts", CPU)
    for _ in range(after):
        next(parts)
    parts.close()
    run(config, root, "parts")
    assert log_of(root / "whole") == log_of(root / "parts")
    assert log_of(root / "whole", "codec.csv") == log_of(root / "parts", "codec.csv")
    one, two = (load_checkpoint(root / name / STATE) for name in ("whole", "parts"))
    assert same(one.net, two.net) and same(one.ema, two.ema)


def test_the_command_says_which_is_trained(root, cli):
    told = [word for override in OWN for word in ("--set", override)]
    answer = cli("train", root, "-c", root / "train.toml", "-o", root / "run", "-d", "cpu", *told, model=False)
    assert answer.exit_code == 0, answer.stderr
    assert "step 6/6: loss" in answer.stderr and "step 8/8: loss" in answer.stderr
    assert "The codec is trained, and stays" in answer.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("codec=x",), "either a model's, or a fresh_codec that is trained first"),
        (("fresh_codec.steps=0",), "fresh_codec: steps must be at least 1, not 0"),
        (("predict.clip=range",), "so predict.clip must be none"),
        (("fresh_codec.net.arch=vae",), "Unknown codec arch 'vae'"),
        (("data.patch_size=12",), "patch_size 12 is no multiple of 8"),
    ],
)
def test_a_codec_that_cannot_be_trained_is_a_sentence(root, words, sentence):
    with pytest.raises(UsageError, match=sentence):
        learner(toy(root, *OWN, *words), Alone(CPU))


def test_a_run_of_another_recipe_does_not_go_on_from_a_codecs_training(root):
    parts = train(toy(root, *OWN), root, root / "run", CPU)
    for _ in range(3):
        next(parts)
    parts.close()
    with pytest.raises(UsageError, match="it is of the training of a codec"):
        run(toy(root), root, "run")
