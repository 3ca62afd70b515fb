"""Models that take a mask are trained with it as they restore with it: shown to the net, or filled before."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from toy_training import smooth_pictures, toy

from restorer import Restorer
from restorer.errors import InputError, UsageError
from restorer.images import read
from restorer.metrics import psnr
from restorer.settings import Settings
from restorer.train.config import read_config
from restorer.train.data import crops_of, feed, validation_set
from restorer.train.learner import learner
from restorer.train.loop import train
from restorer.train.preflight import SHEET, preflight
from restorer.train.recipes import RECIPE
from restorer.train.score import SAMPLES
from restorer.train.team import Alone

CPU = torch.device("cpu")
SHOWN = (
    'net={arch="plain_unet", widths=[8, 8], depths=[1, 1], in_channels=9}',
    'predict.input=["x", "y", "mask"]',
)
MADE = ('task="inpaint"', 'data.damage=[{recipe="scratches", strength=[0.5, 0.9]}]')
FILLED = ("prepare=fill:0.5", *MADE)
PAIRS = ("data.clean=[]", "data.damage=[]", "data.lq=LQ", "data.gt=GT", "data.validation=val")
COLUMNS = 4


@pytest.fixture
def pairs(root):
    """Bright pictures with black rectangles, and white ones where those are; the masks end in .bmp."""
    for folder in (root, root / "val"):
        smooth_pictures(folder / "GT", 3)
        for side in ("LQ", "MASK"):
            (folder / side).mkdir()
        for i in range(3):
            clean = np.asarray(Image.open(folder / "GT" / f"{i}.png")) // 2 + 100
            mask = np.zeros(clean.shape, "uint8")
            mask[5 + i : 20, 8 : 30 + i] = 255
            Image.fromarray(clean).save(folder / "GT" / f"{i}.png")
            Image.fromarray(np.where(mask > 0, 0, clean).astype("uint8")).save(folder / "LQ" / f"{i}.png")
            Image.fromarray(mask).save(folder / "MASK" / f"{i}.bmp")
    return root


def where(example):
    """What the pictures themselves say of the mask, (1, 1, H, W) or (1, H, W)."""
    return (example.x0 != example.y).any(-3, keepdim=True).float()


@pytest.mark.parametrize("words", [(*MADE, "data.clean=['GT']"), PAIRS])
def test_a_crop_has_the_mask_of_its_own_damage(pairs, words):
    config = toy(pairs, *SHOWN, *words, "data.rotate=true")
    crops = crops_of(pairs, config)
    seen = [crops[i] for i in range(8)]
    assert all(torch.equal(one.mask, where(one)) for one in seen)
    assert any(0 < float(one.mask.mean()) < 1 for one in seen)
    shown = validation_set(pairs, config.data, masked=True)
    assert all(one.mask.shape == (1, 1, 32, 32) for one in shown)
    if words is PAIRS:
        assert all(torch.equal(one.mask, where(one)) for one in shown)


def test_the_net_is_shown_what_a_restoration_shows_it(pairs):
    pupil = learner(toy(pairs, *SHOWN, *PAIRS), Alone(CPU))
    [batch] = next(feed(crops_of(pairs, pupil.config), pupil.config.train, 0, 1, pupil.team))
    shown = []
    pupil.net.register_forward_pre_hook(lambda net, args: shown.append(args[0]))
    pupil.descent.loss(batch)
    assert torch.equal(shown[0][:, 3:6], 2 * batch.y - 1)
    assert torch.equal(shown[0][:, 6:], batch.mask.expand(-1, 3, -1, -1))


@pytest.mark.parametrize("words", [FILLED, ("prepare=fill:0.5", *PAIRS)])
def test_what_is_filled_needs_no_net_of_masks(pairs, words):
    config = toy(pairs, *words)
    for example in (crops_of(pairs, config)[2], validation_set(pairs, config.data, config.prepare, masked=True)[0]):
        inside = example.mask.bool().expand_as(example.y)
        assert inside.any() and (example.y[inside] == 0.5).all()
        assert torch.equal(example.y[~inside], example.x0[~inside])


@pytest.mark.parametrize("words", [(*SHOWN, *MADE), (*SHOWN, *PAIRS), FILLED])
def test_a_run_gives_a_model_that_restores_with_a_mask_as_it_was_measured(pairs, words):
    config = toy(pairs, *words)
    *_, last = train(config, pairs, pairs / "run", CPU)
    sheet = read(pairs / "run" / SAMPLES / "step-00000008.png")
    assert sheet.size[0] == COLUMNS * 32 + (COLUMNS - 1) * 8
    model = Restorer.from_pretrained(str(pairs / "run" / "model"), device="cpu", dtype="fp32")
    assert model.takes_mask
    scores = []
    for x0, y, mask, _ in validation_set(pairs, config.data, config.prepare, masked=True):
        made = model.restore(y, Settings(), mask=mask.expand_as(y))
        scores.append(psnr(made.mul(255).round() / 255, x0))
    assert last.psnr == pytest.approx(sum(scores) / len(scores), abs=0.05)  # the weights are kept in float16
    assert read_config(pairs / "run" / RECIPE, ()) == config


def test_the_mask_changes_what_is_learned(pairs):
    losses = []
    for _ in range(2):
        *_, last = train(toy(pairs, *SHOWN, *PAIRS), pairs, pairs / "run", CPU, resume=False)
        losses.append(last.loss)
        for file in (pairs / "MASK").iterdir():
            Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    assert losses[0] != losses[1]


def test_the_masks_may_lie_anywhere(pairs):
    (pairs / "MASK").rename(pairs / "elsewhere")
    with pytest.raises(InputError, match="no folder MASK in it, and the model takes a mask"):
        crops_of(pairs, toy(pairs, *SHOWN, *PAIRS))
    crops = crops_of(pairs, toy(pairs, *SHOWN, *PAIRS, "data.mask=elsewhere"))
    assert torch.equal(crops[0].mask, where(crops[0]))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((*SHOWN, "train.steps=1"), "the damage 'rain' cannot tell where it is; add one of holes, mask, scratches"),
        (("prepare=fill:1",), "the damage 'rain' cannot tell where it is"),
        ((*PAIRS, "data.mask=MASK"), "data: mask is for a net that is shown one"),
        ((*SHOWN, *MADE, "data.mask=MASK"), "mask is the folder of the masks of pairs; give lq and gt too"),
        ((*SHOWN, 'sample={sampler="irsde-ode", steps=2, begin="picture"}'), "a mask is for models that restore what"),
        (("prepare=equalize", *MADE), "prepare: equalize is learned from pairs"),
    ],
)
def test_what_cannot_be_is_a_sentence(pairs, words, sentence):
    with pytest.raises(UsageError, match=sentence):
        toy(pairs, *words)


def test_a_net_without_room_for_the_mask_is_a_sentence(pairs):
    with pytest.raises(UsageError, match=r"the net must make \(3, 8, 8\) of \(9, 8, 8\), but fails"):
        learner(toy(pairs, 'predict.input=["x", "y", "mask"]', *MADE), Alone(CPU))


def plant_missing(root):
    (root / "MASK" / "1.bmp").unlink()
    (root / "val" / "MASK" / "2.bmp").rename(root / "val" / "MASK" / "x.bmp")
    return "GT/1.png: no mask of its name in", "GT/2.png: no mask of its name in"


def plant_two(root):
    Image.open(root / "MASK" / "1.bmp").save(root / "MASK" / "1.png")
    return ("several masks of its name in",)


def plant_size(root):
    Image.open(root / "MASK" / "1.bmp").crop((0, 0, 40, 40)).save(root / "MASK" / "1.bmp")
    return ("MASK/1.bmp: 40x40, and",)


def plant_inverted(root):
    file = root / "MASK" / "1.bmp"
    Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    return ("where it is black; white is damaged",)


@pytest.mark.parametrize("plant", [plant_missing, plant_two, plant_size, plant_inverted])
def test_a_dry_run_finds_what_is_wrong_with_a_mask(pairs, plant):
    sentences = plant(pairs)
    problems = preflight(toy(pairs, *SHOWN, *PAIRS), pairs, pairs / "run", CPU).problems
    problems = [line for line in problems if "shows the same" not in line]
    assert len(problems) == len(sentences)
    assert all(any(sentence in line for line in problems) for sentence in sentences), problems
    if plant is not plant_inverted:
        with pytest.raises(InputError):
            crops = crops_of(pairs, toy(pairs, *SHOWN, *PAIRS))
            [crops[i] for i in range(20)]


def test_a_dry_run_shows_the_masks(pairs):
    config = toy(pairs, *SHOWN, *PAIRS)
    alone = replace(config, data=replace(config.data, validation=None))  # which are the same pictures
    found = preflight(alone, pairs, pairs / "run", CPU)
    assert found.ready, found.problems
    assert read(pairs / "run" / SHEET).size[0] == COLUMNS * 16 + (COLUMNS - 1) * 8


def test_commands_train_and_restore_with_a_mask(pairs, cli, here):
    told = [word for override in (*SHOWN, *PAIRS[:2], *PAIRS[4:]) for word in ("--set", override)]
    sides = [word for side in ("lq", "gt", "mask") for word in (f"--{side}", pairs / side.upper())]
    words = ["train", pairs, "-c", pairs / "train.toml", "-o", pairs / "run", "-d", "cpu", *told, *sides]
    answer = cli(*words, model=False)
    assert answer.exit_code == 0, answer.stderr
    model = pairs / "run" / "model"
    picture, mask = pairs / "val" / "LQ" / "0.png", pairs / "val" / "MASK" / "0.bmp"
    asked = ["restore", picture, "-m", model, "-o", "made.png", "-d", "cpu"]
    assert "needs a mask" in cli(*asked, model=False).stderr
    assert cli(*asked, "--mask", mask, model=False).exit_code == 0
    recipe = json.loads(cli("info", "made.png", "--json", model=False).stdout)["recipe"]
    assert "mask" in recipe
    assert "needed, white where" in cli("models", "info", model, model=False).stdout
    assert "--mask mask.png" in (model / "README.md").read_text()
