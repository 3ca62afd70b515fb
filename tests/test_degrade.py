"""Degradations: the same seed gives the same damage, in range, of any size, as heavy as asked."""

import math

import pytest
import torch
import torch.nn.functional as F

from restorer import degrade as module
from restorer.degrade import DEGRADATIONS, degrade, parse_recipe
from restorer.errors import UsageError


def rng(seed):
    return torch.Generator().manual_seed(seed)


def picture(height=64, width=64):
    """Something smooth with all greys, (1, 3, height, width)."""
    coarse = torch.rand(1, 3, 5, 5, generator=rng(0))
    return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)


def mean_psnr(x, recipe, strength, seeds):
    """PSNR of the mean squared error over seeds: one crop that happens to stay dry does not make it infinite."""
    copies = torch.cat([degrade(x, recipe, strength=strength, rng=rng(seed)) for seed in range(seeds)])
    return -10 * math.log10(float((copies - x).square().mean()))


@pytest.fixture
def no_veil(monkeypatch):
    monkeypatch.setattr(module, "VEIL_CHANCE", 0.0)


@pytest.mark.parametrize("recipe", [*DEGRADATIONS, "rain+drops"])
class TestEveryDegradation:
    def test_same_seed_same_bytes(self, recipe):
        x = picture()
        first = degrade(x, recipe, strength=0.6, rng=rng(3))
        assert torch.equal(first, degrade(x, recipe, strength=0.6, rng=rng(3)))
        assert not torch.equal(first, degrade(x, recipe, strength=0.6, rng=rng(4)))

    def test_the_global_generator_is_left_alone(self, recipe):
        before = torch.get_rng_state()
        degrade(picture(), recipe, strength=0.6, rng=rng(3))
        assert torch.equal(before, torch.get_rng_state())

    def test_strength_0_changes_nothing(self, recipe):
        x = picture()
        assert torch.equal(degrade(x, recipe, strength=0.0, rng=rng(0)), x)

    def test_the_input_is_not_written_to(self, recipe):
        x = picture()
        degrade(x, recipe, strength=1.0, rng=rng(0))
        assert torch.equal(x, picture())

    @pytest.mark.parametrize("size", [(17, 33), (128, 75), (1, 1)])
    @pytest.mark.parametrize("strength", [0.05, 1.0])
    def test_shape_type_and_range_are_kept(self, recipe, size, strength):
        for seed in range(5):
            y = degrade(picture(*size), recipe, strength=strength, rng=rng(seed))
            assert y.shape == (1, 3, *size)
            assert y.dtype == torch.float32
            if recipe != "noise":
                assert 0 <= float(y.min()) <= float(y.max()) <= 1


def test_noise_is_white_of_the_size_asked_for_and_is_not_cut_off():
    x = picture(256, 256)
    difference = degrade(x, "noise", strength=0.25, rng=rng(0)) - x
    assert float(difference.std()) == pytest.approx(25 / 255, rel=0.01)
    assert abs(float(difference.mean())) < 1e-3
    shifted = (difference[..., 1:] * difference[..., :-1]).mean() / difference.square().mean()
    assert abs(float(shifted)) < 0.01
    assert float(degrade(torch.ones(1, 3, 64, 64), "noise", strength=0.25, rng=rng(0)).max()) > 1.2


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


def test_convolution_is_the_direct_one_and_does_not_wrap():
    maps = torch.rand(3, 40, 45, generator=rng(0))
    kernels = torch.rand(3, 7, 5, generator=rng(1))
    direct = F.conv2d(maps[None], kernels.flip(1, 2)[None])[0, 0]
    assert torch.allclose(module._convolve(maps, kernels), direct, atol=1e-4)


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


@pytest.mark.parametrize(("n", "smooth"), [(1, 1), (7, 8), (97, 100), (128, 128), (217, 225)])
def test_transform_sizes(n, smooth):
    assert module._smooth(n) == smooth


def test_drops_leave_most_of_the_picture_alone():
    x = picture(128, 128)
    for seed in range(10):
        y = degrade(x, "drops", strength=0.5, rng=rng(seed))
        touched = float((x != y).any(1).float().mean())
        assert 0 < touched < 0.5


def test_a_chain_is_its_steps_in_order():
    x, one, two = picture(), rng(7), rng(7)
    chained = degrade(x, "rain+drops", strength=0.5, rng=one)
    by_hand = degrade(degrade(x, "rain", strength=0.5, rng=two), "drops", strength=0.5, rng=two)
    assert torch.equal(chained, by_hand)
    assert parse_recipe(" drops + rain ") == [module.drops, module.rain]


def test_an_unknown_word_is_named_with_the_nearest():
    with pytest.raises(UsageError, match=r"Unknown degradation 'rian'; did you mean 'rain'\?"):
        degrade(picture(), "drops+rian", strength=0.5, rng=rng(0))
    with pytest.raises(UsageError, match="known: drops, noise, rain"):
        parse_recipe("")


@pytest.mark.parametrize("strength", [-0.1, 1.5, math.nan])
def test_strength_outside_its_range_is_refused(strength):
    with pytest.raises(UsageError, match="outside 0 to 1"):
        degrade(picture(), "rain", strength=strength, rng=rng(0))
