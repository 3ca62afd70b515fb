"""Few-step solvers and SDE walks: exact on the oracle, and of their order on Gaussian data with the ideal net."""

import pytest
import torch
from toy import etas

from restorer.diffusion.predict import Prediction
from restorer.diffusion.samplers import SAMPLERS, time_grid
from restorer.diffusion.schedule import (
    Schedule,
    denoising_schedule,
    diffuse,
    goub_schedule,
    irsde_schedule,
    rddm_schedule,
    vp_schedule,
)

SCHEDULES = {
    "irsde": irsde_schedule(max_sigma=50),
    "linear": irsde_schedule(theta="linear"),
    "denoising": denoising_schedule(),
    "goub": goub_schedule(),
    "vp": vp_schedule(100),
    "rddm": rddm_schedule(100),
}


def pictures():
    rng = torch.Generator().manual_seed(0)
    x0, y = torch.rand(2, 2, 3, 4, 5, generator=rng, dtype=torch.float64)
    return x0, y, torch.randn(x0.shape, generator=rng, dtype=torch.float64)


def truth(schedule, x, x0, y, t):
    mean = x0 + schedule.shift[t] * (y - x0)
    return Prediction(x0, y - x0, (x - mean) / schedule.sigma[t])


ORACLE = [name for name in SAMPLERS if not name.startswith(("rddm-", "irsde-"))]


@pytest.mark.parametrize("steps", [1, 3, 10, 99])
@pytest.mark.parametrize("sampler", ORACLE)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_with_the_true_noise_every_stride_ends_at_the_clean_picture(schedule, sampler, steps):
    x0, y, eps = pictures()
    times = [round(99 * (steps - i) / steps) for i in range(steps + 1)]

    rng = torch.Generator().manual_seed(1)
    for eta in etas(sampler, (0.0, 1.0)):
        start = diffuse(schedule, x0, y, eps, 99)
        *_, last = SAMPLERS[sampler](
            lambda x, t: truth(schedule, x, x0, y, t), schedule, start, times, eta=eta,
            randn_like=lambda x: torch.randn(x.shape, generator=rng, dtype=x.dtype),
        )  # fmt: skip
        assert torch.allclose(last.x, x0, atol=1e-9)


@pytest.mark.parametrize("name", ["irsde", "linear", "goub", "vp"])
@pytest.mark.parametrize(("t", "s"), [(99, 98), (50, 49), (2, 1), (99, 40)])
def test_sde_1_is_the_posterior(name, t, s):
    schedule = SCHEDULES[name]
    x0, y, eps = pictures()
    x, z = diffuse(schedule, x0, y, eps, t), eps.flip(0)
    ends = []
    for sampler in ("sde-1", "posterior"):
        states = SAMPLERS[sampler](
            lambda x, t: truth(schedule, x, x0 + 0.1, y, t), schedule, x, [t, s], eta=1.0, randn_like=lambda x: z
        )
        ends.append(next(states).x)
    assert torch.allclose(*ends, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("steps", [1, 2, 5, 33])
@pytest.mark.parametrize("name", ["irsde", "denoising", "goub", "vp", "rddm"])
def test_the_ode_is_exact_where_the_prediction_does_not_change(order, name, steps):
    """With constant x0 and eps every x_s on the way is on the line, whatever the stride."""
    schedule = SCHEDULES[name]
    x0, y, eps = pictures()
    times = [round(99 * (steps - i) / steps) for i in range(steps + 1)]
    guess = Prediction(x0, y - x0, eps)
    for state in SAMPLERS[f"ode-{order}"](
        lambda x, t: guess, schedule, diffuse(schedule, x0, y, eps, 99), times, eta=0.0
    ):
        assert torch.allclose(state.x, diffuse(schedule, x0, y, eps, state.t), atol=1e-12)


# Gaussian data: x0 has mean M and variance V, y is known; the ideal net answers E[x0 | x_t], which is affine in x_t

M, V, Y = 0.3, 0.04, 0.7


def ideal(schedule):
    def predict(x, t):
        left, sigma = 1 - float(schedule.shift[t]), float(schedule.sigma[t])
        seen = left * V / (left**2 * V + sigma**2)
        x0 = M + seen * (x - left * M - (1 - left) * Y)
        return Prediction(x0, Y - x0, (x - left * x0 - (1 - left) * Y) / sigma)

    return predict


def errors(name, schedule, steps, eta):
    """Of mean and standard deviation at the end, from the exact marginal at T.

    Every state is affine in the noise drawn, so a batch whose picture k has noise 1 at draw k alone, and whose last has
    none, shows the coefficients.
    """
    draws = iter(range(steps + 2))

    def one_hot(x):
        noise = torch.zeros_like(x)
        noise[next(draws)] = 1
        noise[-1] = 0
        return noise

    left = 1 - float(schedule.shift[-1])
    start = torch.full((steps + 3, 1, 1, 1), left * M + (1 - left) * Y, dtype=torch.float64)
    start = start + (left**2 * V + float(schedule.sigma[-1]) ** 2) ** 0.5 * one_hot(start)
    times = time_grid(schedule.T, steps)
    *_, last = SAMPLERS[name](ideal(schedule), schedule, start, times, eta=eta, randn_like=one_hot)
    *touched, still = last.x.flatten().tolist()
    variance = sum((v - still) ** 2 for v in touched)
    return abs(still - M), abs(variance**0.5 - V**0.5) / V**0.5


# sampler, its eta, how much smaller its error is with twice the steps: 2 for first order, 4 and 8 for the others,
# which the first steps and the last, of lower order, hold back a little
FALLS = [
    ("euler", 1.0, 1.9),
    ("ode", 0.0, 1.9),
    ("posterior", 1.0, 1.8),
    ("ode-1", 0.0, 1.9),
    ("ode-2", 0.0, 3.8),
    ("ode-3", 0.0, 6.0),
    ("sde-1", 1.0, 1.8),
    ("sde-2", 1.0, 3.8),
]


@pytest.mark.parametrize(("sampler", "eta", "factor"), FALLS)
def test_the_error_falls_with_the_order_of_the_solver(sampler, eta, factor):
    schedule = irsde_schedule(1000, max_sigma=50)
    (mean, rough), (finer_mean, fine) = (errors(sampler, schedule, steps, eta) for steps in (80, 160))
    assert fine < rough / factor
    assert fine < 0.03
    assert finer_mean < max(mean / 1.9, 1e-14)  # which all but the Euler steps have right at once


@pytest.mark.parametrize("name", ["irsde", "denoising", "vp"])
def test_higher_orders_are_nearer_at_the_same_number_of_calls(name):
    build = {"irsde": irsde_schedule, "denoising": denoising_schedule, "vp": vp_schedule}[name]
    first, second = (errors(f"ode-{order}", build(1000), 80, 0.0)[1] for order in (1, 2))
    assert second < first / 3


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_sde_1_without_fresh_noise_is_ode_1_and_between_keeps_the_marginals(eta):
    """Any eta is a process with the same marginals, so all come to the same variance with many steps."""
    schedule = irsde_schedule(1000, max_sigma=50)
    assert errors("sde-1", schedule, 1000, eta)[1] < 5e-3
    if eta == 0:
        assert errors("sde-1", schedule, 10, eta) == errors("ode-1", schedule, 10, eta)


@pytest.mark.parametrize("sampler", ["ode", "irsde-ode", "optimal", "ode-1", "ode-2", "ode-3"])
def test_what_draws_no_noise_says_so(sampler):
    with pytest.raises(ValueError, match=f"{sampler} draws no noise, so eta is 0, not 0.5"):
        SAMPLERS[sampler](None, SCHEDULES["irsde"], None, [10, 0], eta=0.5)


def test_euler_steps_need_something_left_of_the_picture():
    gone = Schedule(torch.tensor([0.0, 0.5, 1.0]).double(), torch.tensor([0.0, 0.5, 1.0]).double())
    for sampler in ("euler", "ode", "irsde-euler", "irsde-ode"):
        with pytest.raises(ValueError, match="an Euler step has no size; try posterior"):
            SAMPLERS[sampler](None, gone, None, [2, 0], eta=etas(sampler)[-1])
