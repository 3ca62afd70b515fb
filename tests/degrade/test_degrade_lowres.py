"""Low resolution: MATLAB's reduction, and the very enlargement that models for upscaling are shown."""

import pytest
import torch
from damaging import picture, rng

from restorer.degrade import degrade
from restorer.degrade.lowres import pixelated, reduced
from restorer.diffusion.resample import bicubic
from restorer.prepare import preparation


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_reduction_is_the_antialiased_bicubic_of_ddnm(factor, size):
    x = picture(*size)
    assert torch.allclose(reduced(x, factor), bicubic(size, factor).A(x), atol=1e-5)


@pytest.mark.parametrize("factor", [2, 2.375, 3, 4])
def test_reduction_keeps_what_is_even_or_rises_evenly(factor):
    assert torch.allclose(reduced(torch.full((1, 3, 30, 41), 0.3), factor), torch.tensor(0.3), atol=1e-6)
    ramp = torch.arange(96.0).expand(1, 1, 96, 96)
    small = reduced(ramp, factor)[0, 0, 0]
    centres = (torch.arange(len(small)) + 0.5) * factor - 0.5
    assert torch.allclose(small[5:-5], centres[5:-5], atol=0.01)


@pytest.mark.parametrize("factor", [2, 4])
def test_training_shows_what_a_model_is_shown_when_it_upscales(factor):
    """The picture reduced, in a file of 8 bits, read by a card that says ``enlarge-bicubic:N``: equal to the bit."""
    x = torch.rand(1, 3, 24, 36, generator=rng(0))
    file = (reduced(x, factor).clamp(0, 1) * 255).round().byte()
    shown = preparation(f"enlarge-bicubic:{factor}").apply(file.float() / 255, None)
    assert torch.equal(degrade(x, f"lowres{factor}", strength=0.5, rng=rng(0)), shown)


@pytest.mark.parametrize("factor", [2, 2.125, 3, 3.875, 4])
@pytest.mark.parametrize("size", [(1, 1), (5, 31), (64, 63)])
def test_sizes_that_do_not_divide_stay(factor, size):
    assert pixelated(picture(*size), factor).shape == (1, 3, *size)


def test_fixed_factors_draw_nothing():
    x, draw = picture(), rng(0)
    assert torch.equal(degrade(x, "lowres2", strength=0.1, rng=draw), degrade(x, "lowres2", strength=1.0, rng=draw))
    assert torch.equal(draw.get_state(), rng(0).get_state())


def test_lowres_draws_factors_up_to_the_strength():
    x, factors = torch.rand(1, 3, 32, 32, generator=rng(0)), [2 + i / 8 for i in range(17)]
    made = {factor: pixelated(x, factor) for factor in factors}
    for strength, largest in ((0.25, 2.5), (1.0, 4.0)):
        drawn = [degrade(x, "lowres", strength=strength, rng=rng(seed)) for seed in range(40)]
        seen = {factor for factor in factors for y in drawn if torch.equal(y, made[factor])}
        assert all(any(torch.equal(y, made[factor]) for factor in factors) for y in drawn)
        assert max(seen) <= largest + 1 / 16 and len(seen) >= 3
