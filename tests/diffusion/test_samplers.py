"""Samplers: exact on the oracle, exact in mean and in the limit in variance on Gaussian data, equal to the papers'."""

from itertools import pairwise, product

import pytest
import torch
from diffusers import DDIMScheduler
from toy import etas

from restorer.diffusion.predict import Prediction
from restorer.diffusion.samplers import GRIDS, SAMPLERS, ddim, ddim_std, rddm, rddm_std, step, time_grid
from restorer.diffusion.schedule import diffuse, rddm_schedule, vp_schedule

SCHEDULES = {
    "rddm": rddm_schedule(100),
    "rddm quiet": rddm_schedule(100, sum_scale=0.01),
    "rddm linspace": rddm_schedule(100, family="linspace"),
    "rddm bell": rddm_schedule(100, alpha="normal", beta="average"),
    "vp": vp_schedule(100),
    "vp cosine": vp_schedule(100, beta="squaredcos_cap_v2"),
}
STDS = {"0": lambda schedule, t, s: 0.0, "rddm": rddm_std, "ddim": ddim_std}
# Residual and noise at once, at any eta.
TOGETHER = {name: SAMPLERS[name] for name in ("rddm", "rddm-x-start", "ddim", "rddm-ddim")}
JUMPS = [(100, 99), (100, 50), (100, 1), (51, 50), (50, 10), (2, 1)]
ETAS = [0.0, 0.5, 1.0]
SHAPE = (2, 3, 4, 5)


def pictures(*, dtype=torch.float64):
    rng = torch.Generator().manual_seed(0)
    x0, y = 2 * torch.rand(2, *SHAPE, generator=rng, dtype=dtype) - 1
    return x0, y, torch.randn(SHAPE, generator=rng, dtype=dtype), torch.randn(SHAPE, generator=rng, dtype=dtype)


def no_noise(x):
    raise AssertionError("fresh noise was drawn")


def last(states):
    *_, state = states
    return state


# identity


@pytest.mark.parametrize(("t", "s"), JUMPS)
@pytest.mark.parametrize("std", STDS.values(), ids=STDS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_step_with_the_truth_lands_on_the_marginal(schedule, std, t, s):
    """x_s = x0 + shift_s res + keep eps + std z with keep^2 + std^2 = sigma_s^2, for any jump."""
    x0, y, eps, z = pictures()
    fresh, sigma = std(schedule, t, s), float(schedule.sigma[s])
    assert 0 <= fresh <= sigma
    keep = (sigma**2 - fresh**2) ** 0.5
    x = step(schedule, diffuse(schedule, x0, y, eps, t), Prediction(x0, y - x0, eps), t, s, fresh, z)
    assert torch.allclose(x, diffuse(schedule, x0, y, 0 * eps, s) + keep * eps + fresh * z, rtol=0, atol=1e-13)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 100])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("sampler", TOGETHER.values(), ids=TOGETHER)
def test_a_net_that_knows_res_and_eps_is_led_to_the_clean_picture(sampler, schedule, steps):
    """Without fresh noise the same res and eps hold all the way; x0 comes out of x_t, so every x_t must be right."""
    x0, y, eps, _ = pictures()

    def knows(x, t):
        res = y - x0
        return Prediction(x - float(schedule.shift[t]) * res - float(schedule.sigma[t]) * eps, res, eps)

    start = diffuse(schedule, x0, y, eps, schedule.T)
    for state in sampler(knows, schedule, start, time_grid(schedule.T, steps), eta=0.0, randn_like=no_noise):
        assert torch.allclose(state.x, diffuse(schedule, x0, y, eps, state.t), rtol=0, atol=1e-12)
        assert torch.allclose(state.x0, x0, rtol=0, atol=1e-12)
    assert state.t == 0


def moments(sampler, schedule, predict, mean, std, steps, eta):
    """Exact mean and variance of one pixel at each time of ``sampler``, for a ``predict`` that is affine in x.

    Then so is every state in the noise drawn. A batch in which picture k is given noise 1 at draw k and 0 at others,
    and the last is given none, shows all its coefficients.
    """
    draws = iter(range(steps + 1))

    def one_hot(x):
        noise = torch.zeros_like(x)
        noise[next(draws)] = 1
        return noise

    x = torch.full((steps + 2, 1, 1, 1), mean, dtype=torch.float64)
    x = x + std * one_hot(x)
    for state in sampler(predict, schedule, x, time_grid(schedule.T, steps), eta=eta, randn_like=one_hot):
        *touched, still = state.x.flatten().tolist()
        yield state.t, still, sum((v - still) ** 2 for v in touched)


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("sampler", TOGETHER.values(), ids=TOGETHER)
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_with_the_truth_every_state_has_the_marginal_of_its_time(sampler, schedule, steps, eta):
    """However the noise is made of old and fresh, its variance is sigma_s^2 at every time on the way."""
    x0, y = -0.3, 0.6

    def oracle(x, t):
        shift, sigma = float(schedule.shift[t]), float(schedule.sigma[t])
        noise = (x - x0 - shift * (y - x0)) / sigma if sigma else torch.zeros_like(x)
        return Prediction(torch.full_like(x, x0), torch.full_like(x, y - x0), noise)

    mean = x0 + float(schedule.shift[-1]) * (y - x0)
    for t, got, variance in moments(sampler, schedule, oracle, mean, float(schedule.sigma[-1]), steps, eta):
        assert got == pytest.approx(x0 + float(schedule.shift[t]) * (y - x0), abs=1e-12)
        assert variance == pytest.approx(float(schedule.sigma[t]) ** 2, abs=1e-12)


@pytest.mark.parametrize(("eta", "draws"), [(0.0, 0), (0.25, 4), (1.0, 4)])
@pytest.mark.parametrize("sampler", TOGETHER.values(), ids=TOGETHER)
def test_one_net_call_a_step_and_fresh_noise_in_all_but_the_last(sampler, eta, draws):
    x0, y, eps, z = pictures()
    asked, drawn = [], []

    def predict(x, t):
        asked.append(t)
        return Prediction(x0, y - x0, eps)

    def randn_like(x):
        drawn.append(x.shape)
        return z

    schedule = SCHEDULES["rddm"]
    states = list(sampler(predict, schedule, y + eps, time_grid(100, 5), eta=eta, randn_like=randn_like))
    assert asked == [100, 80, 60, 40, 20]
    assert [state.t for state in states] == [80, 60, 40, 20, 0]
    assert drawn == draws * [torch.Size(SHAPE)]
    assert states[-1].x is states[-1].x0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_is_computed_before_it_is_asked_for(sampler):
    x0, y, eps, z = pictures()
    asked = []

    def predict(x, t):
        asked.append(t)
        return Prediction(x0, y - x0, eps)

    eta = etas(sampler)[-1]
    states = SAMPLERS[sampler](predict, SCHEDULES["vp"], eps, time_grid(100, 4), eta=eta, randn_like=lambda x: z)
    assert asked == []
    next(states)
    assert asked == [100]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_type_and_memory_layout_are_kept_and_the_start_is_not_written_to(sampler):
    x0, y, eps, z = (v.to(memory_format=torch.channels_last) for v in pictures(dtype=torch.float32))
    start, wanted = y + eps, y + eps
    truth = Prediction(x0, y - x0, eps)
    times = time_grid(100, 3)
    walk, eta = SAMPLERS[sampler], etas(sampler)[-1]
    first, *_ = walk(lambda x, t: truth, SCHEDULES["rddm"], start, times, eta=eta, randn_like=lambda x: z)
    assert first.x.dtype == torch.float32
    assert first.x.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(start, wanted)


@pytest.mark.parametrize("steps", [99, 100])
@pytest.mark.parametrize(("sampler", "eta"), [(name, eta) for name in SAMPLERS for eta in etas(name)])
def test_every_grid_runs_where_the_picture_is_gone_before_the_start(sampler, eta, steps):
    """The linspace family has shift = 1 at T - 1 as well, and sigma = 0 at t = 1; nothing may divide by them."""
    x0, y, eps, z = pictures()
    truth = Prediction(x0, y - x0, eps)
    times = time_grid(100, steps)
    states = list(
        SAMPLERS[sampler](
            lambda x, t: truth, SCHEDULES["rddm linspace"], y + eps, times, eta=eta, randn_like=lambda x: z
        )
    )
    assert all(state.x.isfinite().all() for state in states)


def test_ddim_holds_what_rddm_holds_where_the_picture_is_gone():
    """At full shift the state is y and noise: there is no x0 left to decay."""
    schedule = SCHEDULES["rddm linspace"]
    assert schedule.shift[99] == schedule.shift[100] == 1
    assert ddim_std(schedule, 100, 99) == rddm_std(schedule, 100, 99) > 0


# analytic


def ideal(schedule, y, mean, variance):
    """What the best net says of independent pixels x0 ~ N(mean, variance): the posterior mean, given x_t."""

    def predict(x, t):
        shift, sigma = float(schedule.shift[t]), float(schedule.sigma[t])
        gain = variance * (1 - shift) / ((1 - shift) ** 2 * variance + sigma**2)
        x0 = mean + gain * (x - (1 - shift) * mean - shift * y)
        res = y - x0
        return Prediction(x0, res, (x - y - (shift - 1) * res) / sigma)

    return predict


GAUSSIAN = {
    "rddm": (rddm_schedule(1000), 0.8),
    "rddm quiet": (rddm_schedule(1000, sum_scale=0.01), 0.8),
    "rddm linspace": (rddm_schedule(1000, family="linspace"), 0.8),
    "vp": (vp_schedule(1000), 0.0),
}


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(("schedule", "y"), GAUSSIAN.values(), ids=GAUSSIAN)
@pytest.mark.parametrize("sampler", TOGETHER.values(), ids=TOGETHER)
def test_the_ideal_net_on_gaussian_data_draws_that_data(sampler, schedule, y, eta):
    """The mean is exact for any steps; the variance comes short by c / steps, so twice the steps halve the error.

    Its limit, 2 V(2n) - V(n) up to O(1/n^2), is the data's. The start knows y only: where shift_T is short of 1 (vp)
    the share (1 - shift_T) of the mean is missed there, and no more than that of it may be missed at the end.
    """
    mean, variance = -0.3, 0.25
    got = {}
    for steps in (5, 500, 1000):
        predict = ideal(schedule, y, mean, variance)
        states = moments(sampler, schedule, predict, y, float(schedule.sigma[-1]), steps, eta)
        _, got_mean, got[steps] = last(states)
        missed = (1 - float(schedule.shift[-1])) * abs(mean - y)
        assert got_mean == pytest.approx(mean, abs=missed + 1e-12)
    assert (variance - got[500]) / (variance - got[1000]) == pytest.approx(2, abs=0.1)
    assert 2 * got[1000] - got[500] == pytest.approx(variance, rel=2e-3)
    assert got[5] < got[500] < got[1000] < variance


# reference


@pytest.mark.parametrize(
    ("steps", "official"),
    [
        (1, [999, -1]),
        (2, [999, 499, -1]),
        (3, [999, 665, 332, -1]),
        (5, [999, 799, 599, 399, 199, -1]),
        (10, [*range(999, 0, -100), -1]),
        (15, [999, 932, 865, 799, 732, 665, 599, 532, 465, 399, 332, 265, 199, 132, 65, -1]),
        (20, [*range(999, 0, -50), -1]),
        (100, [*range(999, 0, -10), -1]),
        (250, [*range(999, 0, -4), -1]),
        (1000, [*range(999, -2, -1)]),
    ],
)
def test_time_grids_are_the_official_ones_counted_from_0(steps, official):
    assert time_grid(1000, steps) == [t + 1 for t in official]


@pytest.mark.parametrize("steps", [1, 5, 10, 15, 16, 20, 48, 100, 999, 1000])
@pytest.mark.parametrize("grid", ["leading", "trailing"])
def test_grids_of_diffusers_are_its_own_counted_from_0(grid, steps):
    theirs = DDIMScheduler(num_train_timesteps=1000, timestep_spacing=grid)
    theirs.set_timesteps(steps)
    assert GRIDS[grid](1000, steps) == [*(theirs.timesteps + 1).tolist(), 0]


@pytest.mark.parametrize("T", [1, 2, 7, 100, 256, 1000])
@pytest.mark.parametrize("grid", GRIDS)
def test_every_grid_falls_from_the_start_to_the_clean_picture(T, grid):
    for steps in range(1, T + 1):
        times = GRIDS[grid](T, steps)
        assert len(times) == steps + 1
        assert times[-1] == 0
        assert times[0] <= T if grid == "leading" else times[0] == T
        assert all(t > s for t, s in pairwise(times))


@pytest.mark.parametrize("steps", [-1, 0, 101])
@pytest.mark.parametrize("grid", GRIDS)
def test_no_grid_for_steps_outside_the_schedule(steps, grid):
    with pytest.raises(ValueError, match=f"steps must be from 1 to 100, not {steps}"):
        GRIDS[grid](100, steps)


@pytest.mark.parametrize(("t", "s"), JUMPS)
@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("name", ["vp", "vp cosine"])
def test_ddim_is_the_update_of_its_paper(name, eta, t, s):
    """[DDIM] eq. 12 and 16 in alpha_bar; y = 0."""
    schedule = SCHEDULES[name]
    _, _, eps, z = pictures()
    x = pictures()[1]
    bar_t, bar_s = (float((1 - schedule.shift[i]) ** 2) for i in (t, s))
    x0 = (x - (1 - bar_t) ** 0.5 * eps) / bar_t**0.5
    sigma = eta * ((1 - bar_s) / (1 - bar_t)) ** 0.5 * (1 - bar_t / bar_s) ** 0.5
    wanted = bar_s**0.5 * x0 + (1 - bar_s - sigma**2) ** 0.5 * eps + sigma * z
    truth = Prediction(x0, -x0, eps)
    state = next(ddim(lambda x, t: truth, schedule, x, [t, s, 0], eta=eta, randn_like=lambda x: z))
    assert torch.allclose(state.x, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("t", "s"), JUMPS)
def test_eta_multiplies_the_variance_in_rddm_and_the_std_in_ddim(t, s):
    """RDDM: variance = eta beta^2 beta_bar'^2 / beta_bar^2. DDIM holds y, which adds the decay of x0 to the sum."""
    schedule = SCHEDULES["rddm"]
    shift_t, shift_s, sigma_t, sigma_s = (float(v[i]) for v in (schedule.shift, schedule.sigma) for i in (t, s))
    official = (sigma_t**2 - sigma_s**2) * sigma_s**2 / sigma_t**2
    decay = (1 - shift_t) / (1 - shift_s)
    textbook = sigma_s**2 / sigma_t**2 * (sigma_t**2 - decay**2 * sigma_s**2)
    assert rddm_std(schedule, t, s) ** 2 == pytest.approx(official, rel=1e-11)
    assert ddim_std(schedule, t, s) ** 2 == pytest.approx(textbook, rel=1e-11)

    x0, y, eps, z = pictures()
    truth = Prediction(x0, y - x0, eps)

    def added(sampler, eta):
        """Fresh noise, told from the old by its sign: half the difference between the steps with z and with -z."""
        ways = [
            next(sampler(lambda x, t: truth, schedule, y, [t, s, 0], eta=eta, randn_like=lambda x, n=n: n)).x
            for n in (z, -z)
        ]
        return float(((ways[0] - ways[1]) / (2 * z)).mean())

    for eta in (0.25, 1.0):
        assert added(rddm, eta) ** 2 == pytest.approx(eta * official, rel=1e-9)
        assert added(ddim, eta) ** 2 == pytest.approx(eta**2 * textbook, rel=1e-9)


def official_update(variant, schedule, img, p, t, s, eta, z):
    """The four update rules of the official sampler, written again in its own letters."""
    a, a_next = (float(schedule.shift[i]) for i in (t, s))
    b, b_next = (float(schedule.sigma[i]) for i in (t, s))
    beta2 = b**2 - b_next**2
    sigma2 = eta * beta2 * b_next**2 / b**2
    match variant:
        case "use_pred_noise":
            return img - (a - a_next) * p.res - (b - (b_next**2 - sigma2) ** 0.5) * p.eps + sigma2**0.5 * z
        case "use_x_start":
            k = (b_next**2 - sigma2) ** 0.5 / b
            return k * img + (1 - k) * p.x0 + (a_next - a * k) * p.res + sigma2**0.5 * z
        case "special_eta_0":
            return img - (a - a_next) * p.res - (b - b_next) * p.eps
        case "special_eta_1":
            return img - (a - a_next) * p.res - (beta2 / b) * p.eps + (beta2**0.5 * b_next / b) * z


UPDATES = [
    *product(["use_pred_noise", "use_x_start"], ETAS),
    ("special_eta_0", 0.0),
    ("special_eta_1", 1.0),
]


@pytest.mark.parametrize(("t", "s"), JUMPS)
@pytest.mark.parametrize(("variant", "eta"), UPDATES)
@pytest.mark.parametrize("name", ["rddm", "rddm quiet", "rddm linspace", "vp"])
def test_the_official_updates_agree_with_ours_where_nothing_is_clipped(name, variant, eta, t, s):
    schedule = SCHEDULES[name]
    x0, y, eps, z = pictures()
    x = diffuse(schedule, x0, y, eps, t)
    truth = Prediction(x0, y - x0, eps)
    state = next(rddm(lambda x, t: truth, schedule, x, [t, s, 0], eta=eta, randn_like=lambda x: z))
    assert torch.allclose(state.x, official_update(variant, schedule, x, truth, t, s, eta, z), rtol=0, atol=1e-12)


def test_a_clipped_prediction_takes_the_official_default_update():
    """Clipping makes the three pictures disagree; then ``use_x_start`` is another rule, and not ours."""
    schedule, (t, s) = SCHEDULES["rddm"], (80, 60)
    x0, y, eps, z = pictures()
    clipped = Prediction(x0.clamp(-0.5, 0.5), (y - x0).clamp(-0.5, 0.5), eps)
    x = diffuse(schedule, x0, y, eps, t)
    state = next(rddm(lambda x, t: clipped, schedule, x, [t, s, 0], eta=0.5, randn_like=lambda x: z))
    default, other = (
        official_update(variant, schedule, x, clipped, t, s, 0.5, z) for variant in ("use_pred_noise", "use_x_start")
    )
    assert torch.allclose(state.x, default, rtol=0, atol=1e-12)
    assert (state.x - other).abs().max() > 0.01


@pytest.mark.parametrize("t", [2, 3, 50, 100])
def test_eta_1_is_the_official_ancestral_step(t):
    """The official posterior q(x_{t-1} | x_t, x0, res), which official code uses when steps = T."""
    schedule = SCHEDULES["rddm"]
    x0, y, eps, z = pictures()
    x, res = diffuse(schedule, x0, y, eps, t), y - x0
    a_prev = float(schedule.shift[t - 1])
    alpha = float(schedule.shift[t]) - a_prev
    bar2, prev2 = (float(schedule.sigma[i]) ** 2 for i in (t, t - 1))
    beta2 = bar2 - prev2
    mean = prev2 / bar2 * x + (beta2 * a_prev - prev2 * alpha) / bar2 * res + beta2 / bar2 * x0
    wanted = mean + (beta2 * prev2 / bar2) ** 0.5 * z
    truth = Prediction(x0, res, eps)
    state = next(rddm(lambda x, t: truth, schedule, x, [t, t - 1, 0], eta=1.0, randn_like=lambda x: z))
    assert torch.allclose(state.x, wanted, rtol=0, atol=1e-12)
