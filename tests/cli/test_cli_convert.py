"""``models convert``: from an official file to a folder that ``-m`` takes, or a sentence, exit code 4 and nothing."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from official_irsde import compression, nafnet, random_state
from official_trainer import LAYOUTS, Layout, model_state, trainer
from safetensors.torch import save_file

from restorer.cli import convert as module
from restorer.convert.irsde_presets import PRESETS as IRSDE_PRESETS
from restorer.convert.rddm_presets import PRESETS


def names(folder="."):
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*"))


@pytest.fixture
def convert(here, cli):
    def run(*words, preset="raindrop", file="model.pt"):
        by = ["--preset", preset] if preset else []
        return cli("models", "convert", file, "--from", "rddm", "-o", "made", *by, *words, model=False)

    return run


def test_a_converted_model_restores(here, convert, draw, cli):
    torch.save(trainer(LAYOUTS["istd"]), "model.pt")
    result = convert(preset="istd")
    assert result.exit_code == 0, result.output
    assert result.stdout == "made\n" and names("made") == ["README.md", "config.json", "model.safetensors"]
    assert "no licence of its own" in result.stderr
    draw("a.png"), draw("mask.png", mode="L")
    words = ["-m", "made", "-d", "cpu", "--dtype", "fp32"]
    assert cli("deshadow", "a.png", "--mask", "mask.png", *words, model=False).stdout == "a_deshadowed.png\n"
    assert cli("models", "info", "made", model=False).stdout.splitlines()[1].split() == ["task", "deshadow"]


@pytest.mark.parametrize("preset", ["celeba64", "celeba64-path"])
def test_a_converted_model_draws(here, convert, cli, preset):
    torch.save(trainer(LAYOUTS[preset]), "model.pt")
    assert convert(preset=preset).exit_code == 0
    words = ["--samples", "2", "--size", "16x16", "--steps", "3", "-d", "cpu", "--dtype", "fp32"]
    drawn = cli("generate", "new", "-m", "made", *words, model=False)
    assert drawn.stdout.splitlines() == ["new/0000.png", "new/0001.png"]
    assert Path("new/0000.png").read_bytes() != Path("new/0001.png").read_bytes()
    assert cli("restore", "new", "-m", "made", model=False).exit_code == 2


def test_latents_of_two_files_and_options_of_irsde(here, cli):
    torch.save(random_state(nafnet(8, (1, 1), 1, (1, 1), channels=10, out=5)), "net.pth")
    torch.save(random_state(compression(4, (2, 3), 5)), "codec.pth")
    words = ["models", "convert", "net.pth", "--from", "irsde", "-o", "made"]
    refused = cli(*words, "--preset", "latent-dehaze", model=False)
    assert refused.exit_code == 2 and "add --codec with the file" in refused.stderr and names("made") == []
    by_hand = "-T dehaze --sampler posterior --steps 3 --max-sigma 50 --eps 0.005 --length 30 --theta cosine"
    result = cli(*words, "--codec", "codec.pth", *by_hand.split(), model=False)
    assert result.exit_code == 0, result.output
    card = json.loads(Path("made/config.json").read_text())
    assert card["schedule"] == {"kind": "irsde", "T": 30, "theta": "cosine", "max_sigma": 50.0, "eps": 0.005}
    assert card["codec"]["arch"] == "latent_unet" and card["sample"]["steps"] == 3
    wrong = cli(*words, "-y", "--preset", "denoise", model=False)
    assert wrong.exit_code == 4 and "preset denoise is of a U-Net shown x, found a NAFNet" in wrong.stderr


def test_json_and_quiet(here, convert):
    torch.save(trainer(Layout()), "model.pt")
    told = json.loads(convert("--json", "--name", "drops", "--license", "MIT", "--steps", "3").stdout)
    assert (told["v"], told["output"], told["card"]["name"], told["card"]["license"]) == (1, "made", "drops", "MIT")
    assert told["notes"] == ["--steps 3 is taken, not 5 of the preset raindrop."]
    quiet = convert("-q", "-y", "--dtype", "fp16")
    assert (quiet.stdout, quiet.stderr) == ("made\n", "")
    assert json.loads(Path("made/config.json").read_text())["weights"]["dtype"] == "float16"


def test_all_said_by_options(here, convert):
    torch.save(trainer(Layout(family="ddim")), "model.pt")
    words = "-T deblur --objective pred_res_noise --time index --input x,y --sampler rddm --steps 5 --sum-scale 1"
    assert convert(*words.split(), preset=None).exit_code == 0
    card = json.loads(Path("made/config.json").read_text())
    assert (card["task"], card["sample"]["start"]) == ("deblur", 1.0)
    assert card["predict"]["input"] == ["x", "y"]


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def truncated(size):
    def make(file):
        torch.save(trainer(Layout()), file)
        file.write_bytes(file.read_bytes()[:size])

    return make


def saved(content):
    return lambda file: torch.save(content, file)


def without(state, name):
    return {key: value for key, value in state.items() if name not in key}


WRONG = {
    "missing": (lambda file: None, "cannot read this checkpoint: No such file"),
    "empty": (lambda file: file.touch(), "an empty file, expected a checkpoint"),
    "folder": (lambda file: file.mkdir(), "a folder, expected the checkpoint file of a trainer"),
    "text": (lambda file: file.write_text("<!DOCTYPE html><html>not here</html>"), "it starts with b'<!DOCTYP'"),
    "head": (truncated(3), "no checkpoint that torch.save wrote"),
    "half": (truncated(100_000), "damaged or cut short"),
    "nearly whole": (truncated(-30), "damaged or cut short"),
    "safetensors": (lambda file: save_file({"a": torch.zeros(3)}, file), "a safetensors file, expected a checkpoint"),
    "bomb": (saved({**trainer(Layout()), "args": Bomb()}), "asks for the code"),
    "bare bomb": (saved(Bomb()), "asks for the code"),
    "another architecture": (
        saved({"ema": {f"ema_model.{key}": torch.zeros(1) for key in ("conv_in.weight", "mid.attn.q")}}),
        "found keys that are not RDDM's: conv_in.weight, mid.attn.q; expected model...",
    ),
    "missing keys": (
        saved(trainer(Layout(), without(model_state(Layout()), "unet1.mid_attn"))),
        "Not the 320 tensors of an official rddm_unet_two",
    ),
    "extra keys": (
        saved(trainer(Layout(), model_state(Layout()) | {"model.unet0.more": torch.zeros(1)})),
        "not known: unet0.more",
    ),
    "two nets for one": (saved(trainer(LAYOUTS["lol"])), "res_eps of 2 outputs, found one net"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_checkpoint_is_a_sentence_and_nothing_is_written(here, convert, case):
    make, words = WRONG[case]
    make(here / "model.pt")
    before = names()
    result = convert()
    assert result.exit_code == 4
    [sentence] = result.stderr.splitlines()
    assert sentence.startswith("Error: model.pt") and words in sentence and sentence.endswith((".", "?"))
    assert "weights_only" not in sentence and "Traceback" not in result.output and result.stdout == ""
    assert names() == before and not (here / "exploded").exists()


@pytest.mark.parametrize(
    ("words", "preset", "sentence"),
    [
        ([], None, "add --task --objective --time --input --sampler --steps, or --preset"),
        ([], "rain", "Unknown preset 'rain'; did you mean 'raindrop'"),
        (["--from", "hearsay"], "raindrop", "Unknown source 'hearsay'"),
        (["--dtype", "fp8"], "raindrop", "fp8"),
    ],
)
def test_usage_errors(here, convert, words, preset, sentence):
    torch.save(trainer(Layout()), "model.pt")
    result = convert(*words, preset=preset)
    assert result.exit_code == 2 and sentence in result.stderr and names() == ["model.pt"]


def test_a_folder_with_content_wants_a_yes(here, convert, toy):
    torch.save(trainer(Layout()), "model.pt")
    shutil.copytree(toy, "made")
    before = Path("made/config.json").read_bytes()
    result = convert()
    assert result.exit_code == 2 and "made has content already; use -y" in result.stderr
    assert Path("made/config.json").read_bytes() == before
    assert convert("-y").exit_code == 0 and Path("made/config.json").read_bytes() != before


def test_the_help_names_all_presets():
    assert {"rddm": ", ".join(PRESETS), "irsde": ", ".join(IRSDE_PRESETS)} == module.PRESETS
