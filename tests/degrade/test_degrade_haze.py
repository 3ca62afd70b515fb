"""Haze: its equation solves back, depths are depths, and it lies over everything."""

import pytest
import torch
from damaging import mean_psnr, picture, rng

from restorer.degrade import degrade
from restorer.degrade.haze import _airlight, depth, veiled


def test_a_known_transmission_solves_back():
    x, t, a = picture(), 0.2 + 0.7 * picture()[:, :1], torch.tensor([0.8, 0.82, 0.85])[:, None, None]
    hazy = veiled(x, t, a)
    assert torch.allclose((hazy - a * (1 - t)) / t, x, atol=1e-5)  # J = (I - A (1 - t)) / t


def test_depth_goes_up_to_1_and_has_one_channel():
    for seed in range(20):
        made = depth(picture(40, 56), rng(seed))
        assert made.shape == (1, 1, 40, 56)
        assert float(made.min()) > 0 and float(made.max()) == pytest.approx(1, abs=1e-5)


def test_the_airlight_is_nearly_grey():
    for seed in range(50):
        air = _airlight(rng(seed)).flatten()
        assert 0.5 < float(air.min()) <= float(air.max()) <= 1
        assert float(air.max() - air.min()) < 0.2


def test_more_strength_more_haze_and_less_contrast():
    x = picture()
    scores = [mean_psnr(x, "haze", strength, seeds=16) for strength in (0.1, 0.4, 0.7, 1.0)]
    assert scores == sorted(scores, reverse=True)
    for seed in range(10):
        assert float(degrade(x, "haze", strength=1.0, rng=rng(seed)).std()) < float(x.std())
