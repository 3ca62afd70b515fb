"""Too little light: darker with strength, in 8 bits, with the noise of photons and sensor."""

import math

import pytest
import torch
from damaging import mean_psnr, picture, rng

from restorer.degrade import degrade
from restorer.degrade import light as module


def test_it_darkens_more_with_more_strength():
    x = picture()
    for seed in range(10):
        means = [float(degrade(x, "lowlight", strength=s, rng=rng(seed)).mean()) for s in (0.1, 0.4, 0.7, 1.0)]
        assert means == sorted(means, reverse=True)
        assert means[0] < float(x.mean()) and means[-1] < 0.25 * float(x.mean())
    assert mean_psnr(x, "lowlight", 0.75, seeds=16) < mean_psnr(x, "lowlight", 0.2, seeds=16) - 4


def test_it_has_8_bits():
    levels = degrade(picture(), "lowlight", strength=0.5, rng=rng(0)) * 255
    assert torch.allclose(levels, levels.round(), atol=1e-4)


@pytest.mark.parametrize("coarse", [0.0, 1.0])
def test_the_noise_is_of_photons_and_sensor(monkeypatch, coarse):
    """var = a light + b² [Foi 2008, eq. 1], green; neighbours that share it do not change it."""
    monkeypatch.setattr(module, "COARSE_CHANCE", coarse)
    monkeypatch.setattr(module, "PHOTONS", (1e-3, 1e-3))
    monkeypatch.setattr(module, "SENSOR", (2e-3, 2e-3))
    for light in (0.0, 0.01, 0.3):
        noise = module._noise(torch.full((1, 3, 200, 200), light), rng(1))[0, 1]
        assert float(noise.std()) == pytest.approx(math.sqrt(1e-3 * light + 4e-6), rel=0.03)
        together = float((noise[1:] * noise[:-1]).mean() / noise.square().mean())
        assert together > 0.1 if coarse else abs(together) < 0.02
