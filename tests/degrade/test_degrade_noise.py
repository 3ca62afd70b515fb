"""Noise."""

import pytest
import torch
from damaging import picture, rng

from restorer.degrade import degrade


def test_noise_is_white_of_the_size_asked_for_and_is_not_cut_off():
    x = picture(256, 256)
    difference = degrade(x, "noise", strength=0.25, rng=rng(0)) - x
    assert float(difference.std()) == pytest.approx(25 / 255, rel=0.01)
    assert abs(float(difference.mean())) < 1e-3
    shifted = (difference[..., 1:] * difference[..., :-1]).mean() / difference.square().mean()
    assert abs(float(shifted)) < 0.01
    assert float(degrade(torch.ones(1, 3, 64, 64), "noise", strength=0.25, rng=rng(0)).max()) > 1.2
