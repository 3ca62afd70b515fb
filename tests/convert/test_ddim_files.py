"""Checkpoints of DDPM nets become models that draw what DDIM draws with the official nets; others are refused."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from official_adm import official_adm
from official_simple import config, official_simple, simple_names

from restorer.cli import convert_ddim as module
from restorer.convert.ddim import TOLERANCE, difference, opened, to_ddim, to_rddm
from restorer.convert.ddim_presets import ADM, PRESETS, SIMPLE, Preset
from restorer.convert.official import Wishes, convert
from restorer.entry import read_entry
from restorer.errors import ModelError, UsageError
from restorer.generate import sample
from restorer.load import build_net, find
from restorer.nets import adm_unet, ddpm_simple
from restorer.restore import Restorer
from restorer.settings import Settings

ADM_NET = {"num_head_channels": 16, "num_classes": 3}
TINY = {
    "tiny-simple": Preset(SIMPLE, {"widths": [32, 64], "layers": 1, "attention": [False, True]}, 32, "none"),
    "tiny-adm": Preset(
        ADM,
        {"widths": [32, 64], "layers": 1, "attention": [False, True], "classes": 3},
        *(8, "none", {"head_width": 16}),
        note="Tiny.",
    ),
}
SIMPLE_NET, SIMPLE_STATE = official_simple()
ADM_STATE = official_adm(**ADM_NET).state_dict()
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny_presets(monkeypatch):
    for name, preset in TINY.items():
        monkeypatch.setitem(PRESETS, name, preset)


def drawn(denoiser, sampler, steps, eta):
    net = replace(denoiser, clip="none")
    *_, last = sample(net, [5], Settings(steps, eta, 5, "leading"), sampler, (16, 16), CPU)
    return last.x


def drawn_by_diffusers(predict, steps, eta, **scheduler):
    """The noise ``predict`` tells, and diffusers' steps."""
    rng = torch.Generator().manual_seed(5)
    theirs = DDIMScheduler(clip_sample=False, **scheduler)
    theirs.set_timesteps(steps)
    x = torch.randn(1, 3, 16, 16, generator=rng)
    for t in theirs.timesteps:
        x = theirs.step(predict(x, torch.full((1,), float(t))), t, x, eta=eta, generator=rng).prev_sample
    return x


NETS = {
    "tiny-simple": (SIMPLE_STATE, lambda x, t: SIMPLE_NET(x, t).sample),
    "tiny-adm": (ADM_STATE, lambda x, t: official_adm(**ADM_NET)(x, t, torch.zeros(1, dtype=torch.long))[:, :3]),
}


@torch.no_grad()
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("name", NETS)
def test_it_draws_what_ddim_draws_with_the_official_net(tmp_path, name, eta):
    state, predict = NETS[name]
    torch.save(state, tmp_path / "net.pt")
    wanted = drawn_by_diffusers(predict, 5, eta)
    before = opened(str(tmp_path / "net.pt"), Wishes(preset=name))
    to_rddm(before, tmp_path / "after")
    after = opened(str(tmp_path / "after"))
    assert (before.entry.method, after.entry.method) == ("ddpm", "rddm")
    scale = wanted.abs().max()
    for model in (before, after):
        assert (drawn(model.net, model.entry.sample.sampler, 5, eta) - wanted).abs().max() < 1e-5 * scale
    assert difference(before, after) < TOLERANCE


def test_the_way_to_diffusers_is_open_for_simple_nets_only(tmp_path):
    from diffusers import DDIMPipeline

    torch.save(SIMPLE_STATE, tmp_path / "simple.ckpt")
    to_ddim(opened(str(tmp_path / "simple.ckpt")), tmp_path / "folder")
    for key, value in DDIMPipeline.from_pretrained(str(tmp_path / "folder")).unet.state_dict().items():
        assert torch.equal(value, SIMPLE_NET.state_dict()[key])
    torch.save(ADM_STATE, tmp_path / "adm.pt")
    with pytest.raises(UsageError, match="has net 'adm_unet'; a DDIM model of diffusers has 'ddpm_unet'"):
        to_ddim(opened(str(tmp_path / "adm.pt"), Wishes(preset="tiny-adm")), tmp_path / "adm")
    assert not (tmp_path / "adm").exists()


def parallel(state):
    return {f"module.{key}": value for key, value in state.items()}


def zeros(state):
    return {key: torch.zeros_like(value) for key, value in state.items()}


LAYOUTS = {
    "bare": SIMPLE_STATE,
    "of several GPUs": parallel(SIMPLE_STATE),
    "a trainer's list": [parallel(zeros(SIMPLE_STATE)), {"state": {}}, 3, 5000, SIMPLE_STATE],
    "a list without EMA": [parallel(SIMPLE_STATE), {"state": {}}, 3, 5000],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_the_same_net(tmp_path, name):
    for zipped in (True, False):
        torch.save(LAYOUTS[name], tmp_path / "net.ckpt", _use_new_zipfile_serialization=zipped)
        model = opened(str(tmp_path / "net.ckpt"))
        state = ddpm_simple.rename(SIMPLE_STATE, model.net.net)
        for key, value in model.net.net.state_dict().items():
            assert torch.equal(value, state[key])
        assert any("no EMA weights" in note for note in model.notes) == (name == "a list without EMA")


def test_what_a_simple_net_does_not_say_is_told(tmp_path):
    torch.save(SIMPLE_STATE, tmp_path / "net.ckpt")
    model = opened(str(tmp_path / "net.ckpt"))
    [note] = model.notes
    assert "does not say its schedule; DDPM's linear one is taken, 32 pixels" in note
    assert (model.entry.size.trained, model.entry.predict.clip) == (32, "none")
    said = opened(str(tmp_path / "net.ckpt"), Wishes(preset="tiny-simple"))
    assert said.notes == () and replace(said.entry, source="", data="") == replace(model.entry, source="", data="")


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("new_order", [False, True])
def test_both_ways_of_converting_make_the_same_folder(here, cli, monkeypatch, new_order, half):
    monkeypatch.setitem(PRESETS, "tiny-adm", replace(TINY["tiny-adm"], new_order=new_order))
    torch.save({key: value.half() if half else value for key, value in ADM_STATE.items()}, "net.pt")
    preset = ["--preset", "tiny-adm"]
    one = cli("convert-ddim", "net.pt", "a/made", *preset, model=False)
    assert one.exit_code == 0, one.stderr
    assert one.stdout.splitlines()[0] == "a/made: rddm model, sampler rddm-ddim, times leading"
    assert float(one.stdout.split()[-1]) < TOLERANCE
    assert one.stderr.splitlines()[1:] == ["Note: Tiny."] and "of 3 classes" in one.stderr
    two = cli("models", "convert", "net.pt", "--from", "ddim", "-o", "b/made", *preset, model=False)
    assert two.exit_code == 0 and two.stderr == one.stderr
    for name in ("config.json", "model.safetensors"):
        assert Path("a/made", name).read_bytes() == Path("b/made", name).read_bytes()
    made = Restorer.from_pretrained("a/made", device="cpu", dtype="fp32")
    assert next(made.generate(steps=2)).shape == (1, 3, 8, 8)


def test_options_of_conversion(tmp_path):
    torch.save(SIMPLE_STATE, tmp_path / "net.ckpt")
    wishes = Wishes(steps=10, name="faces", license="MIT")
    made = convert("ddim", tmp_path / "net.ckpt", tmp_path / "made", wishes, dtype=torch.float16)
    entry = read_entry(tmp_path / "made" / "config.json")
    assert entry == made.entry and (entry.name, entry.sample.steps, entry.license) == ("faces", 10, "MIT")
    assert entry.weights.dtype == "float16"


# ------------------------------------------------------------------------------------------------ what is refused


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def saved(content):
    return lambda file: torch.save(content, file)


def truncated(file):
    torch.save(SIMPLE_STATE, file)
    file.write_bytes(file.read_bytes()[:-100])


def without(state, key):
    return {name: value for name, value in state.items() if name != key}


CLASSIFIER = {key: value for key, value in ADM_STATE.items() if not key.startswith("output_blocks.")}
WIDER = simple_names(official_simple(widths=(64, 64))[0].state_dict())
WRONG = {
    "cut short": (truncated, None, "damaged or cut short"),
    "text": (lambda file: file.write_text("<!DOCTYPE html>"), None, "it starts with b'<!DOCTYP"),
    "bomb": (saved([SIMPLE_STATE, Bomb()]), None, "asks for the code"),
    "numpy": (
        saved({**SIMPLE_STATE, "step": np.float64(3)}),
        None,
        "weights of floats only; found step (float64)",
    ),
    "a number": (saved(3), None, "found a int; expected the weights of"),
    "a list of numbers": (saved([1, 2]), None, "found a list of int, int; expected model, optimiser, epoch, step"),
    "another net": (saved({"conv_in.weight": torch.zeros(1)}), None, "found the keys conv_in.weight; expected the we"),
    "no weights": (saved({}), None, "found the keys nothing; expected"),
    "missing": (saved(without(SIMPLE_STATE, "norm_out.bias")), None, "missing: norm_out.bias"),
    "extra": (saved({**SIMPLE_STATE, "more": torch.zeros(1)}), None, "not known: more"),
    "no tensors": (saved({**SIMPLE_STATE, "norm_out.bias": 3}), None, "weights of floats only; found norm_out.bias (i"),
    "integers": (saved({**SIMPLE_STATE, "a": torch.zeros(1).int()}), None, "found a (torch.int32)"),
    "no numbers": (
        saved({**SIMPLE_STATE, "norm_out.bias": torch.full((32,), torch.nan)}),
        None,
        "no numbers in norm_o",
    ),
    "the other kind": (saved(SIMPLE_STATE), "tiny-adm", 'is of a guided-diffusion net, found a "simple" DDPM net'),
    "another preset": (saved(WIDER), "tiny-simple", "is of a net with widths [32, 64]; found widths [64, 64]"),
    "other classes": (saved(without(ADM_STATE, "label_emb.weight")), "tiny-adm", "with classes 3; found classes None"),
    "classifier": (saved(CLASSIFIER), None, "expected input_blocks and output_blocks; found time_embed.0.weight"),
    "4 channels": (
        saved(official_adm(out_channels=4).state_dict()),
        "tiny-adm",
        "to 4 channels; expected 3 to 3 or 3 to",
    ),
    "missing of ADM": (saved(without(ADM_STATE, "out.0.bias")), "tiny-adm", "missing: out.0.bias"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_a_sentence_and_nothing_is_written(here, cli, case):
    make, preset, words = WRONG[case]
    make(here / "net.pt")
    said = ["--preset", preset] if preset else []
    for command in (
        ["convert-ddim", "net.pt", "made"],
        ["models", "convert", "net.pt", "--from", "ddim", "-o", "made"],
    ):
        result = cli(*command, *said, model=False)
        assert result.exit_code == 4, result.output
        [sentence] = result.stderr.splitlines()
        assert sentence.startswith("Error: net.pt") and words in sentence and sentence.endswith((".", "?"))
        assert "weights_only" not in sentence and result.stdout == ""
    assert [path.name for path in here.iterdir()] == ["net.pt"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "does not tell how many heads its net has; add --preset with one of adm-imagenet64, adm-imagenet128"),
        (["--preset", "cifar"], "Unknown preset 'cifar'; did you mean 'cifar10'"),
    ],
)
def test_usage_errors(here, cli, words, sentence):
    torch.save(ADM_STATE, "net.pt")
    for command in (
        ["convert-ddim", "net.pt", "made"],
        ["models", "convert", "net.pt", "--from", "ddim", "-o", "made"],
    ):
        result = cli(*command, *words, model=False)
        assert result.exit_code == 2 and sentence in result.stderr and not Path("made").exists()


def test_options_that_say_nothing_of_these_nets(here, cli, toy):
    torch.save(SIMPLE_STATE, "net.ckpt")
    words = ["--task", "derain", "--sum-scale", "1"]
    result = cli("models", "convert", "net.ckpt", "--from", "ddim", "-o", "made", *words, model=False)
    assert result.exit_code == 2 and "all used in one way; leave out --task --sum-scale." in result.stderr
    result = cli("convert-ddim", toy, "made", "--preset", "cifar10", model=False)
    assert result.exit_code == 2 and "is for the checkpoint file of a DDPM net" in result.stderr
    with pytest.raises(UsageError, match="--steps says 1001 steps, more than the schedule's 1000"):
        convert("ddim", Path("net.ckpt"), here / "made", Wishes(steps=1001))
    with pytest.raises(ModelError, match=r"No model 'gone\.ckpt'"):
        opened("gone.ckpt")


# ------------------------------------------------------------------------------------------------ presets


def official_keys(name):
    """The keys and shapes of a preset's file, by the official nets."""
    preset = PRESETS[name]
    widths, layers, attention = (preset.net[key] for key in ("widths", "layers", "attention"))
    with torch.device("meta"):
        if preset.arch == SIMPLE:
            return simple_names(module_of_diffusers(config(widths, attention.index(True), layers)).state_dict())
        # guided-diffusion has one attention table for all, and its first width is 256 where that is halved.
        unit = 256 if widths[:2] == [128, 256] else widths[0]
        return official_adm(
            **{"model_channels": unit, "channel_mult": [width / unit for width in widths], "num_res_blocks": layers},
            attention_resolutions=[2**level for level, attends in enumerate(attention) if attends],
            **{"num_head_channels": preset.heads.get("head_width", -1), "num_heads": preset.heads.get("heads", -1)},
            **{"num_classes": preset.net.get("classes"), "use_new_attention_order": preset.new_order},
        ).state_dict()


def module_of_diffusers(options):
    from diffusers import UNet2DModel

    return UNet2DModel(**options)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_the_nets_of_their_files(name):
    preset = PRESETS[name]
    state = official_keys(name)
    read = {SIMPLE: ddpm_simple, ADM: adm_unet}[preset.arch]
    options = read.options_of(state)
    assert {key: options[key] for key in preset.net} == dict(preset.net)
    with torch.device("meta"):
        net = build_net({key: value for key, value in options.items() if value is not None} | dict(preset.heads))
        assert read.rename(state, net).keys() == net.state_dict().keys()


def test_the_help_names_all_presets():
    assert ", ".join(name for name in PRESETS if name not in TINY) == module.PRESETS


def test_the_card_of_a_converted_file_says_what_it_was_made_of(tmp_path):
    torch.save(ADM_STATE, tmp_path / "net.pt")
    to_rddm(opened(str(tmp_path / "net.pt"), Wishes(preset="tiny-adm")), tmp_path / "made")
    card = json.loads((tmp_path / "made" / "config.json").read_text())
    assert card["net"]["label"] == 0 and card["net"]["out_channels"] == 3 and card["net"]["head_width"] == 16
    assert card["source"].startswith("DDPM checkpoint net.pt (sha256 ") and "preset tiny-adm" in card["source"]
    assert find(str(tmp_path / "made")).entry.data == "none"
