"""JPEG: the quality that a strength stands for, and what a file of that quality would show."""

import io

import numpy as np
import pytest
import torch
from damaging import mean_psnr, picture, rng
from PIL import Image

from restorer.degrade import degrade
from restorer.degrade import jpeg as module


@pytest.mark.parametrize(("strength", "quality"), [(0, 95), (0.294, 40), (0.391, 30), (0.529, 20), (0.765, 10), (1, 5)])
def test_reported_qualities_are_reached(strength, quality):
    assert module.quality(strength) == quality


def test_every_quality_is_and_it_only_falls():
    qualities = [module.quality(i / 1000) for i in range(1001)]
    assert qualities == sorted(qualities, reverse=True)
    assert set(qualities) == set(range(5, 96))


def test_more_strength_more_damage():
    x = (picture(64, 64) + 0.1 * torch.randn(1, 3, 64, 64, generator=rng(0))).clamp(0, 1)
    scores = [mean_psnr(x, "jpeg", strength, seeds=6) for strength in (0.05, 0.3, 0.6, 0.8, 1.0)]
    assert scores == sorted(scores, reverse=True)


def test_it_is_what_a_file_shows(monkeypatch):
    monkeypatch.setattr(module, "CROPPED_CHANCE", 0.0)
    monkeypatch.setattr(module, "FULL_COLOUR_CHANCE", 0.0)
    x = picture(40, 56)
    file = io.BytesIO()
    Image.fromarray((x[0].permute(1, 2, 0) * 255).round().byte().numpy()).save(file, "JPEG", quality=10)  # 4:2:0
    shown = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None] / 255
    assert torch.equal(degrade(x, "jpeg", strength=0.765, rng=rng(0)), shown)


def test_blocks_begin_elsewhere_in_pictures_that_were_cropped(monkeypatch):
    x, starts = picture(64, 64), set()
    for cropped in (0.0, 1.0):
        monkeypatch.setattr(module, "CROPPED_CHANCE", cropped)
        for seed in range(12):
            y = degrade(x, "jpeg", strength=1.0, rng=rng(seed))
            steps = (y[..., 1:] - y[..., :-1]).abs().mean((0, 1, 2))
            starts.add((cropped, int(torch.stack([steps[i::8].mean() for i in range(8)]).argmax())))
    assert {start for cropped, start in starts if not cropped} == {7}
    assert len({start for cropped, start in starts if cropped}) > 3
