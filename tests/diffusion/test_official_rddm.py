"""What official RDDM classes answered on the CPU in float32, for weights and noise that anyone can compute.

The weights, draws and pictures are those of ``official_rddm``. A picture is told by its mean, its population standard
deviation and the elements SHOWN, in [0, 1], to six digits.
"""

from functools import cache
from typing import NamedTuple

import pytest
import torch
from official_rddm import SHAPE, SHOWN, Draws, draw, official_state, wave

from restorer.diffusion.losses import AutomaticObjective, diffusion_loss
from restorer.diffusion.predict import Denoiser
from restorer.diffusion.samplers import SAMPLERS, time_grid
from restorer.diffusion.schedule import Schedule, diffuse, rddm_schedule, vp_schedule
from restorer.nets import NETS
from restorer.nets.rddm_unet import options_of, rename


class Experiment(NamedTuple):
    """How an official experiment uses its nets. ``start``: the noise at T, the square root of sum_scale."""

    schedule: Schedule
    time: str = "index"
    inputs: tuple[str, ...] = ("x",)
    generation: bool = True
    start: float = 1.0


EXPERIMENTS = {
    "2": Experiment(rddm_schedule(), "index", ("x", "y"), False),
    "2 quiet": Experiment(rddm_schedule(sum_scale=0.01), "index", ("x", "y"), False, 0.1),
    "2 short": Experiment(rddm_schedule(20), "index", ("x", "y"), False),
    "2 generation": Experiment(rddm_schedule()),
    "0": Experiment(vp_schedule(), "shift_sigma"),
    "0 res": Experiment(vp_schedule(), "shift"),
    "0 noise": Experiment(vp_schedule(), "sigma"),
    "3": Experiment(vp_schedule(), "index", ("x", "y"), False),
    "4": Experiment(rddm_schedule(family="linspace"), "shift_sigma", generation=False),
    "6": Experiment(rddm_schedule(family="linspace")),
}

# (experiment, nets, output, sampler, steps): mean, standard deviation, elements
SAMPLED = {
    ("2", "two", "res_eps", "rddm", 5): (0.510068, 0.384340, 1, 0.918337, 0.186442, 0.522389),
    ("2", "two", "res_eps", "rddm", 1): (0.507601, 0.384813, 1, 1, 0.176949, 0.528655),
    ("2 quiet", "two", "res_eps", "rddm", 2): (0.514073, 0.317584, 0.994035, 1, 0.692317, 0.301204),
    ("2 quiet", "two", "res_eps", "rddm", 10): (0.513806, 0.320707, 0.990136, 1, 0.691677, 0.301719),
    ("2", "one", "res", "rddm", 2): (0.515837, 0.317638, 0.990878, 1, 0.747856, 0.273645),
    ("2", "one", "eps", "rddm", 5): (0.513674, 0.487443, 1, 1, 0, 1),
    ("2", "shared", "res_eps", "rddm", 5): (0.491998, 0.390682, 0.997947, 1, 0.053682, 0.772497),
    ("2", "shared", "res_sum", "rddm", 5): (0.471430, 0.384889, 0.936877, 0.923261, 0, 0.584967),
    ("2", "two", "x0_eps", "rddm", 5): (0.477436, 0.168254, 0.349211, 0.227748, 0.374473, 0.593228),
    ("2", "two", "x0_sum", "rddm", 5): (0.476038, 0.170745, 0.423760, 0.412172, 0.403826, 0.592002),
    ("2 short", "two", "res_eps", "rddm-ancestral", 20): (0.508408, 0.365296, 0.971243, 0.297013, 0.266649, 0.993448),
    ("2 generation", "two", "res_eps", "rddm", 10): (0.511504, 0.381443, 0.844409, 0.829882, 0.041762, 0.660563),
    ("0", "two", "res_eps", "rddm-two-phase", 3): (0.517278, 0.379456, 0.819242, 0.853629, 0.121988, 0.679887),
    ("0", "two", "res_eps", "rddm-two-phase", 10): (0.511044, 0.369631, 0.831617, 0.822804, 0.061299, 0.685564),
    ("0 res", "first", "res", "rddm-two-phase", 10): (0.518258, 0.169613, 0.699869, 0.890086, 0.606650, 0.406321),
    ("0 noise", "second", "eps", "rddm-two-phase", 10): (0.489579, 0.455863, 0.895087, 0, 0.020617, 1),
    ("6", "two", "res_eps", "rddm", 10): (0.511506, 0.381442, 0.844399, 0.829877, 0.041764, 0.660562),
    ("6", "second", "eps", "rddm", 10): (0.488399, 0.495256, 1, 0, 0, 1),
    ("4", "two", "res_eps", "rddm", 10): (0.508106, 0.384436, 1, 1, 0.178442, 0.514485),
}

# official time: mean, standard deviation, elements of one U-Net's output
SAID = {
    0: (-0.129809, 0.456788, -0.189019, -0.523359, -0.135495, 0.154929),
    999: (-0.130080, 0.454809, -0.184510, -0.533259, -0.134651, 0.154888),
    189.91: (-0.129879, 0.456582, -0.186684, -0.523311, -0.135120, 0.154859),
}

# official time: l1 and l2 of experiment 2's two nets, both terms added
LOSS = {0: (1.327543, 1.328274), 499: (1.304621, 1.318251), 999: (1.306907, 1.320737)}

# official time: residual's and noise's term, total, and its derivative by the share, at the share 0.5
AOSA = {499: (0.556219, 0.417098, 0.486659, -0.425411), 900: (0.604989, 0.400048, 0.502519, -0.450036)}


@cache
def net_of(nets, channels, dtype=torch.float32):
    """ "first" and "second" are the parts of "two" that official code can be told to use alone."""
    if nets in ("first", "second"):
        prefix = {"first": "unet0.", "second": "unet1."}[nets]
        state = {k.removeprefix(prefix): v for k, v in official_state("two", channels).items() if k.startswith(prefix)}
    else:
        state = official_state(nets, channels)
    options = options_of(state)
    net = NETS[options.pop("arch")](**options)
    net.load_state_dict(rename(state))
    return net.eval().requires_grad_(False).to(dtype)


def denoiser_of(experiment, nets, output, dtype=torch.float32):
    schedule, time, inputs, *_ = EXPERIMENTS[experiment]
    net = net_of(nets, 3 * len(inputs), dtype)
    return Denoiser(net, schedule, output, inputs, time, clip="official", dtype=dtype)


def degraded():
    """In [-1, 1]."""
    return 0.8 * wave(SHAPE, 0.031, 1.0)


def clean():
    return 0.9 * wave(SHAPE, 0.027, 2.0)


def told(picture):
    return [float(picture.mean()), float(picture.std(correction=0)), *picture.flatten()[SHOWN].tolist()]


def printed(values):
    """Six decimals, and 2e-5 for another order of float32 sums."""
    return pytest.approx(values, rel=2e-5, abs=1e-6)


def sampled(case, dtype):
    """The picture of a case in [0, 1], with the net and the sampler in ``dtype``."""
    experiment, nets, output, sampler, steps = case
    schedule, _, _, generation, start = EXPERIMENTS[experiment]
    denoiser, draws = denoiser_of(experiment, nets, output, dtype), Draws()
    y = torch.zeros(SHAPE) if generation else degraded()
    x, y = (y + start * draws(y)).to(dtype), y.to(dtype)
    *_, last = SAMPLERS[sampler](
        lambda x, t: denoiser(x, t, y),
        schedule,
        x,
        time_grid(schedule.T, steps),
        eta=1.0 if sampler == "rddm-ancestral" else 0.0,
        randn_like=lambda x: draws(x).to(dtype),
    )
    return (last.x + 1) / 2


@pytest.mark.parametrize("time", SAID)
@torch.inference_mode()
def test_a_net_says_what_the_official_one_says(time):
    x = torch.cat([wave(SHAPE, 0.05, 0), degraded()], dim=1)
    assert told(net_of("bare", 6)(x, torch.tensor([float(time)]))) == printed(SAID[time])


@pytest.mark.parametrize("case", SAMPLED, ids=lambda case: ", ".join(map(str, case)))
@torch.inference_mode()
def test_every_sampler_gives_the_official_picture(case):
    """In float64, to the official float32.

    Nets of such weights make up to a hundred times as much of float32's rounding, wherever it falls: an element alone
    tells of luck, not of a part of the net. What float32 adds is held over the whole picture.
    """
    exact = sampled(case, torch.float64)
    assert told(exact) == printed(SAMPLED[case])
    assert float((sampled(case, torch.float32) - exact).square().mean().sqrt()) < 1e-5


@pytest.mark.parametrize("time", LOSS)
@torch.inference_mode()
def test_losses_are_the_official_ones(time):
    denoiser = denoiser_of("2", "two", "res_eps")
    t = torch.tensor([time + 1])
    for loss, value in zip(("l1", "l2"), LOSS[time], strict=True):
        got = diffusion_loss(denoiser, clean(), degraded(), draw(SHAPE, 1), t, loss=loss)
        assert float(got) == printed(value)


@pytest.mark.parametrize("time", AOSA)
def test_the_automatic_objective_is_the_official_one(time):
    res_term, eps_term, total, slope = AOSA[time]
    denoiser, objective = denoiser_of("3", "one", "res"), AutomaticObjective()
    x0, y, eps, t = clean(), degraded(), draw(SHAPE, 1), torch.tensor([time + 1])
    loss = objective(denoiser, x0, y, eps, t)
    loss.backward()
    assert float(loss.detach()) == printed(total)
    assert [float(error.detach()) for error in objective.errors(denoiser, x0, y, eps, t)] == printed(
        [res_term, eps_term]
    )
    assert objective.share.grad.tolist() == printed([slope])


def test_the_start_of_official_restoration_is_the_marginal_at_T():
    """So an oracle that starts there is led to the clean picture, also with residuals clipped as official code does."""
    x0, y, eps = 0.5 * clean(), 0.5 * degraded(), draw(SHAPE, 1)
    for experiment in ("2", "2 quiet", "6"):
        schedule, start = EXPERIMENTS[experiment].schedule, EXPERIMENTS[experiment].start
        x = y + start * eps
        assert torch.allclose(diffuse(schedule, x0, y, eps, schedule.T), x, atol=1e-6)
        knows = Denoiser(lambda fed, time: torch.cat([y - x0, eps], dim=1), schedule, "res_eps", clip="official")
        for steps in (1, 2, 10):
            *_, last = SAMPLERS["rddm"](lambda x, t, net=knows: net(x, t, y), schedule, x, time_grid(1000, steps))
            assert torch.allclose(last.x, x0, atol=1e-6)
