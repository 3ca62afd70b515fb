"""DDNM on Gaussian data whose posterior is known: the prior N(mu, V diag(sd^2) V^T), its ideal net, and y = A x.

Where the operator sees, the result is what was measured, without variance; where it does not, the prior's own. With
eta = 0 the result is affine in the starting noise, so the map's coefficients are exact: then only the steps are left as
an error. Drawn samples are held to five standard errors, and to the same allowance for the steps.
"""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from restorer.diffusion.linear import SpectralOperator, to
from restorer.diffusion.nullspace import ddnm
from restorer.diffusion.operators import parse_operator
from restorer.diffusion.predict import Prediction
from restorer.diffusion.samplers import quadratic_grid
from restorer.diffusion.schedule import vp_schedule

VP = vp_schedule(1000)
SIDE = 8
OPERATORS = [
    ("denoise", {}),
    ("mask", {"keep": (torch.arange(SIDE * SIDE) % 4 > 0).view(SIDE, SIDE)}),
    ("gray", {}),
    ("gray:luma", {}),
    ("sr:4", {}),
    ("sr-bicubic:4", {}),
    ("blur:gauss:1", {}),
    ("blur:uniform:3", {}),
    ("blur:aniso:2:1", {}),
    ("blur:motion:3:0", {}),
    ("blur:motion:5:30", {"boundary": "circular"}),
    ("cs:0.25", {}),
    ("cs-block:0.25", {}),
    ("gray+sr:2", {}),
]
FEW, MANY = quadratic_grid(1000, 100), quadratic_grid(1000, 400)
STEPS = {len(FEW): 0.05, len(MANY): 0.02}
"""Of the variance, that so many steps leave out: about pi^2 / 4 over their number; and a little for the last one."""
LEFT = 1.02 * (1 - float(VP.shift[-1]))
"""Of mu in x_T, 0.006, with a little for the steps: the sampler's start has none of it, the mean lacks it times sd."""
DRAWS = 2048


class Toy(NamedTuple):
    """The operator, the prior in its coordinates, and the picture that was measured."""

    op: SpectralOperator
    mu: Tensor
    sd: Tensor
    truth: Tensor

    def predict(self, x, t):
        """E[x0 | x_t], direction by direction."""
        scale, sigma = 1 - float(VP.shift[t]), float(VP.sigma[t])
        c = self.op.Vt(x)
        x0 = self.op.V(self.mu + scale * self.sd**2 / (scale**2 * self.sd**2 + sigma**2) * (c - scale * self.mu))
        return Prediction(x0, -x0, (x - scale * x0) / sigma)

    def end(self, x, times):
        """The coordinates of what DDNM makes of the start ``x``, one picture a row."""
        y = self.op.A(self.truth)
        *_, last = ddnm(self.predict, VP, self.op, y.expand(len(x), *y.shape[1:]), x, times, eta=0.0)
        return self.op.Vt(last.x).flatten(1)

    def posterior(self):
        """Mean and standard deviation of every direction."""
        seen = (self.op.sv > 0).expand_as(self.sd)
        return torch.where(seen, self.op.Vt(self.truth), self.mu).flatten(), torch.where(seen, 0, self.sd).flatten()


def toy(word, options, dtype=torch.float64):
    shape = (1, 3 if "gray" in word else 1, SIDE, SIDE)
    rng = torch.Generator().manual_seed(5)
    sd = 0.3 + 0.7 * torch.rand(shape, generator=rng, dtype=torch.float64)
    mu = 0.4 * torch.randn(shape, generator=rng, dtype=torch.float64)
    c = mu + sd * torch.randn(shape, generator=rng, dtype=torch.float64)
    op = parse_operator(word, (SIDE, SIDE), **options)
    assert isinstance(op, SpectralOperator)
    assert word == "denoise" or 0 < int((op.sv > 0).expand(shape[1:]).sum()) < c.numel() or "blur" in word
    mu, sd, truth = (v.to(dtype) for v in (mu, sd, op.V(c)))
    return Toy(to(op, truth), mu, sd, truth)


def exact(case, times):
    """Mean and covariance of the result: a picture without noise, and one for each of the noise's values."""
    n = case.truth.numel()
    x = torch.cat([torch.zeros(1, n), torch.eye(n)]).to(case.truth) * float(VP.sigma[times[0]])
    c = case.end(x.view(-1, *case.truth.shape[1:]), times)
    moves = c[1:] - c[0]
    return c[0], moves.T @ moves


def sampled(case, times):
    z = torch.randn(DRAWS, *case.truth.shape[1:], generator=torch.Generator().manual_seed(6), dtype=case.truth.dtype)
    c = case.end(float(VP.sigma[times[0]]) * z, times)
    return c.mean(0), c.T.cov()


def off(case, mean, covariance, times, draws=None):
    """What of the mean, the variances and the covariances lies further from the posterior than it may."""
    wanted, sd = case.posterior()
    tiny = 1e-8 if case.truth.dtype == torch.float64 else 1e-5
    error = 5 / draws**0.5 if draws else 0.0
    variance, scale = covariance.diagonal(), sd[:, None] * sd
    apart = (covariance - covariance.diagonal().diag()).abs()
    found = {
        "mean": (mean - wanted).abs() > tiny + (LEFT * case.mu.flatten().abs() + error) * sd,
        "variance": (variance - sd**2).abs() > tiny + (STEPS[len(times)] + 2**0.5 * error) * sd**2,
        "covariance": apart > tiny + error * scale,
    }
    return [name for name, too_far in found.items() if bool(too_far.any())]


@pytest.mark.parametrize(("word", "options"), OPERATORS, ids=[word for word, _ in OPERATORS])
def test_without_noise_the_result_is_the_posterior(word, options):
    case = toy(word, options)
    assert off(case, *exact(case, MANY), MANY) == []


@pytest.mark.parametrize(("word", "options"), OPERATORS, ids=[word for word, _ in OPERATORS])
def test_and_so_are_samples_of_it(word, options):
    case = toy(word, options, torch.float32)
    assert off(case, *sampled(case, FEW), FEW, DRAWS) == []


@pytest.mark.parametrize("word", ["sr:4", "gray", "cs:0.25"])
def test_a_wrong_prior_is_found_out(word):
    case = toy(word, {}, torch.float32)
    moments = sampled(case, FEW)
    for name, wrong in [
        ("mean", case._replace(mu=case.mu + 0.2 * case.sd)),
        ("variance", case._replace(sd=1.15 * case.sd)),
        ("mean", case._replace(truth=case.truth + 0.01)),
    ]:
        assert name in off(wrong, *moments, FEW, DRAWS)
