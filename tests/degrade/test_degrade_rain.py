"""Rain: only light, as much as asked for, from outside the picture too, along the wind."""

import pytest
import torch
from damaging import mean_psnr, picture, rng

from restorer.degrade import degrade
from restorer.degrade import rain as module


@pytest.fixture
def no_veil(monkeypatch):
    monkeypatch.setattr(module, "VEIL_CHANCE", 0.0)


def test_rain_only_brightens(no_veil):
    grey = torch.full((1, 3, 64, 64), 0.5)
    for seed in range(20):
        y = degrade(grey, "rain", strength=0.5, rng=rng(seed))
        assert float(y.min()) > 0.5 - 1e-6
        assert float(y.mean()) > 0.5


def test_more_strength_more_damage():
    means = [mean_psnr(picture(96, 96), "rain", strength, seeds=16) for strength in (0.1, 0.4, 0.7, 1.0)]
    assert means == sorted(means, reverse=True)
    assert means[0] > 25
    assert means[-1] < 15


@pytest.mark.parametrize("layer", [module._streak_layer, module._noise_layer])
def test_a_layer_has_the_light_asked_for_at_any_size(layer):
    """The analytic densities hold, before clipping matters, and do not depend on the size of the picture."""
    asked = 0.05
    small = [layer(128, 128, 0.3, asked, rng(seed)) for seed in range(40)]
    large = [layer(256, 192, 0.3, asked, rng(seed)) for seed in range(40)]
    mean_small, mean_large = (float(torch.stack(maps).mean()) for maps in (small, large))
    assert mean_small == pytest.approx(mean_large, rel=0.1)
    for maps in (small, large):
        assert float(torch.stack(maps).square().mean().sqrt()) == pytest.approx(asked, rel=0.1)


def test_rain_enters_from_outside():
    """Borders are as wet as the middle."""
    light = torch.stack([module._streak_layer(96, 96, 0.5, 0.1, rng(seed)) for seed in range(60)]).mean(0)
    border = torch.cat([light[:8].flatten(), light[-8:].flatten(), light[:, :8].flatten(), light[:, -8:].flatten()])
    assert float(border.mean()) == pytest.approx(float(light[24:72, 24:72].mean()), rel=0.1)


@pytest.mark.parametrize("angle", [0.0, 0.7, -1.2])
def test_streaks_are_odd_sized_bounded_and_lie_along_the_wind(angle):
    kernels = module._kernels(4, module.NOISE_LENGTH, angle, rng(5))
    assert kernels.shape[1] % 2 == kernels.shape[2] % 2 == 1
    assert 0 <= float(kernels.min()) <= float(kernels.max()) <= 1
    y = torch.arange(kernels.shape[1]) - kernels.shape[1] // 2
    x = torch.arange(kernels.shape[2]) - kernels.shape[2] // 2
    weight = kernels.sum(0)
    xx, yy = (weight * x.square()).sum(), (weight * y[:, None].square()).sum()
    xy = (weight * x * y[:, None]).sum()
    assert float(0.5 * torch.atan2(2 * xy, yy - xx)) == pytest.approx(angle, abs=0.06)
