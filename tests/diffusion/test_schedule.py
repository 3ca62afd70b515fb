"""Schedules: their ends, their order, the values of the official code, and x_t made from them."""

import math
from itertools import product

import pytest
import torch

from restorer.diffusion.schedule import SCHEDULES, Schedule, diffuse, rddm_schedule, vp_schedule

MODES = ["increased", "decreased", "average", "normal"]
FAMILIES = ["integer", "linspace"]
POWERS = [0.3, 1.0, 3.0]
RDDM = list(product(MODES, FAMILIES, POWERS))
VP = ["linear", "scaled_linear", "squaredcos_cap_v2"]

# Official buffers: experiment 2 (two sum_scales), computed in float64 and cast to float32; experiments 0, 3 and 5, and
# experiments 4 and 6, computed in float32, which shift and sigma^2 show in units of the last place of 1.
OFFICIAL_TIMES = [1, 100, 200, 500, 800, 1000]
SHIFT_2 = [0.0019980019, 0.18991008, 0.35984015, 0.74975026, 0.95984018, 1]
OFFICIAL = {
    "2, sum_scale 1": (
        rddm_schedule(sum_scale=1.0),
        SHIFT_2,
        [0.001413507, 0.10044854, 0.20039921, 0.50024968, 0.80009991, 1],
        0,
    ),
    "2, sum_scale 0.01": (
        rddm_schedule(sum_scale=0.01),
        SHIFT_2,
        [0.0001413507, 0.010044854, 0.02003992, 0.050024968, 0.080009989, 0.1],
        0,
    ),
    "0, 3, 5": (
        vp_schedule(beta="linear"),
        [5.0008297e-5, 0.052889705, 0.18818814, 0.71966588, 0.96085811, 0.99364716],
        [0.01000083, 0.32090816, 0.58391905, 0.95990247, 0.99923366, 0.99997979],
        2,
    ),
    "4, 6": (
        rddm_schedule(family="linspace"),
        [0.0020000001, 0.19009009, 0.36016017, 0.75025028, 0.96016014, 1],
        [0, 0.099548534, 0.19959921, 0.49974969, 0.79989988, 1],
        2,
    ),
}


def pictures(*, dtype=torch.float64, n=3):
    rng = torch.Generator().manual_seed(0)
    x0, y = 2 * torch.rand(2, n, 3, 4, 5, generator=rng, dtype=dtype) - 1
    return x0, y, torch.randn(n, 3, 4, 5, generator=rng, dtype=dtype)


def assert_a_schedule(schedule, T):
    assert schedule.T == T
    for table in (schedule.shift, schedule.sigma):
        assert table.shape == (T + 1,)
        assert (table.dtype, table.device.type) == (torch.float64, "cpu")
        assert table[0] == 0
        assert (table.diff() >= 0).all()
    assert schedule.shift[-1] <= 1
    assert schedule.sigma[-1] > 0


@pytest.mark.parametrize(("mode", "family", "power"), RDDM)
@pytest.mark.parametrize("T", [2, 20, 1000])
def test_rddm_starts_clean_never_falls_and_ends_at_y(mode, family, power, T):
    schedule = rddm_schedule(T, alpha=mode, beta=mode, alpha_power=power, beta_power=power, family=family)
    assert_a_schedule(schedule, T)
    assert float(schedule.shift[-1]) == pytest.approx(1, abs=1e-12)
    assert float(schedule.sigma[-1]) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("sum_scale", [1e-4, 0.01, 1.0, 4.0])
@pytest.mark.parametrize("mode", MODES)
def test_sum_scale_is_the_variance_at_the_start(mode, sum_scale):
    small, unit = (rddm_schedule(50, beta=mode, sum_scale=scale) for scale in (sum_scale, 1.0))
    assert float(small.sigma[-1]) ** 2 == pytest.approx(sum_scale, rel=1e-12)
    assert torch.allclose(small.sigma, sum_scale**0.5 * unit.sigma, rtol=1e-12, atol=0)
    assert torch.equal(small.shift, unit.shift)


@pytest.mark.parametrize("mode", MODES)
def test_a_schedule_of_one_step_goes_all_the_way(mode):
    schedule = rddm_schedule(1, alpha=mode, beta=mode, sum_scale=0.25)
    assert (schedule.shift.tolist(), schedule.sigma.tolist()) == ([0, 1], [0, 0.5])


@pytest.mark.parametrize("beta", VP)
@pytest.mark.parametrize("T", [1, 20, 1000])
def test_vp_preserves_variance(beta, T):
    """DDPM: (1 - shift)^2 + sigma^2 = 1, and x_T is nearly noise for T = 1000."""
    schedule = vp_schedule(T, beta=beta)
    assert_a_schedule(schedule, T)
    assert torch.allclose((1 - schedule.shift) ** 2 + schedule.sigma**2, torch.ones(T + 1).double(), rtol=1e-12)
    if T == 1000:
        assert schedule.shift[-1] > 0.97


@pytest.mark.parametrize(("schedule", "shift", "sigma", "places"), OFFICIAL.values(), ids=OFFICIAL)
def test_tables_are_those_of_the_official_experiments(schedule, shift, sigma, places):
    shift, variance = torch.tensor(shift).double(), torch.tensor(sigma).double() ** 2
    assert torch.allclose(schedule.shift[OFFICIAL_TIMES], shift, rtol=1e-6, atol=places * 2**-23)
    assert torch.allclose(schedule.sigma[OFFICIAL_TIMES] ** 2, variance, rtol=1e-6, atol=places * 2**-23)


def test_linear_tables_have_their_closed_forms():
    T, s = 1000, 0.01
    k = torch.arange(T, dtype=torch.float64)
    integer, linspace = (rddm_schedule(T, sum_scale=s, family=family) for family in FAMILIES)
    assert torch.allclose(integer.shift[1:], (k + 1) * (2 * T - k) / (T * (T + 1)), rtol=1e-12)
    assert torch.allclose(integer.sigma[1:] ** 2, s * (k + 1) * (k + 2) / (T * (T + 1)), rtol=1e-12)
    assert torch.allclose(linspace.shift[1:], (k + 1) * (2 * T - 2 - k) / (T * (T - 1)), rtol=1e-12)
    assert torch.allclose(linspace.sigma[1:] ** 2, s * k * (k + 1) / (T * (T - 1)), rtol=1e-12, atol=1e-18)


def test_powers_and_modes_are_those_of_the_paper():
    """P(x, a) has increments that go as x^a: "increased"; P(1 - x, a) is "decreased"."""
    x = torch.linspace(0, 1, 11, dtype=torch.float64)
    p = x**0.3 / (x**0.3).sum()
    schedule = rddm_schedule(11, alpha="decreased", alpha_power=0.3, beta_power=0.3, sum_scale=0.5, family="linspace")
    assert torch.allclose(schedule.shift.diff(), p.flip(0), atol=1e-15)
    assert torch.allclose((schedule.sigma**2).diff(), 0.5 * p, atol=1e-15)
    bell = rddm_schedule(5, alpha="normal").shift.diff()
    assert torch.allclose(bell / bell[2], torch.tensor([math.exp(-(z**2) / 2) for z in (-3, -1.5, 0, 1.5, 3)]).double())


def test_vp_is_the_cumulative_product_of_the_named_betas():
    steps = torch.arange(100, dtype=torch.float64)
    linear = 1e-4 + (0.02 - 1e-4) * steps / 99
    scaled = (0.01 + (0.02**0.5 - 0.01) * steps / 99) ** 2

    def cosine(u):
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    squared_cosine = torch.tensor(
        [min(1 - cosine((i + 1) / 100) / cosine(i / 100), 0.999) for i in range(100)]
    ).double()
    for beta, betas in zip(VP, (linear, scaled, squared_cosine), strict=True):
        schedule = vp_schedule(100, beta=beta)
        alpha_bar = torch.stack([(1 - betas[:t]).prod() for t in range(101)])
        tolerance = 1e-6 if beta == "squaredcos_cap_v2" else 1e-12
        assert torch.allclose(schedule.shift, 1 - alpha_bar.sqrt(), atol=tolerance)
        assert torch.allclose(schedule.sigma, (1 - alpha_bar).sqrt(), atol=tolerance)


TABLE = [i / 1000 for i in range(1001)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_builds_with_its_defaults(name):
    options = {"tables": {"shift": TABLE, "sigma": TABLE}, "betas": {"betas": [0.01] * 1000}}.get(name, {})
    if name != "goub":  # a bridge: its noise rises and falls, see test_irsde
        assert_a_schedule(SCHEDULES[name](**options), 100 if name in ("irsde", "denoising-sde") else 1000)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: rddm_schedule(alpha="linear"), "Unknown mode 'linear'; known: increased"),
        (lambda: rddm_schedule(beta="linear"), "Unknown mode 'linear'; known: increased"),
        (lambda: rddm_schedule(family="float"), "Unknown family 'float'; known: integer"),
        (lambda: vp_schedule(beta="cosine"), "Unknown beta 'cosine'; known: linear"),
        (lambda: rddm_schedule(0), "must be equal rows"),
        (lambda: rddm_schedule(1, family="linspace"), "must never fall"),
        (lambda: rddm_schedule(sum_scale=0.0), "sum_scale must be above 0, not 0.0"),
        (lambda: rddm_schedule(sum_scale=-1.0), "sum_scale must be above 0, not -1.0"),
        (lambda: rddm_schedule(sum_scale=math.nan), "sum_scale must be above 0, not nan"),
        (lambda: vp_schedule(beta_start=math.nan), "must never fall"),
        (lambda: Schedule(torch.tensor([0.0, 1.0, 0.5]), torch.tensor([0.0, 0.5, 1.0])), "must never fall"),
        (lambda: Schedule(torch.zeros(3), torch.zeros(2)), "must be equal rows"),
        (lambda: Schedule(torch.zeros(1), torch.zeros(1)), "must be equal rows"),
        (lambda: Schedule(torch.zeros(1, 3), torch.zeros(1, 3)), "must be equal rows"),
        (lambda: Schedule(torch.tensor([0.1, 1.0]), torch.tensor([0.0, 1.0])), "At t = 0 the picture is clean"),
        (lambda: Schedule(torch.tensor([0.0, 1.0]), torch.tensor([0.1, 1.0])), "At t = 0 the picture is clean"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sum_scale", [0.01, 1.0])
def test_x_0_is_clean_and_x_T_is_y_with_noise(dtype, sum_scale):
    x0, y, eps = pictures(dtype=dtype)
    schedule = rddm_schedule(sum_scale=sum_scale)
    assert torch.equal(diffuse(schedule, x0, y, eps, 0), x0)
    start = diffuse(schedule, x0, y, eps, schedule.T)
    assert start.dtype == dtype
    assert torch.allclose(start, y + sum_scale**0.5 * eps, atol=8 * torch.finfo(dtype).eps)


def test_a_batch_may_hold_different_times():
    x0, y, eps = pictures(dtype=torch.float32)
    schedule = rddm_schedule(100)
    times = [1, 40, 100]
    together = diffuse(schedule, x0, y, eps, torch.tensor(times))
    assert together.dtype == torch.float32
    for n, t in enumerate(times):
        alone = diffuse(schedule, *(v[n : n + 1] for v in (x0, y, eps)), t)
        assert torch.allclose(together[n : n + 1], alone, atol=1e-6)


def test_x_t_is_the_sum_of_its_three_parts():
    x0, y, eps = pictures()
    schedule = vp_schedule(100)
    for t in range(101):
        shift, sigma = float(schedule.shift[t]), float(schedule.sigma[t])
        assert torch.allclose(diffuse(schedule, x0, y, eps, t), (1 - shift) * x0 + shift * y + sigma * eps, atol=1e-14)
