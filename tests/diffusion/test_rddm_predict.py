"""What official nets hear of time, and where the official clean picture is all black and white."""

import pytest
import torch

from restorer.diffusion.predict import Denoiser
from restorer.diffusion.schedule import rddm_schedule, vp_schedule

SHAPE = (3, 3, 4, 5)


def pictures():
    rng = torch.Generator().manual_seed(0)
    return torch.rand(SHAPE, generator=rng), torch.rand(SHAPE, generator=rng), torch.randn(SHAPE, generator=rng)


class Says:
    def __init__(self, out):
        self.out = out

    def __call__(self, x, time):
        self.time = time
        return self.out


@pytest.mark.parametrize(
    ("time", "wanted"),
    [
        ("index", [0, 199, 999]),
        ("shift", [1.9980020, 359.84016, 1000]),
        ("sigma", [1.4135068, 200.39920, 1000]),
        ("shift_sigma", [[1.9980020, 1.4135068], [359.84016, 200.39920], [1000, 1000]]),
    ],
)
def test_a_net_hears_the_time_the_shift_the_sigma_or_both(time, wanted):
    """On one scale, whose end is T: official code feeds t, or T times the cumulative shift and T times sigma."""
    x, y, eps = pictures()
    net = Says(eps)
    Denoiser(net, rddm_schedule(), "eps", time=time).raw(x, torch.tensor([1, 200, 1000]), y)
    assert torch.allclose(net.time, torch.tensor(wanted, dtype=torch.float32), rtol=1e-6)
    assert net.time.dtype == torch.float32


@pytest.mark.parametrize("t", [1, 500, 999, 1000])
def test_only_official_clipping_holds_that_nothing_is_left_at_the_start(t):
    """A schedule made from DDIM has a share of 0.0064 of x0 left at T; official code divides by 1e-6 there."""
    schedule = vp_schedule()
    x, _, eps = pictures()
    y = torch.zeros(SHAPE)
    left, sigma = float(1 - schedule.shift[t]), float(schedule.sigma[t])
    official, ours = (
        Denoiser(Says(eps), schedule, "eps", ("x",), clip=clip)(x, t, y) for clip in ("official", "range")
    )
    x0 = (x - sigma * eps) / left
    assert torch.allclose(ours.x0, x0.clamp(-1, 1), atol=1e-4)
    assert torch.allclose(official.x0, (x0 * left / 1e-6 if t == 1000 else x0).clamp(-1, 1), atol=1e-4)
    assert torch.equal(official.eps, eps)
