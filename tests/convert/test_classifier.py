"""A prior and its classifier become one model, which draws what the official two draw together; others are refused."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from official_adm import official_adm
from official_adm_encoder import official_encoder
from official_simple import official_simple
from test_ddim_files import ADM_NET, ADM_STATE, CPU, TINY, drawn_by_diffusers

from restorer.convert.ddim import opened, to_ddim, to_rddm
from restorer.convert.ddim_presets import PRESETS
from restorer.convert.official import Wishes, convert
from restorer.entry import read_entry
from restorer.errors import UsageError
from restorer.generate import sample
from restorer.load import find
from restorer.restore import Restorer
from restorer.settings import Settings, adjusted

ENCODER = {"image_size": 16, "model_channels": 64, "channel_mult": (1, 1), "num_head_channels": 64, "out_channels": 3}
CLASSIFIER = official_encoder(**ENCODER)
STATE = CLASSIFIER.state_dict()
UNCOND = official_adm(num_head_channels=16)
PRIOR = TINY["tiny-adm"]
# Random classifiers have slight slopes, so that only a strong pull can be seen.
SMALL = {
    "tiny": replace(PRIOR, trained=16, guide_scale=400.0),
    "tiny-uncond": replace(PRIOR, trained=16, net={**PRIOR.net, "classes": None}, guide_scale=1000.0),
}


@pytest.fixture(autouse=True)
def tiny_presets(monkeypatch):
    for name, preset in SMALL.items():
        monkeypatch.setitem(PRESETS, name, preset)


@pytest.fixture
def files(here):
    for name, state in {"net.pt": ADM_STATE, "uncond.pt": UNCOND.state_dict(), "classifier.pt": STATE}.items():
        torch.save(state, name)
    return here


def guided(net, label, scale):
    """The official net's noise, moved by the official classifier's slope as the paper has it."""
    left = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)

    def predict(x, t):
        with torch.enable_grad():
            asked = x.detach().requires_grad_()
            chance = CLASSIFIER(asked, t).softmax(dim=1)[0, label].log()
            (slope,) = torch.autograd.grad(chance, asked)
        return net(x, t) - float((1 - left[int(t)]).sqrt()) * scale * slope

    return predict


NETS = {
    "tiny": ("net.pt", lambda x, t: official_adm(**ADM_NET)(x, t, torch.tensor([2]))[:, :3]),
    "tiny-uncond": ("uncond.pt", lambda x, t: UNCOND(x, t)[:, :3]),
}


@torch.no_grad()
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("name", NETS)
def test_it_draws_what_ddim_draws_with_the_official_nets(files, name, eta):
    file, net = NETS[name]
    wanted = drawn_by_diffusers(guided(net, 2, SMALL[name].guide_scale), 5, eta)
    before = opened(file, Wishes(preset=name, classifier=Path("classifier.pt")))
    to_rddm(before, Path("after"))
    after = opened("after")
    settings = Settings(5, eta, 5, "leading", label=2)
    for entry, denoiser, *_ in (before, after):
        denoiser = adjusted(replace(denoiser, clip="none"), entry, replace(settings, sampler=entry.sample.sampler))
        *_, last = sample(denoiser, [5], settings, entry.sample.sampler, (16, 16), CPU)
        assert (last.x - wanted).abs().max() < 1e-5 * wanted.abs().max()
    plain = drawn_by_diffusers(net, 5, eta)
    assert (plain - wanted).abs().max() > 1e-2 * wanted.abs().max()


@pytest.mark.parametrize("half", [False, True])
def test_both_ways_of_converting_make_the_same_folder(files, cli, half):
    if half:
        torch.save({f"module.{key}": value.half() for key, value in STATE.items()}, "classifier.pt")
    words = ["--preset", "tiny", "--classifier", "classifier.pt", "--classifier-scale", "2.5"]
    one = cli("convert-ddim", "net.pt", "a/made", *words, model=False)
    two = cli("models", "convert", "net.pt", "--from", "ddim", "-o", "b/made", *words, model=False)
    assert (one.exit_code, two.exit_code) == (0, 0), one.stderr + two.stderr
    for name in ("config.json", "model.safetensors"):
        assert Path("a/made", name).read_bytes() == Path("b/made", name).read_bytes()
    card = json.loads(Path("a/made/config.json").read_text())
    assert card["guide"] == {
        **{"arch": "adm_encoder", "in_channels": 3, "classes": 3, "size": 16, "width": 64, "widths": [64, 64]},
        **{"layers": 1, "attention": [False, True], "scale_shift": True, "resample": "block", "head_width": 64},
        "scale": 2.5,
    }
    assert "guided by classifier.pt (sha256 " in card["source"]
    readme = Path("b/made/README.md").read_text()
    assert "| guided by | arch adm_encoder" in readme and "without --class it draws" in readme
    made = Restorer.from_pretrained("a/made", device="cpu", dtype="fp32")
    assert made.entry.classes == 3 and next(made.generate(steps=2, label=1)).shape == (1, 3, 16, 16)


def test_the_scale_is_the_presets_unless_said(files):
    said = {"tiny": 400.0, "tiny-uncond": 1000.0}
    for preset, scale in said.items():
        made = convert("ddim", Path(NETS[preset][0]), Path(preset), Wishes(preset, classifier=Path("classifier.pt")))
        assert made.entry.guide["scale"] == read_entry(Path(preset, "config.json")).guide["scale"] == scale
    official = {"256": 1.0, "256-uncond": 10.0, "512": 4.0, "128": 0.5, "64": 1.0}
    assert {name: PRESETS[f"adm-imagenet{name}"].guide_scale for name in official} == official


def test_a_simple_net_can_be_guided_but_diffusers_has_no_classifiers(files):
    torch.save(official_simple(widths=(64, 64))[1], "simple.pt")
    torch.save(official_encoder(**ENCODER | {"image_size": 32}).state_dict(), "classifier.pt")
    before = opened("simple.pt", Wishes(classifier=Path("classifier.pt")))
    assert before.entry.guide["scale"] == 1.0 and "guides the net where --class says" in before.notes[-1]
    to_rddm(before, Path("made"))
    with pytest.raises(UsageError, match="'made' has a classifier that guides it; a DDIM model of diffusers has none"):
        to_ddim(opened("made"), Path("folder"))
    assert not Path("folder").exists() and find("made").entry.classes == 3


# ------------------------------------------------------------------------------------------------ what is refused


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def without(key):
    return {name: value for name, value in STATE.items() if name != key}


WRONG = {
    "bomb": ([STATE, Bomb()], "asks for the code"),
    "a list": ([1], "found a list; expected the weights of a guided-diffusion classifier"),
    "a U-Net": (ADM_STATE, "found the keys time_embed.0.weight"),
    "nothing": ({}, "found the keys nothing; expected"),
    "missing": (without("out.0.bias"), "missing: out.0.bias"),
    "extra": ({**STATE, "more": torch.zeros(1)}, "not known: more"),
    "six missing": (
        {key: value for key, value in STATE.items() if not key.startswith("middle_block.1.")},
        "missing: middle_block.1.norm.weight, middle_block.1.norm.bias, ",
    ),
    "integers": ({**STATE, "a": torch.zeros(1).int()}, "weights of floats only; found a"),
    "no numbers": ({**STATE, "out.0.bias": torch.full((64,), torch.nan)}, "no numbers in out.0.bias"),
    "other classes": (
        official_encoder(**ENCODER | {"out_channels": 5}).state_dict(),
        "a classifier of 5 classes; expected 3, as many as the net knows",
    ),
    "another size": (
        official_encoder(**ENCODER | {"image_size": 32}).state_dict(),
        "a classifier of 32 pixels; expected one of 16, as the net",
    ),
    "narrow heads": (
        official_encoder(attention_resolutions=(1, 2)).state_dict(),
        "32 channels are no whole number of heads of 64",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_a_sentence_and_nothing_is_written(files, cli, case):
    content, words = WRONG[case]
    torch.save(content, "classifier.pt")
    said = ["--preset", "tiny", "--classifier", "classifier.pt"]
    for command in (
        ["convert-ddim", "net.pt", "made"],
        ["models", "convert", "net.pt", "--from", "ddim", "-o", "made"],
    ):
        result = cli(*command, *said, model=False)
        assert result.exit_code == 4, result.output
        [sentence] = result.stderr.splitlines()
        assert sentence.startswith("Error: classifier.pt") and words in sentence and sentence.endswith(".")
        assert not Path("made").exists() and not Path("exploded").exists()


def test_a_classifier_alone_is_no_model(files, cli):
    result = cli("convert-ddim", "classifier.pt", "made", "--preset", "tiny", model=False)
    assert result.exit_code == 4 and "a classifier, which draws nothing; give it as --classifier" in result.stderr
    result = cli("convert-ddim", "net.pt", "made", "--preset", "tiny", "--classifier", "gone.pt", model=False)
    assert result.exit_code == 4 and "gone.pt: cannot read this checkpoint" in result.stderr


def test_options_that_say_nothing(files, cli, toy):
    def refused(*words, sentence):
        result = cli(*words, model=False)
        assert result.exit_code == 2 and sentence in result.stderr and not Path("made").exists()

    convert_ddim = ["convert-ddim", "net.pt", "made", "--preset", "tiny"]
    refused(*convert_ddim, "--classifier", "classifier.pt", "--to", "ddim", sentence="holds no classifier; leave out")
    refused(*convert_ddim, "--classifier-scale", "2", sentence="name its file, with --classifier.")
    refused(*convert_ddim, "--classifier-scale", "-1", sentence="--classifier-scale")
    refused("convert-ddim", toy, "made", "--classifier", "classifier.pt", sentence="--classifier classifier.pt is for")
    elsewhere = ["models", "convert", "net.pt", "-o", "made", "--classifier", "classifier.pt", "--from"]
    refused(*elsewhere, "rddm", sentence="--classifier means nothing for files of rddm")
    refused(*elsewhere, "irsde", sentence="--classifier means nothing for files of irsde")
