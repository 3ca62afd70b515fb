"""Blur: an even picture stays, kernels are those of apertures, light adds up where asked."""

import pytest
import torch
from damaging import mean_psnr, picture, rng

from restorer.degrade import blur as module
from restorer.degrade import degrade
from restorer.degrade.srgb import to_linear, to_srgb


@pytest.mark.parametrize("recipe", ["motion", "defocus"])
@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_an_even_picture_stays(recipe, value):
    even = torch.full((1, 3, 40, 50), value)
    for seed in range(12):
        assert torch.allclose(degrade(even, recipe, strength=0.8, rng=rng(seed)), even, atol=1e-4)


@pytest.mark.parametrize("recipe", ["blur", "motion", "defocus"])
def test_more_strength_more_blur(recipe):
    noise = torch.rand(1, 3, 96, 96, generator=rng(0))
    scores = [mean_psnr(noise, recipe, strength, seeds=16) for strength in (0.05, 0.2, 0.5, 1.0)]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("size", [0.01, 0.4, 1.0])
def test_apertures_share_out_1_and_are_as_wide_as_asked(size):
    shapes = [
        module._gaussian(size, rng(0)),
        *(module._disc(1.0, (blades, 0.3), size, rng(0)) for blades in (0, 5, 6, 8)),
    ]
    for made in shapes:
        assert made.shape[0] == made.shape[1] and made.shape[0] % 2 == 1
        assert float(made.min()) >= 0 and float(made.sum()) == pytest.approx(1, abs=1e-5)


def test_a_disc_has_its_area_and_a_polygon_less():
    areas = [float(made.sum() / made.max()) for made in (module._disc(1.0, (n, 0.3), 1.0, rng(0)) for n in (0, 8, 5))]
    assert areas[0] == pytest.approx(torch.pi * module.DISC**2, rel=0.02)
    assert areas[0] > areas[1] > areas[2]


def half_white(monkeypatch, linear):
    """A black and white edge, blurred evenly: what the middle of the ramp becomes."""
    for name, value in {"LINEAR_CHANCE": linear, "VARYING_CHANCE": 0.0, "GLARE_CHANCE": 0.0}.items():
        monkeypatch.setattr(module, name, float(value))
    x = torch.zeros(1, 3, 33, 64)
    x[..., 32:] = 1
    y = module._through(x, [torch.full((1, 3), 1 / 3)], rng(0))
    return y[0, 0, 16, 31:33]


def test_light_adds_up_in_linear_light_or_in_srgb(monkeypatch):
    assert torch.allclose(half_white(monkeypatch, linear=False), torch.tensor([1 / 3, 2 / 3]), atol=1e-5)
    assert torch.allclose(half_white(monkeypatch, linear=True), to_srgb(torch.tensor([1 / 3, 2 / 3])), atol=1e-5)


def test_what_stands_still_stays_sharp_beside_what_moves(monkeypatch):
    for name, value in {"VARYING_CHANCE": 1.0, "STILL_CHANCE": 1.0, "GLARE_CHANCE": 0.0, "LINEAR_CHANCE": 0.0}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "STEEP", (1e6, 1e6))
    x = torch.rand(1, 3, 96, 96, generator=rng(0))
    shares = []
    for seed in range(12):
        y = degrade(x, "motion", strength=0.8, rng=rng(seed))
        shares.append(float(((y - x).abs().amax(1) < 1e-6).float().mean()))
    assert 0.1 < sum(shares) / len(shares) < 0.9


def test_srgb_and_back():
    x = picture()
    assert torch.allclose(to_srgb(to_linear(x)), x, atol=1e-6)
    assert float(to_linear(torch.tensor(0.5))) == pytest.approx(0.21404, abs=1e-5)  # IEC 61966-2-1
