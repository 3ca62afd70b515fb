"""Zero-shot restoration from words to files and exit codes."""

import json

import pytest
import torch
from PIL import Image
from test_generate import PRIOR
from toy import toy_model, toy_net

from restorer import images


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "prior"
    changes = {**PRIOR, "size": {"trained": 16}}
    return str(toy_model(folder, state=toy_net(in_channels=3).state_dict(), **changes))


@pytest.fixture
def run(cli, prior):
    def run(*words, model=None):
        return cli(*words, "-m", model or prior, "-d", "cpu", "--dtype", "fp32", "--steps", "2", model=False)

    return run


def pixels(path):
    return images.read(path).pixels


def test_upscale(here, draw, run):
    draw("small.png", size=(6, 5))
    result = run("upscale", "small.png", "--scale", "4")
    assert result.exit_code == 0, result.stderr
    large = pixels(here / "small_upscaled.png")
    assert large.shape == (1, 3, 20, 24)
    assert (torch.nn.functional.avg_pool2d(large, 4) - pixels(here / "small.png")).abs().max() < 1 / 255
    assert "consistency" in result.stderr
    assert run("upscale", "small.png", "--scale", "4").stderr.count("skipped") == 1
    assert "other settings" in run("upscale", "small.png", "--scale", "2").stderr


def test_inpaint(here, draw, run):
    draw("photo.png", size=(16, 12))
    mask = Image.new("L", (16, 12))
    mask.paste(255, (4, 4, 8, 8))
    mask.save("mask.png")
    result = run("inpaint", "photo.png", "--mask", "mask.png")
    assert result.exit_code == 0, result.stderr
    known = pixels(here / "mask.png") == 0
    before, after = pixels(here / "photo.png"), pixels(here / "photo_inpainted.png")
    assert torch.equal(before[known], after[known]) and not torch.equal(before, after)


def test_colorize_writes_colours_where_there_were_none(here, draw, run):
    draw("grey.png", size=(16, 12), mode="L")
    result = run("colorize", "grey.png")
    assert result.exit_code == 0, result.stderr
    with Image.open("grey_colorized.png") as made:
        assert made.mode == "RGB"
    after, before = pixels(here / "grey_colorized.png"), pixels(here / "grey.png")
    assert (after.mean(1, keepdim=True) - before).abs().max() < 1 / 255
    assert (after[:, 0] - after[:, 1]).abs().max() > 0.02


def test_an_old_photograph(here, draw, run):
    draw("old.jpg", size=(12, 10), mode="L")
    mask = Image.new("L", (12, 10))
    mask.paste(255, (2, 2, 3, 9))
    mask.save("m.png")
    result = run("restore", "old.jpg", "--operator", "mask+gray+sr:2", "--mask", "m.png", "--sigma", "5")
    assert result.exit_code == 0, result.stderr
    assert pixels(here / "old_restored.jpg").shape == (1, 3, 20, 24)


def test_simulate_tells_scores(here, draw, run):
    draw("clean.png", size=(32, 32))
    result = run("restore", "clean.png", "--operator", "sr:4", "--simulate", "--json")
    line, summary = map(json.loads, result.stdout.splitlines())
    assert line["size"] == [32, 32] and (line["operator"], line["method"]) == ("sr:4", "ddnm")
    assert line["psnr"] > 5 and 0 <= line["ssim"] <= 1 and line["consistency"] < 0.05
    assert summary["summary"]["consistency"] == line["consistency"]
    recipe = images.read_recipe(here / "clean_restored.png")
    assert recipe["operator"] == "sr:4" and recipe["simulate"] is True and recipe["eta"] == 1.0


def test_travel_windows_and_methods_change_the_picture(here, draw, run):
    draw("a.png", size=(12, 8))
    made = []
    for more in (
        [],
        ["--travel-length", "1", "--travel-repeat", "2"],
        ["--windows", "mask-shift"],
        ["--tile", "off"],
        ["--tile", "20", "--tile-overlap", "12"],
        ["--method", "ddrm"],
        ["--eta", "0"],
        ["--sampler", "repaint"],
    ):
        result = run("restore", "a.png", "--operator", "sr:2", "-o", f"{len(made)}.png", *more)
        assert result.exit_code == 0, result.stderr
        made.append((here / f"{len(made)}.png").read_bytes())
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["restore", "a.png", "--operator", "sr4"], 2, "Unknown operator 'sr4'; did you mean 'sr'"),
        (["restore", "a.png", "--operator", "sr:2.5"], 2, "the factor is a whole number from 1 on"),
        (["upscale", "a.png", "--scale", "2.5"], 2, "by a whole number, not 2.5; use --scale 2"),
        (["upscale", "a.png", "--scale", "2", "--operator", "sr:2"], 2, "leave out --scale, or --operator"),
        (["inpaint", "a.png"], 2, "needs a mask, white where the picture is not known: --mask FILE"),
        (["inpaint", "a.png", "--mask", "small.png"], 1, "a mask of 4x4 pixels, the picture has 13x10"),
        (["restore", "a.png", "--operator", "sr:4", "--simulate"], 1, "cut the picture to 12x8"),
        (["restore", "a.png", "--operator", "cs:0.25"], 2, "add --simulate"),
        (["restore", "a.png"], 2, "name the damage: --operator sr:4"),
        (["restore", "a.png", "--operator", "sr:2", "--tile", "big"], 2, "--tile is auto, off, or a number"),
        (["restore", "a.png", "--operator", "sr:2", "--mask", "small.png"], 2, "has no use for a mask"),
        (["derain", "a.png", "--operator", "sr:2"], 2, "No such option"),
        (["restore", "a.png", "--operator", "sr:2", "--class", "3"], 2, "knows no classes; leave out --class"),
    ],
)
def test_words_that_cannot_be(here, draw, run, words, code, sentence):
    draw("a.png", size=(13, 10))
    Image.new("L", (4, 4)).save("small.png")
    result = run(*words)
    assert result.exit_code == code and sentence in " ".join(result.stderr.split()), result.stderr
    assert sorted(path.name for path in here.iterdir()) == ["a.png", "small.png"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--travel-repeat", "2"], "--travel-repeat is for zero-shot restoration; name the damage too"),
        (["--windows", "blend"], "--windows is for zero-shot restoration"),
        (["--simulate"], "--simulate is for zero-shot restoration"),
        (["--operator", "sr:2"], "'toy' is for derain; an operator needs a prior"),
    ],
)
def test_a_trained_model_refuses_what_it_cannot_use(here, draw, run, toy, words, sentence):
    draw("a.png", size=(13, 10))
    result = run("restore", "a.png", *words, model=str(toy))
    assert result.exit_code == 2 and sentence in " ".join(result.stderr.split()), result.stderr
