"""IR-SDE's schedules, losses and official samplers, against values of the official code, and against theory."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch

from restorer.diffusion.losses import check_objective, matching_loss, noise_loss
from restorer.diffusion.predict import Denoiser, Point, Prediction, from_euler_eps
from restorer.diffusion.process import (
    ddim_std,
    drift,
    euler_eps,
    posterior_std,
    rddm_std,
    time_of_noise,
    true_eps,
)
from restorer.diffusion.samplers import SAMPLERS
from restorer.diffusion.schedule import (
    Schedule,
    denoising_schedule,
    diffuse,
    goub_schedule,
    irsde_schedule,
    rddm_schedule,
    vp_schedule,
)
from restorer.diffusion.sde import first_noise

# theta, t, alpha_t = 1 - shift, sigma_t / lambda, theta_t dt: official tables in float32, T = 100, eps = 0.005
TABLE = [
    ("cosine", 1, 0.99982362, 0.018781381, 1.7639e-4),
    ("cosine", 2, 0.99948646, 0.032043865, 3.3728e-4),
    ("cosine", 10, 0.98536495, 0.17045789, 3.33987e-3),
    ("cosine", 20, 0.91622911, 0.40065473, 0.0111273),
    ("cosine", 50, 0.36082168, 0.93263488, 0.0526877),
    ("cosine", 80, 0.037446982, 0.99929859, 0.0937401),
    ("cosine", 100, 0.005, 0.9999875, 0.10407),
    ("linear", 1, 0.99844036, 0.055828718, 1.561e-3),
    ("linear", 50, 0.25908076, 0.96585564, 0.05246),
    ("linear", 100, 0.005, 0.9999875, 0.10441),
    ("constant", 1, 0.94839597, 0.31708847, 0.052983),
    ("constant", 50, 0.070710683, 0.99749682, 0.052983),
    ("constant", 100, 0.005, 0.9999875, 0.052983),
]


@pytest.mark.parametrize(("theta", "t", "alpha", "sigma", "rate"), TABLE)
def test_the_schedule_is_the_official_one(theta, t, alpha, sigma, rate):
    schedule = irsde_schedule(theta=theta, max_sigma=10)
    assert float(1 - schedule.shift[t]) == pytest.approx(alpha, rel=1e-6)
    # Official float32 loses digits of 1 - alpha^2 where alpha is nearly 1.
    assert float(schedule.sigma[t]) == pytest.approx(10 / 255 * sigma, rel=1e-6 + 1e-7 / (1 - alpha**2))
    assert float(drift(schedule, t, t - 1).rate) == pytest.approx(rate, rel=2e-4)
    assert float(drift(schedule, t, t - 1).spread) == pytest.approx(2 * (10 / 255) ** 2 * rate, rel=2e-4)


def test_sigma_may_be_given_in_levels_or_as_a_share():
    assert torch.equal(irsde_schedule(max_sigma=51).sigma, irsde_schedule(max_sigma=0.2).sigma)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"eps": 0.0}, "eps must lie between 0 and 1, not 0.0"), ({"eps": 1.0}, "eps must lie"),
     ({"theta": "quadratic"}, "Unknown theta 'quadratic'; known: cosine, linear, constant"),
     ({"max_sigma": 0.0}, "max_sigma must be above 0, not 0.0")],
)  # fmt: skip
@pytest.mark.parametrize("build", [irsde_schedule, denoising_schedule, goub_schedule])
def test_a_schedule_that_cannot_be_is_refused_by_name(build, options, words):
    with pytest.raises(ValueError, match=words):
        build(**options)


def test_denoising_stays_at_the_clean_picture_and_has_the_noise_of_irsde():
    schedule, other = denoising_schedule(max_sigma=75, eps=0.04), irsde_schedule(max_sigma=75, eps=0.04)
    assert not schedule.shift.any()
    assert torch.equal(schedule.sigma, other.sigma)
    assert torch.allclose(schedule.decay, 1 - other.shift, rtol=1e-12)


# (max_sigma, T) -> start times of noise of so many levels, as the official code picks them
STARTS = {
    (75, 100): {5: 5, 10: 10, 15: 14, 25: 21, 30: 24, 50: 38, 60: 46, 70: 61},
    (70, 100): {5: 6, 10: 11, 15: 15, 25: 22, 30: 25, 50: 41, 60: 51, 70: 100},
    (70, 1000): {5: 71, 10: 117, 15: 158, 25: 230, 30: 264, 50: 414, 60: 519, 70: 1000},
    (50, 100): {5: 8, 10: 14, 15: 19, 25: 29, 30: 34, 50: 100},
}


@pytest.mark.parametrize(("max_sigma", "T"), STARTS)
def test_noise_has_its_official_start_time(max_sigma, T):
    schedule = denoising_schedule(T, max_sigma=max_sigma)
    found = {level: time_of_noise(schedule, level / 255) for level in STARTS[max_sigma, T]}
    assert found == STARTS[max_sigma, T]
    for wrong in (0, -1, max_sigma + 1, math.nan):
        with pytest.raises(ValueError, match=r"noise must be above 0 and at most 0\.\d+, not"):
            time_of_noise(schedule, wrong / 255)


def test_every_noise_within_the_schedule_has_a_start_near_it():
    schedule = denoising_schedule()
    for level in range(1, 75):
        t = time_of_noise(schedule, level / 255)
        near = schedule.sigma[max(t - 1, 1)], schedule.sigma[min(t + 1, 100)]
        assert t == 1 or near[0] <= level / 255
        assert t == 100 or level / 255 <= near[1]


def test_a_schedule_whose_noise_is_not_the_pictures_has_no_start_for_it():
    with pytest.raises(ValueError, match="must be on a Denoising-SDE schedule"):
        time_of_noise(rddm_schedule(10), 0.1)


# official samplers, a pixel, mu = 0.4, from 0.5, a net that says 2 (x - mu) + 0.01 t, constant fresh noise:
# SDE z = 0, posterior z = 0, SDE z = 0.5, posterior z = 0.5, ODE
GOLDEN = {
    (10, "cosine"): (1.664231, 2.261458, -5.557269, 10.14864, 7.015398),
    (10, "linear"): (1.744417, 2.30301, -5.860307, 10.4987, 7.170788),
    (10, "constant"): (2.418998, 2.851361, -7.959693, 14.0826, 7.893535),
    (50, "cosine"): (-1.24207, -1.424834, -4.33983, 1.798863, -2.595709),
    (50, "linear"): (-1.197924, -1.357722, -4.477247, 2.027582, -2.562126),
    (50, "constant"): (-0.9728923, -1.108873, -5.07453, 3.16676, -2.117217),
}
RUNS = [("irsde-euler", 0.0), ("posterior", 0.0), ("irsde-euler", 0.5), ("posterior", 0.5), ("irsde-ode", 0.0)]


def walk(sampler, denoiser, x, y, times, z):
    eta = 0.0 if sampler.endswith("ode") else 1.0
    *_, last = SAMPLERS[sampler](
        lambda x, t: denoiser(x, t, y), denoiser.schedule, x, times, eta=eta, randn_like=lambda x: torch.full_like(x, z)
    )
    return float(last.x)


@pytest.mark.parametrize("column", range(len(RUNS)), ids=[f"{name} {z}" for name, z in RUNS])
@pytest.mark.parametrize(("max_sigma", "theta"), GOLDEN)
def test_official_samplers_end_where_the_official_code_does(max_sigma, theta, column):
    sampler, z = RUNS[column]
    y = torch.full((1, 1, 1, 1), 0.4)
    net = Denoiser(
        lambda x, time: 2 * x + 0.01 * time.view(-1, 1, 1, 1),
        irsde_schedule(theta=theta, max_sigma=max_sigma), "eps", ("x-y",), "t", "none", (0.0, 1.0),
    )  # fmt: skip
    got = walk(sampler, net, torch.full_like(y, 0.5), y, list(range(100, -1, -1)), z)
    assert got == pytest.approx(GOLDEN[max_sigma, theta][column], rel=1e-4)


@pytest.mark.parametrize(("sampler", "wanted"), [("irsde-ode", 0.4666893), ("irsde-euler", 0.4332918)])
def test_official_denoising_ends_where_the_official_code_does(sampler, wanted):
    """Noise of 25 levels, so from t = 21, from the noisy picture itself."""
    x = torch.full((1, 1, 1, 1), 0.5)
    net = Denoiser(
        lambda x, time: 0.5 * x + 0.01 * time.view(-1, 1, 1, 1),
        denoising_schedule(), "eps", ("x",), "t", "none", (0.0, 1.0),
    )  # fmt: skip
    times = list(range(time_of_noise(net.schedule, 25 / 255), -1, -1))
    assert walk(sampler, net, x, x, times, 0.0) == pytest.approx(wanted, rel=1e-6)


# between two times

SCHEDULES = {
    "irsde": irsde_schedule(max_sigma=50),
    "linear": irsde_schedule(theta="linear"),
    "denoising": denoising_schedule(),
    "goub": goub_schedule(),
    "vp": vp_schedule(100),
    "rddm": rddm_schedule(100),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(("t", "s"), [(99, 98), (99, 1), (50, 20), (2, 1), (99, 0)])
def test_a_stride_is_the_product_of_its_steps(schedule, t, s):
    """Forward, x_t given x_s is Gaussian; chained over the times between, it is that of one stride."""
    kept, added = 1.0, 0.0
    for a, b in pairwise(range(s, t + 1)):
        ratio = float(schedule.decay[b] / schedule.decay[a])
        kept, added = kept * ratio, added * ratio**2 + float(schedule.sigma[b] ** 2 - (ratio * schedule.sigma[a]) ** 2)
    assert kept == pytest.approx(float(schedule.decay[t] / schedule.decay[s]), rel=1e-10)
    assert added == pytest.approx(float(schedule.sigma[t] ** 2 - (kept * schedule.sigma[s]) ** 2), abs=1e-12)
    if s > 0:  # Bayes' rule for two Gaussians
        variance = float(schedule.sigma[s]) ** 2
        assert posterior_std(schedule, t, s) ** 2 == pytest.approx(
            variance * added / (added + kept**2 * variance), abs=1e-12
        )


@pytest.mark.parametrize(("t", "s"), [(100, 99), (70, 30), (2, 1), (1, 0)])
def test_what_is_held_is_what_decay_says(t, s):
    assert posterior_std(SCHEDULES["rddm"], t, s) == pytest.approx(rddm_std(SCHEDULES["rddm"], t, s), abs=1e-15)
    assert posterior_std(SCHEDULES["vp"], t, s) == pytest.approx(ddim_std(SCHEDULES["vp"], t, s), abs=1e-15)
    irsde, alpha = SCHEDULES["irsde"], 1 - SCHEDULES["irsde"].shift
    a2, b2, c2 = (alpha[t] / alpha[s]) ** 2, alpha[t] ** 2, alpha[s] ** 2
    official = 50 / 255 * float((1 - a2) * (1 - c2) / (1 - b2)) ** 0.5
    assert posterior_std(irsde, t, s) == pytest.approx(official, rel=1e-9)


def test_a_bridge_ends_on_y_and_a_loose_one_beside_it():
    bridge = goub_schedule(T=100, max_sigma=30)
    assert bridge.T == 99
    assert float(bridge.sigma.max()) > 2 * float(bridge.sigma[-1])
    assert float(1 - bridge.shift[-1]) == pytest.approx(0.001, rel=0.1)
    free = irsde_schedule(max_sigma=30)
    # Far from its end a bridge does not know of it.
    assert float(bridge.shift[1]) == pytest.approx(float(free.shift[1]), rel=1e-3)
    assert float(bridge.sigma[1]) == pytest.approx(float(free.sigma[1]), rel=1e-3)
    loose, tight = (1 - goub_schedule(gamma=gamma).shift for gamma in (1e2, 1e12))
    assert torch.allclose(tight, 1 - bridge.shift, atol=1e-9)
    assert (loose[1:] > tight[1:]).all()


def test_a_bridge_is_irsde_that_is_told_where_it_ends():
    """Its mean and variance are those of IR-SDE at t, given x_T = y, by the rule for jointly Gaussian variables."""
    lam, T = 30 / 255, 100
    bar = -(1 - irsde_schedule(max_sigma=30).shift).log()
    x0, y = 0.9, 0.2
    bridge = goub_schedule(T, max_sigma=30)
    end_variance = lam**2 * (1 - torch.exp(-2 * bar[T]))
    for t in (1, 20, 60, 99):
        variance = lam**2 * (1 - torch.exp(-2 * bar[t]))
        shared = variance * torch.exp(bar[t] - bar[T])
        mean = y + (x0 - y) * torch.exp(-bar[t])
        mean = mean + shared / end_variance * (y - (y + (x0 - y) * torch.exp(-bar[T])))
        assert float(x0 + bridge.shift[t] * (y - x0)) == pytest.approx(float(mean), abs=1e-12)
        assert float(bridge.sigma[t]) ** 2 == pytest.approx(float(variance - shared**2 / end_variance), abs=1e-12)


POSTERIORS = [(99, 0.490006577, 0.0509815305), (50, 0.488916331, 0.0368950452), (2, 0.368681117, 0.00179057581)]


@pytest.mark.parametrize(("t", "mean", "std"), POSTERIORS)
def test_a_bridge_draws_from_the_official_posterior(t, mean, std):
    """Golden: ``r_mean_1`` and ``r_sigma_1`` of the official class in float64; x_t = 0.5, x0 = 0.3, y = 0.4; cosine."""
    bridge = goub_schedule(max_sigma=30)
    x, x0, y = torch.tensor([0.5, 0.3, 0.4], dtype=torch.float64).view(3, 1, 1, 1, 1)
    guess = Prediction(x0, y - x0, (x - x0 - bridge.shift[t] * (y - x0)) / bridge.sigma[t])
    state = next(SAMPLERS["optimal"](lambda x, t: guess, bridge, x, [t, t - 1]))
    assert float(state.x) == pytest.approx(mean, abs=1e-9)
    assert posterior_std(bridge, t, t - 1) == pytest.approx(std, rel=1e-8)


# theta -> Mean-ODE, SDE with every noise 0.5, SDE with every noise -1: where they end
BRIDGES = {
    "cosine": (-6.3979249, -14.7697606, 10.3457467),
    "linear": (-6.4111087, -15.1682552, 11.1031843),
    "constant": (-8.4930951, -21.7159109, 17.9525364),
}


@pytest.mark.parametrize("theta", BRIDGES)
def test_euler_steps_on_a_bridge_are_the_official_ones(theta):
    """Golden: the official class in float64, y = 0.4, lambda 30, a net that says 2 (x - y) + 0.01 t.

    Official code leaves y at T by a step in which the net has no part; ours starts after it.
    """
    bridge = goub_schedule(theta=theta, max_sigma=30)
    y = torch.full((1, 1, 1, 1), 0.4, dtype=torch.float64)

    def predict(x, t):
        eps = 2 * (x - y) + 0.01 * t
        x0 = (x - bridge.shift[t] * y - bridge.sigma[t] * eps) / (1 - bridge.shift[t])
        return Prediction(x0, y - x0, eps)

    for sampler, z, wanted in zip(
        ("irsde-mean-ode", "irsde-euler", "irsde-euler"), (0.0, 0.5, -1.0), BRIDGES[theta], strict=True
    ):
        x = y - first_noise(bridge, sampler, 99) * z
        draw = partial(torch.full_like, fill_value=z)
        *_, last = SAMPLERS[sampler](predict, bridge, x, range(99, -1, -1), randn_like=draw)
        assert float(last.x) == pytest.approx(wanted, abs=2e-7)


def test_the_first_noise_is_the_schedules_but_for_official_steps_on_a_bridge():
    bridge, free, lam = goub_schedule(max_sigma=30), irsde_schedule(max_sigma=30), 30 / 255
    assert first_noise(bridge, "irsde-euler", 99) == pytest.approx(0.456223 * lam, rel=2e-6)
    assert first_noise(bridge, "irsde-mean-ode", 99) == 0
    assert first_noise(bridge, "posterior", 99) == float(bridge.sigma[99]) == pytest.approx(0.433480 * lam, rel=2e-6)
    assert first_noise(bridge, "irsde-euler", 50) == float(bridge.sigma[50])
    assert first_noise(free, "irsde-mean-ode", 100) == float(free.sigma[100])


def test_single_steps_alone_are_official_on_a_bridge():
    bridge = goub_schedule()
    plain = Schedule(bridge.shift, bridge.sigma)
    assert drift(bridge, 99, 97) == drift(plain, 99, 97)
    assert float(drift(bridge, 99, 98).rate) == pytest.approx(1.00290, abs=1e-5)
    assert float(drift(plain, 99, 98).rate) == pytest.approx(0.69820, abs=1e-5)


# what official nets say


def batch(schedule, dtype=torch.float64):
    rng = torch.Generator().manual_seed(0)
    x0, y = torch.rand(2, 4, 3, 2, 2, generator=rng, dtype=dtype)
    eps = torch.randn(x0.shape, generator=rng, dtype=dtype)
    t = torch.tensor([1, 7, 50, schedule.T])
    return x0, y, eps, t, diffuse(schedule, x0, y, eps, t)


@pytest.mark.parametrize("max_sigma", [10, 50])
def test_what_official_nets_are_trained_to_say_is_the_closed_form(max_sigma):
    """sinh(u)/u eps - sigma (e^u - 1 - u) / (2 lambda^2 u) (x - y), u = theta_t dt; weight 2 lambda^2 u / sigma."""
    schedule, lam = irsde_schedule(max_sigma=max_sigma), max_sigma / 255
    _, y, eps, t, x = batch(schedule)
    u = ((1 - schedule.shift[t - 1]) / (1 - schedule.shift[t])).log().view(-1, 1, 1, 1)
    sigma = schedule.sigma[t].view(-1, 1, 1, 1)
    bias = sigma * (torch.exp(u) - 1 - u) / (2 * lam**2 * u)
    weight, said = euler_eps(schedule, x, y, eps, t)
    assert torch.allclose(weight, 2 * lam**2 * u / sigma, rtol=1e-9)
    assert torch.allclose(said, torch.sinh(u) / u * eps - bias * (x - y), rtol=1e-8, atol=1e-9)
    assert torch.allclose(true_eps(schedule, x, y, said, t), eps, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["irsde", "linear", "denoising", "goub", "vp"])
def test_an_euler_step_of_what_is_said_ends_on_the_best_state(name):
    schedule = SCHEDULES[name]
    x0, y, eps, t, x = batch(schedule)
    _, said = euler_eps(schedule, x, y, eps, t)
    for i in range(len(t)):
        time = int(t[i])
        point = [v[i : i + 1] for v in (x, y, said)]
        net = Denoiser(lambda x, time, out=point[2]: out, schedule, "eps", ("x-y",), "t", "none", (0.0, 1.0))
        p = net(point[0], time, point[1])
        euler = next(SAMPLERS["irsde-euler"](
            lambda x, t, p=p: p, schedule, point[0], [time, time - 1], eta=1.0, randn_like=torch.zeros_like
        ))  # fmt: skip
        # The mean of q(x_s | x_t, x0), written out: the best x_s.
        kept = float(schedule.decay[time] / schedule.decay[time - 1])
        ratio = kept * (schedule.sigma[time - 1] / schedule.sigma[time]) ** 2
        means = [x0[i] + schedule.shift[s] * (y[i] - x0[i]) for s in (time, time - 1)]
        best = means[1] + ratio * (x[i] - means[0])
        assert torch.allclose(euler.x[0].double(), best, atol=1e-6)


def test_a_net_that_says_that_gives_the_truth_when_read_so():
    schedule = SCHEDULES["irsde"]
    x0, y, eps, t, x = batch(schedule)
    _, said = euler_eps(schedule, x, y, eps, t)
    for i in range(len(t)):
        point = Point(x[i : i + 1], y[i : i + 1], schedule, int(t[i]), lambda v: v, lambda v: v)
        got = from_euler_eps(point, said[i : i + 1])
        assert torch.allclose(got.x0, x0[i : i + 1], atol=1e-8)
        assert torch.allclose(got.eps, eps[i : i + 1], atol=1e-8)


@pytest.mark.parametrize("name", ["irsde", "denoising"])
@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_losses_are_0_for_the_truth_and_known_beside_it(name, loss):
    schedule = SCHEDULES[name]
    x0, y, eps, t, x = batch(schedule, torch.float32)
    weight, said = euler_eps(schedule, x, y, eps, t)
    sigma = schedule.sigma[t].float().view(-1, 1, 1, 1)
    power = 1 if loss == "l1" else 2
    for objective, truth, size in ((noise_loss, eps, sigma), (matching_loss, said, weight)):
        for off in (0.0, 0.5):
            net = Denoiser(lambda x, time, out=truth + off: out, schedule, "eps", ("x-y",), "t", "none", (0.0, 1.0))
            got = float(objective(net, x0, y, eps, t, loss=loss))
            assert got == pytest.approx(float(((off * size) ** power).mean()), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(
    ("objective", "output", "schedule", "words"),
    [
        ("noise", "res", "irsde", "The objective noise is for nets that say eps, not res"),
        ("noise", "euler_eps", "irsde", "The objective noise is for nets that say eps, not euler_eps"),
        ("matching", "x0", "irsde", "The objective matching is for nets that say eps or euler_eps, not x0"),
        ("outputs", "euler_eps", "irsde", "is trained with the objective matching, not outputs"),
        ("matching", "eps", "rddm", "needs a schedule that leaves something of the clean picture at t = T"),
    ],
)
def test_an_objective_that_does_not_fit_the_net_or_its_schedule_is_refused(objective, output, schedule, words):
    with pytest.raises(ValueError, match=words):
        check_objective(objective, Denoiser(None, SCHEDULES[schedule], output))
    for fitting in (("noise", "eps"), ("matching", "eps"), ("matching", "euler_eps"), ("outputs", "res")):
        check_objective(fitting[0], Denoiser(None, SCHEDULES["irsde"], fitting[1]))
