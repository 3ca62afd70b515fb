"""Losses: the truth each output is compared with, and how the errors are added up."""

import pytest
import torch
from torch import nn

from restorer.diffusion.losses import LOSSES, diffusion_loss, targets
from restorer.diffusion.predict import OUTPUTS, Denoiser
from restorer.diffusion.schedule import diffuse, rddm_schedule, vp_schedule

SCHEDULE = rddm_schedule(100)
SHAPE = (3, 3, 4, 5)


PLAIN = [output for output in OUTPUTS if output not in ("euler_eps", "v")]
"""Outputs whose truth does not depend on x_t."""


def pictures():
    rng = torch.Generator().manual_seed(0)
    x0, y = 2 * torch.rand(2, *SHAPE, generator=rng) - 1
    return x0, y, torch.randn(SHAPE, generator=rng)


class Says:
    """A net that says ``out`` and remembers what it was asked."""

    def __init__(self, out):
        self.out = out

    def __call__(self, x, time):
        self.x, self.time = x, time
        return self.out


def test_targets_are_those_of_the_official_objectives():
    x0, y, eps = pictures()
    res = y - x0
    wanted = {
        "res": [res],
        "eps": [eps],
        "x0": [x0],
        "res_eps": [res, eps],
        "res_sum": [res, res + eps],
        "x0_eps": [x0, eps],
        "x0_sum": [x0, x0 + eps],
    }
    assert wanted.keys() == set(PLAIN)
    for output, truth in wanted.items():
        got = targets(output, x0, y, eps)
        assert len(got) == OUTPUTS[output].count
        assert all(torch.equal(one, other) for one, other in zip(got, truth, strict=True))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("output", PLAIN)
def test_the_truth_costs_nothing(output, loss):
    x0, y, eps = pictures()
    net = Says(torch.cat(targets(output, x0, y, eps), dim=1))
    assert diffusion_loss(Denoiser(net, SCHEDULE, output), x0, y, eps, torch.tensor([1, 50, 100]), loss=loss) == 0


@pytest.mark.parametrize(("loss", "first", "second"), [("l1", 0.5, 0.25), ("l2", 0.25, 0.0625)])
@pytest.mark.parametrize("output", PLAIN)
def test_each_output_adds_its_own_mean_error(output, loss, first, second):
    x0, y, eps = pictures()
    truth = targets(output, x0, y, eps)
    off = torch.cat([v + error for v, error in zip(truth, (0.5, -0.25), strict=False)], dim=1)
    got = diffusion_loss(Denoiser(Says(off), SCHEDULE, output), x0, y, eps, torch.tensor([1, 50, 100]), loss=loss)
    assert got.shape == ()
    assert float(got) == pytest.approx(first + (second if len(truth) == 2 else 0), rel=1e-5)


def test_a_velocity_is_of_each_pictures_own_time():
    x0, _, eps = pictures()
    t = torch.tensor([1, 50, 100])
    schedule = vp_schedule(100)
    a, sigma = (v[t].view(-1, 1, 1, 1).to(x0.dtype) for v in (1 - schedule.shift, schedule.sigma))
    denoiser = Denoiser(Says(a * eps - sigma * x0), schedule, "v")
    assert float(diffusion_loss(denoiser, x0, torch.zeros_like(x0), eps, t, loss="l2")) < 1e-12
    assert float(diffusion_loss(denoiser, x0, torch.zeros_like(x0), eps, t.flip(0), loss="l2")) > 0.1


def test_each_picture_is_shown_at_its_own_time():
    x0, y, eps = pictures()
    net = Says(torch.zeros(SHAPE))
    t = torch.tensor([1, 50, 100])
    diffusion_loss(Denoiser(net, SCHEDULE), x0, y, eps, t)
    assert net.time.tolist() == [0, 49, 99]
    assert torch.equal(net.x, torch.cat([diffuse(SCHEDULE, x0, y, eps, t), y], dim=1))


def test_what_is_learned_from_is_not_clipped():
    """Sampling clips a guess; a loss must see how far off it is."""
    x0, y, eps = pictures()
    net = Says(y - x0 + 100)
    for clip in ("none", "range", "official"):
        got = diffusion_loss(Denoiser(net, SCHEDULE, clip=clip), x0, y, eps, torch.tensor([5, 5, 5]))
        assert float(got) == pytest.approx(100, rel=1e-5)


def test_the_loss_of_a_half_precision_net_is_float32_and_reaches_its_weights():
    x0, y, eps = pictures()
    conv = nn.Conv2d(6, 3, 1, dtype=torch.bfloat16)
    denoiser = Denoiser(lambda x, time: conv(x), SCHEDULE, dtype=torch.bfloat16)
    loss = diffusion_loss(denoiser, x0, y, eps, torch.tensor([1, 50, 100]), loss="l2")
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(weight.grad.abs().sum() > 0 for weight in conv.parameters())
