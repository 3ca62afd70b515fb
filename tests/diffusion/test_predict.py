"""Predictions: every meaning of a net's output gives the same three pictures, clipped as the official code clips."""

from itertools import product

import pytest
import torch

from restorer.diffusion.losses import targets
from restorer.diffusion.predict import OUTPUTS, TIMES, Denoiser, Point
from restorer.diffusion.schedule import diffuse, rddm_schedule, vp_schedule

SCHEDULES = {
    "rddm": rddm_schedule(100),
    "rddm quiet": rddm_schedule(100, sum_scale=0.01),
    "rddm linspace": rddm_schedule(100, family="linspace"),
    "vp": vp_schedule(100),
}
SHAPE = (2, 3, 4, 5)


def pictures(*, dtype=torch.float64, spread=1.0):
    """A clean, a degraded picture in [-1, 1] (times ``spread``), and noise."""
    rng = torch.Generator().manual_seed(0)
    x0, y = spread * (2 * torch.rand(2, *SHAPE, generator=rng, dtype=dtype) - 1)
    return x0, y, torch.randn(SHAPE, generator=rng, dtype=dtype)


PLAIN = [output for output in OUTPUTS if output not in ("euler_eps", "v")]
"""Outputs whose meaning does not depend on the step."""


def same(v):
    return v


class Says:
    """A net that says ``out`` and remembers what it was asked."""

    def __init__(self, out):
        self.out = out

    def __call__(self, x, time):
        self.x, self.time = x, time
        return self.out


def defined(output, schedule, t):
    """Not where noise alone must tell x0 but nothing of x0 is left, nor where a residual must tell absent noise."""
    if output == "eps":
        return schedule.shift[t] < 1 - 1e-6
    return schedule.sigma[t] > 0 or output not in ("res", "x0")


@pytest.mark.parametrize(
    ("output", "name", "t"),
    [case for case in product(PLAIN, SCHEDULES, (1, 2, 37, 99, 100)) if defined(case[0], SCHEDULES[case[1]], case[2])],
)
def test_the_truth_gives_back_the_truth(output, name, t):
    schedule = SCHEDULES[name]
    x0, y, eps = pictures()
    x = diffuse(schedule, x0, y, eps, t)
    point = Point(x, y, schedule, t, same, same)
    prediction = OUTPUTS[output].to_prediction(point, *targets(output, x0, y, eps))
    for got, true in zip(prediction, (x0, y - x0, eps), strict=True):
        assert torch.allclose(got, true, rtol=0, atol=1e-10)


@pytest.mark.parametrize("t", [1, 37, 100])
@pytest.mark.parametrize("nothing", [True, False])
def test_the_velocity_gives_back_the_truth(t, nothing):
    schedule = SCHEDULES["vp"]
    x0, y, eps = pictures()
    y = torch.zeros_like(y) if nothing else y
    a, sigma = 1 - float(schedule.shift[t]), float(schedule.sigma[t])
    point = Point(diffuse(schedule, x0, y, eps, t), y, schedule, t, same, same)
    prediction = OUTPUTS["v"].to_prediction(point, a * eps - sigma * x0)
    for got, true in zip(prediction, (x0, y - x0, eps), strict=True):
        assert torch.allclose(got, true, rtol=0, atol=1e-10)


@pytest.mark.parametrize("output", ["res", "x0"])
def test_a_residual_without_noise_still_gives_the_clean_picture(output):
    """The linspace family has sigma = 0 at t = 1: the noise is lost, the picture is not."""
    schedule = SCHEDULES["rddm linspace"]
    x0, y, eps = pictures(dtype=torch.float32)
    assert schedule.sigma[1] == 0
    x = diffuse(schedule, x0, y, eps, 1)
    got = Denoiser(Says(targets(output, x0, y, eps)[0]), schedule, output)(x, 1, y)
    assert torch.allclose(got.x0, x0, atol=1e-6)
    assert torch.allclose(got.res, y - x0, atol=1e-6)


def test_noise_alone_at_the_start_is_divided_by_the_official_floor():
    """RDDM's shift is 1 at T: official code divides by 1e-6 there, which saturates whatever the net did not explain."""
    schedule = SCHEDULES["rddm"]
    _, y, eps = pictures(dtype=torch.float32)
    x = y + eps + 0.1
    got = Denoiser(Says(eps), schedule, "eps")(x, schedule.T, y)
    assert torch.equal(got.x0, torch.ones(SHAPE))
    assert torch.equal(got.res, y - 1)
    unclipped = Denoiser(Says(eps), schedule, "eps", clip="none")(x, schedule.T, y)
    assert torch.allclose(unclipped.x0, torch.full(SHAPE, 1e5), rtol=1e-4)


def official(objective, x, y, shift, sigma, o0, o1, widest=1.0):
    """The official table of objectives, written again; ``widest`` bounds the residual: 1 there, 2 with our "range"."""

    def clip(v):
        return v.clamp(-1, 1)

    def clip_res(v):
        return v.clamp(-widest, widest)

    match objective:
        case "res_eps":
            res, eps = clip_res(o0), o1
            x0 = clip(x - shift * res - sigma * eps)
        case "res_sum":
            res, eps = clip_res(o0), o1 - o0
            x0 = clip(x - shift * res - sigma * eps)
        case "x0_eps":
            res, eps, x0 = clip_res(y - o0), o1, clip(o0)
        case "x0_sum":
            res, eps, x0 = clip_res(y - o0), o1 - o0, clip(o0)
        case "eps":
            x0 = clip((x - shift * y - sigma * o0) / (1 - shift))
            res, eps = clip_res(y - x0), o0
        case "res":
            res = clip_res(o0)
            x0, eps = clip(y - res), (x - y - (shift - 1) * res) / sigma
        case "x0":
            res = clip_res(y - o0)
            x0, eps = clip(y - res), (x - y - (shift - 1) * res) / sigma
    return x0, res, eps


@pytest.mark.parametrize("t", [1, 37, 99])
@pytest.mark.parametrize(("clip", "widest"), [("official", 1.0), ("range", 2.0), ("none", torch.inf)])
@pytest.mark.parametrize("output", PLAIN)
def test_wild_outputs_are_clipped_as_the_official_table_says(output, clip, widest, t):
    schedule = SCHEDULES["rddm"]
    x, y, o0 = pictures(dtype=torch.float32)
    o0, o1 = 2 * o0, o0.flip(0) + 1
    outs = torch.cat([o0, o1], dim=1) if OUTPUTS[output].count == 2 else o0
    got = Denoiser(Says(outs), schedule, output, clip=clip)(x, t, y)
    shift, sigma = float(schedule.shift[t]), float(schedule.sigma[t])
    if clip == "none":
        point = Point(x, y, schedule, t, same, same)
        wanted = OUTPUTS[output].to_prediction(point, *([o0, o1][: OUTPUTS[output].count]))
    else:
        wanted = official(output, x, y, shift, sigma, o0, o1, widest)
        assert got.x0.abs().max() <= 1
        assert got.res.abs().max() <= widest
    for ours, theirs in zip(got, wanted, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_bounds_are_the_range_of_the_net():
    """A net in [0, 1]: a picture stays there, and two pictures differ by at most 1."""
    schedule = SCHEDULES["rddm"]
    x, y, o0 = pictures(dtype=torch.float32)
    got = Denoiser(Says(5 * o0), schedule, "res", bounds=(0.0, 1.0))(x, 50, y)
    assert (got.x0.min(), got.x0.max()) == (0, 1)
    assert (got.res.min(), got.res.max()) == (-1, 1)


@pytest.mark.parametrize("clip", ["none", "range", "official"])
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_value_that_is_no_number_is_not_clipped_away(output, clip, bad):
    """A half-precision net that overflows must be seen, not painted white."""
    x, y, _ = pictures(dtype=torch.float32)
    outs = torch.full((2, 3 * OUTPUTS[output].count, 4, 5), bad)
    assert not Denoiser(Says(outs), SCHEDULES["rddm"], output, clip=clip)(x, 50, y).x0.isfinite().any()


@pytest.mark.parametrize(
    ("inputs", "pick"), [(("x", "y"), "xy"), (("y", "x"), "yx"), (("x",), "x")], ids=["x y", "y x", "x"]
)
def test_the_net_is_fed_the_named_pictures_in_order(inputs, pick):
    _, y, x = pictures(dtype=torch.float32)
    net = Says(torch.zeros(SHAPE))
    Denoiser(net, SCHEDULES["rddm"], inputs=inputs)(x, 7, y)
    assert torch.equal(net.x, torch.cat([{"x": x, "y": y}[name] for name in pick], dim=1))


def test_official_nets_count_time_from_0_in_float32():
    _, y, x = pictures(dtype=torch.float32)
    net = Says(torch.zeros(SHAPE))
    denoiser = Denoiser(net, SCHEDULES["rddm"])
    for t in (1, 100):
        denoiser(x, t, y)
        assert (net.time.tolist(), net.time.dtype) == ([t - 1, t - 1], torch.float32)
    denoiser.raw(x, torch.tensor([3, 100]), y)
    assert net.time.tolist() == [2, 99]


@pytest.mark.parametrize("time", TIMES)
def test_every_time_is_told_to_each_picture(time):
    _, y, x = pictures(dtype=torch.float32)
    net = Says(torch.zeros(SHAPE))
    Denoiser(net, SCHEDULES["rddm"], time=time)(x, 100, y)
    assert len(net.time) == 2
    assert torch.equal(net.time[0], net.time[1])
    assert net.time.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_half_precision_net_is_used_in_full_precision(dtype):
    """Only the net works in ``dtype``: time goes in and the three pictures come out in float32."""
    _, y, x = pictures(dtype=torch.float32)
    net = Says(torch.full(SHAPE, 0.5, dtype=dtype))
    prediction = Denoiser(net, SCHEDULES["rddm"], dtype=dtype)(x, 50, y)
    assert (net.x.dtype, net.time.dtype) == (dtype, torch.float32)
    assert {v.dtype for v in prediction} == {torch.float32}


@pytest.mark.parametrize("output", PLAIN)
def test_memory_layout_changes_nothing(output):
    x0, y, eps = pictures(dtype=torch.float32)
    schedule = SCHEDULES["rddm"]
    x = diffuse(schedule, x0, y, eps, 60)
    outs = torch.cat(targets(output, x0, y, eps), dim=1)
    plain, last = (
        Denoiser(Says(outs.to(memory_format=layout)), schedule, output)(
            x.to(memory_format=layout), 60, y.to(memory_format=layout)
        )
        for layout in (torch.contiguous_format, torch.channels_last)
    )
    for one, other in zip(plain, last, strict=True):
        assert torch.equal(one, other)
