"""RDDM's other ways from x_T to the clean picture: by way of x0, ancestral, and residual and noise in turn."""

from itertools import pairwise

import pytest
import torch

from restorer.diffusion.predict import Denoiser, Prediction
from restorer.diffusion.samplers import (
    ddim,
    rddm,
    rddm_ancestral,
    rddm_ddim,
    rddm_noise_first,
    rddm_residual_first,
    rddm_two_phase,
    rddm_x_start,
    time_grid,
)
from restorer.diffusion.schedule import diffuse, rddm_schedule, vp_schedule

SCHEDULES = {
    "rddm": rddm_schedule(100),
    "rddm quiet": rddm_schedule(100, sum_scale=0.01),
    "rddm linspace": rddm_schedule(100, family="linspace"),
    "vp": vp_schedule(100),
}
JUMPS = [(100, 99), (100, 50), (100, 1), (51, 50), (50, 10), (2, 1)]
ETAS = [0.0, 0.5, 1.0]
SHAPE = (2, 3, 4, 5)
IN_TURN = {"rddm-residual-first": rddm_residual_first, "rddm-noise-first": rddm_noise_first}


def pictures():
    rng = torch.Generator().manual_seed(0)
    x0, y = 2 * torch.rand(2, *SHAPE, generator=rng, dtype=torch.float64) - 1
    return x0, y, *torch.randn(2, *SHAPE, generator=rng, dtype=torch.float64)


def no_noise(x):
    raise AssertionError("fresh noise was drawn")


def same(a, b):
    return torch.allclose(a, b, rtol=0, atol=1e-12)


def clipped(p, bound=0.5):
    return Prediction(p.x0.clamp(-bound, bound), p.res.clamp(-bound, bound), p.eps)


# by way of x0


def official_x_start(schedule, img, p, t, s, eta, z):
    """The official ``use_x_start``, written again in its own letters."""
    a, a_next = (float(schedule.shift[i]) for i in (t, s))
    b, b_next = (float(schedule.sigma[i]) for i in (t, s))
    sigma2 = eta * (b**2 - b_next**2) * b_next**2 / b**2
    k = (b_next**2 - sigma2) ** 0.5 / b
    return k * img + (1 - k) * p.x0 + (a_next - a * k) * p.res + sigma2**0.5 * z


@pytest.mark.parametrize(("t", "s"), JUMPS)
@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_x_start_is_the_official_update_and_rddm_where_nothing_is_clipped(schedule, eta, t, s):
    x0, y, eps, z = pictures()
    x, truth = diffuse(schedule, x0, y, eps, t), Prediction(x0, y - x0, eps)
    for p in (truth, clipped(truth)):
        by_x0, default = (
            next(sampler(lambda x, t, p=p: p, schedule, x, [t, s, 0], eta=eta, randn_like=lambda x: z)).x
            for sampler in (rddm_x_start, rddm)
        )
        assert same(by_x0, official_x_start(schedule, x, p, t, s, eta, z))
        assert (p is truth) == same(by_x0, default)


@pytest.mark.parametrize(("t", "s"), JUMPS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_ancestral_draws_from_the_official_posterior_also_when_clipped(schedule, t, s):
    """q(x_s | x_t, x0, res) with the official three coefficients, for any jump."""
    x0, y, eps, z = pictures()
    x, p = diffuse(schedule, x0, y, eps, t), clipped(Prediction(x0, y - x0, eps))
    a_prev, alpha = float(schedule.shift[s]), float(schedule.shift[t] - schedule.shift[s])
    bar2, prev2 = float(schedule.sigma[t]) ** 2, float(schedule.sigma[s]) ** 2
    beta2 = bar2 - prev2
    mean = prev2 / bar2 * x + (beta2 * a_prev - prev2 * alpha) / bar2 * p.res + beta2 / bar2 * p.x0
    state = next(rddm_ancestral(lambda x, t: p, schedule, x, [t, s, 0], randn_like=lambda x: z))
    assert same(state.x, mean + (beta2 * prev2 / bar2) ** 0.5 * z)


def test_ancestral_draws_at_every_time_but_the_last():
    x0, y, eps, z = pictures()
    drawn = []
    states = rddm_ancestral(
        lambda x, t: Prediction(x0, y - x0, eps),
        SCHEDULES["rddm"],
        y + eps,
        time_grid(100, 100),
        randn_like=lambda x: drawn.append(1) or z,
    )
    *_, last = states
    assert len(drawn) == 99
    assert last.x is last.x0


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_ancestral_is_not_to_be_had_with_less_noise(eta):
    with pytest.raises(ValueError, match=f"draws all of the noise, so eta is 1, not {eta}; rddm takes any eta"):
        rddm_ancestral(None, SCHEDULES["rddm"], torch.zeros(SHAPE), [100, 0], eta=eta)


# one after the other


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 100])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("sampler", IN_TURN.values(), ids=IN_TURN)
def test_with_the_truth_the_way_leads_along_its_path_to_the_clean_picture(sampler, schedule, steps):
    """First one share falls to 0 and the other stands still, then the other falls; x0 is known all the way."""
    x0, y, eps, _ = pictures()
    truth, asked = Prediction(x0, y - x0, eps), []

    def predict(x, t):
        asked.append(t)
        return truth

    start, times = diffuse(schedule, x0, y, eps, schedule.T), time_grid(schedule.T, steps)
    states = list(sampler(predict, schedule, start, times, randn_like=no_noise))
    assert asked == 2 * times[:-1]
    assert [state.t for state in states] == 2 * times[1:]
    shift, sigma = float(schedule.shift[-1]), float(schedule.sigma[-1])
    for n, state in enumerate(states):
        first = n < steps
        here_shift, here_sigma = float(schedule.shift[state.t]), float(schedule.sigma[state.t])
        at = {
            rddm_residual_first: (here_shift, sigma) if first else (0.0, here_sigma),
            rddm_noise_first: (shift, here_sigma) if first else (here_shift, 0.0),
        }[sampler]
        assert same(state.x, x0 + at[0] * (y - x0) + at[1] * eps)
        assert same(state.x0, x0)
    assert same(states[-1].x, x0)


@pytest.mark.parametrize("eta", [0.25, 1.0])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("sampler", IN_TURN.values(), ids=IN_TURN)
def test_fresh_noise_keeps_the_noise_of_the_path(sampler, schedule, eta):
    """A net that knows res tells eps from x; old and fresh noise together have the path's variance at every point."""
    x0, y, *_ = pictures()
    res, times = y - x0, time_grid(100, 4)
    on_the_way = iter([])

    def predict(x, t):
        shift, sigma = next(on_the_way)
        return Prediction(x0, res, (x - x0 - shift * res) / sigma if sigma else torch.zeros_like(x))

    start_shift, start_sigma = float(schedule.shift[-1]), float(schedule.sigma[-1])
    falling = [(float(schedule.shift[t]), float(schedule.sigma[t])) for t in times]
    points = {
        rddm_residual_first: [(a, start_sigma) for a, _ in falling] + [(0.0, b) for _, b in falling[1:]],
        rddm_noise_first: [(start_shift, b) for _, b in falling] + [(a, 0.0) for a, _ in falling[1:]],
    }[sampler]
    # Each noise is one unit vector, so the squares along its own axis of the batch add up to the variance.
    draws = []

    def unit(x):
        draws.append(torch.zeros(16, dtype=torch.float64))
        draws[-1][len(draws) - 1] = 1
        return draws[-1].view(16, 1, 1, 1).expand(16, *x.shape[1:])

    x0, res = x0[:1].expand(16, -1, -1, -1), res[:1].expand(16, -1, -1, -1)
    x = x0 + start_shift * res + start_sigma * unit(x0)
    on_the_way = iter(points)
    for point, state in zip(points[1:], sampler(predict, schedule, x, times, eta=eta, randn_like=unit), strict=True):
        noise = (state.x - x0 - point[0] * res)[:, 0, 0, 0]
        assert float(noise.square().sum()) == pytest.approx(point[1] ** 2, abs=1e-12)
    assert len(draws) == 1 + 3


@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_released_two_phases_take_the_last_jump_out_twice(schedule, steps):
    """With the truth and no clipping they end at x0 - shift_t res - sigma_t eps, t the last time of the grid."""
    x0, y, eps, _ = pictures()
    res, times = y - x0, time_grid(100, steps)

    def knows(x, t):
        return Prediction(x - float(schedule.shift[t]) * res - float(schedule.sigma[t]) * eps, res, eps)

    start = diffuse(schedule, x0, y, eps, 100)
    states = list(rddm_two_phase(knows, schedule, start, times, randn_like=no_noise))
    t = times[-2]
    assert [state.t for state in states] == 2 * times[1:]
    assert same(states[-1].x, x0 - float(schedule.shift[t]) * res - float(schedule.sigma[t]) * eps)


def test_the_released_two_phases_add_noise_in_both():
    schedule = SCHEDULES["vp"]
    x0, y, eps, z = pictures()
    drawn, truth = [], Prediction(x0, y - x0, eps)
    list(
        rddm_two_phase(
            lambda x, t: truth, schedule, eps, time_grid(100, 4), eta=1.0, randn_like=lambda x: drawn.append(1) or z
        )
    )
    assert len(drawn) == 6


# a DDIM model by RDDM's formulas, experiment 1


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [5, 10, 20, 100])
def test_a_ddim_model_goes_the_same_way_in_either_form(steps, eta):
    """RDDM's step is DDIM's where nothing is clipped, or eps is made anew of what was.

    Else it is sqrt(alpha_bar) (x0 - clipped) off, while ``ddim`` still is what DDIM's paper and diffusers do.
    """
    schedule = vp_schedule()
    _, _, x, z = pictures()
    jump = 1000 // steps
    times = [*range(1001 - jump, 0, -jump), 0]
    for t, s in pairwise(times[:-1]):
        eps, p, p_next = torch.sin(7 * x + t), *(float((1 - schedule.shift[i]) ** 2) for i in (t, s))
        x0 = (x - (1 - p) ** 0.5 * eps) / p**0.5
        cut = x0.clamp(-1, 1)
        std = eta * ((1 - p_next) / (1 - p) * (1 - p / p_next)) ** 0.5

        def textbook(x0, eps, p_next=p_next, std=std):
            return p_next**0.5 * x0 + (1 - p_next - std**2) ** 0.5 * eps + std * z

        def ours(x0, eps, sampler=rddm_ddim, x=x, t=t, s=s):
            truth = Prediction(x0, -x0, eps)
            return next(sampler(lambda x, t: truth, schedule, x, [t, s, 0], eta=eta, randn_like=lambda x: z)).x

        anew = (x - p**0.5 * cut) / (1 - p) ** 0.5
        scale = 1e-11 * (1 + x0.abs().max())
        assert (ours(x0, eps) - textbook(x0, eps)).abs().max() < scale
        assert (ours(cut, anew) - textbook(cut, anew)).abs().max() < scale
        assert (ours(cut, eps) - textbook(cut, eps) - p**0.5 * (x0 - cut)).abs().max() < scale
        assert (ours(cut, eps, ddim) - textbook(cut, eps)).abs().max() < scale
        x = textbook(cut, eps)


def test_two_times_follow_one_path_each():
    """(shift, sigma): in the first phase the residual's net hears where x is, in the second the noise's net does."""
    schedule, heard = vp_schedule(), []

    def net(x, time):
        heard.append(time)
        return torch.zeros(2, 6, 4, 5)

    y = torch.zeros(SHAPE)
    denoiser = Denoiser(net, schedule, "res_eps", inputs=("x",), time="shift_sigma")
    list(rddm_residual_first(lambda x, t: denoiser(x, t, y), schedule, y, time_grid(1000, 2)))
    assert [time.shape for time in heard] == 4 * [(2, 2)]
    wanted = [[1000 * float(table[t]) for table in (schedule.shift, schedule.sigma)] for t in (1000, 500, 1000, 500)]
    assert [time[0].tolist() for time in heard] == [pytest.approx(row, rel=1e-6) for row in wanted]
