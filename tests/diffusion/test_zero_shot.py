"""Every operator with the samplers that are to use it: the measurement is met, whatever the prior thinks."""

import pytest
import torch

from restorer.diffusion.linear import SpectralOperator
from restorer.diffusion.nullspace import ddnm, ddnm_plus, ddnm_plus_scalar
from restorer.diffusion.operators import parse_operator
from restorer.diffusion.predict import Prediction
from restorer.diffusion.samplers import time_grid
from restorer.diffusion.schedule import vp_schedule

SIZE = (16, 24)
WORDS = [
    "sr:4",
    "sr-bicubic:2",
    "gray",
    "mask",
    "blur:gauss:1",
    "cs:0.25",
    "cs-block:0.25",
    "denoise",
    "mask+gray+sr:2",
]
SCHEDULE = vp_schedule(100)


def operator(word):
    keep = (torch.rand(1, 1, *SIZE, generator=torch.Generator().manual_seed(2)) > 0.4).double()
    return parse_operator(word, SIZE, keep=keep if "mask" in word else None)


def stubborn(x, t):
    """A prior that believes in one grey picture."""
    guess = torch.full_like(x, 0.1)
    left, sigma = 1 - float(SCHEDULE.shift[t]), float(SCHEDULE.sigma[t])
    return Prediction(guess, -guess, (x - left * guess) / sigma)


@pytest.mark.parametrize("word", WORDS)
def test_without_noise_the_measurement_is_met_and_the_rest_is_the_priors(word):
    op = operator(word)
    rng = torch.Generator().manual_seed(0)
    y = op.A(torch.rand(2, 3, *SIZE, generator=rng, dtype=torch.float64) - 0.5)
    start = torch.randn(2, 3, *SIZE, generator=rng, dtype=torch.float64)
    *_, last = ddnm(stubborn, SCHEDULE, op, y, start, time_grid(100, 5), eta=0.85)
    assert torch.allclose(op.A(last.x), y, atol=1e-6)
    rest = last.x - 0.1
    assert torch.allclose(op.pinv(op.A(rest)), rest, atol=1e-5)  # nothing but what y asks for


@pytest.mark.parametrize("word", WORDS)
def test_with_noise_every_operator_has_its_sampler(word):
    op = operator(word)
    rng = torch.Generator().manual_seed(0)
    clean = op.A(torch.full((1, 3, *SIZE), 0.1, dtype=torch.float64))
    y = clean + 0.05 * torch.randn(clean.shape, generator=rng, dtype=torch.float64)
    start = torch.randn(1, 3, *SIZE, generator=rng, dtype=torch.float64)
    sampler = ddnm_plus if isinstance(op, SpectralOperator) else ddnm_plus_scalar
    *_, last = sampler(stubborn, SCHEDULE, op, y, start, time_grid(100, 20), sigma_y=0.05, eta=0.85)
    assert last.x.isfinite().all()
    # The prior is right, so what is left of y's noise is at most all of it.
    assert float((op.A(last.x) - clean).std()) <= 0.051
