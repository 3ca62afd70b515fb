"""Nets that are shown a picture deconvolved learn from what they are shown when they restore; and reduced damage."""

import json

import pytest
import torch
from toy_training import smooth_pictures, toy

from restorer import Restorer
from restorer.deconvolution import MADE, deconvolved
from restorer.degrade import degrade
from restorer.diffusion.predict import DECONVOLVED
from restorer.errors import UsageError
from restorer.images import read, write
from restorer.images.picture import Picture
from restorer.metrics import psnr
from restorer.settings import Settings
from restorer.train.data import crops_of, feed, validation_set
from restorer.train.learner import learner
from restorer.train.loop import train
from restorer.train.preflight import preflight
from restorer.train.team import Alone

CPU = torch.device("cpu")
WORDS = (
    f'net={{arch="plain_unet", widths=[8, 8], depths=[1, 1], in_channels={6 + MADE}}}',
    f"predict.input={json.dumps(['x', 'y', *DECONVOLVED])}",
    "prepare=deconvolve",
    'task="deblur"',
    *("data.clean=[]", "data.damage=[]", "data.lq=LQ", "data.gt=GT", "data.validation=val"),
)


@pytest.fixture
def pairs(root):
    for folder in (root, root / "val"):
        smooth_pictures(folder / "GT", 3)
        (folder / "LQ").mkdir()
        for i in range(3):
            x = read(folder / "GT" / f"{i}.png").pixels
            y = degrade(x, "motion", strength=0.2, rng=torch.Generator().manual_seed(i))
            write(Picture(y), folder / "LQ" / f"{i}.png")
    return root


def whole(root, pattern):
    """The degraded pictures deconvolved, each (MADE, H, W) of 8-bit levels."""
    files = sorted((root / "LQ").glob(pattern))
    return [(deconvolved(read(file).pixels)[0] * 255).round() / 255 for file in files]


def test_a_crop_is_of_the_whole_picture_deconvolved(pairs):
    crops = crops_of(pairs, toy(pairs, *WORDS, "data.flip=false"))
    known = torch.cat([picture.unfold(1, 16, 1).unfold(2, 16, 1).flatten(1, 2) for picture in whole(pairs, "*.png")], 1)
    for i in range(6):
        shown = crops[i].mask
        assert shown.shape == (MADE, 16, 16)
        assert bool((known - shown[:, None]).abs().amax((0, 2, 3)).lt(1e-6).any())


def test_the_net_is_shown_what_a_restoration_shows_it(pairs):
    pupil = learner(toy(pairs, *WORDS), Alone(CPU))
    [batch] = next(feed(crops_of(pairs, pupil.config), pupil.config.train, 0, 1, pupil.team))
    shown = []
    pupil.net.register_forward_pre_hook(lambda net, args: shown.append(args[0]))
    pupil.descent.loss(batch)
    assert torch.equal(shown[0][:, 3:6], 2 * batch.y - 1)
    assert torch.equal(shown[0][:, 6:], batch.mask)


def test_a_run_gives_a_model_that_restores_as_it_was_measured(pairs):
    config = toy(pairs, *WORDS, "data.validation_crop=512")
    *_, last = train(config, pairs, pairs / "run", CPU)
    model = Restorer.from_pretrained(str(pairs / "run" / "model"), device="cpu", dtype="fp32")
    scores = []
    for x0, y, *_ in validation_set(pairs, config.data, config.prepare):
        scores.append(psnr(model.restore(y, Settings()).mul(255).round() / 255, x0))
    assert last.psnr == pytest.approx(sum(scores) / len(scores), abs=0.05)  # the weights are kept in float16


def test_preflight_finds_nothing_but_pictures_that_are_there_twice(pairs):
    found = preflight(toy(pairs, *WORDS), pairs, CPU, pairs / "run").problems
    assert all("shows the same" in problem for problem in found), found


def test_it_is_learned_from_pairs(root):
    with pytest.raises(UsageError, match="learned from pairs"):
        toy(root, *WORDS[:4])


def test_a_reduced_damage_is_learned_at_a_smaller_size(root):
    words = ('data.damage=[{recipe="shadow", reduce=2, strength=[0.5, 0.9]}]', "data.flip=false")
    config = toy(root, *words)
    crops = crops_of(root, config)
    files = sorted((root / "clean").glob("*"))
    means = torch.cat([torch.nn.functional.avg_pool2d(read(file).pixels, 2, 1).flatten(2) for file in files], 2)[0]
    for i in range(4):
        x0, y, *_ = crops[i]
        assert x0.shape == y.shape == (3, 16, 16)
        assert bool((y <= x0 + 1e-6).all())
        # The middle of a smooth crop of twice the side, every other pixel a mean of its neighbours.
        near = (means - x0[:, 8, 8][:, None]).abs().amax(0).min()
        assert float(near) < 0.02
    [x0, y, *_] = validation_set(root, config.data)[0]
    assert x0.shape == y.shape == (1, 3, 16, 16)
    with pytest.raises(UsageError, match="from 1 up"):
        toy(root, 'data.damage=[{recipe="shadow", reduce=0}]')
