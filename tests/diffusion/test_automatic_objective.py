"""Automatic objective selection: undecided it is both objectives mixed, decided it is one of them."""

import pytest
import torch

from restorer.diffusion.losses import LOSSES, AutomaticObjective, diffusion_loss
from restorer.diffusion.predict import Denoiser
from restorer.diffusion.schedule import diffuse, rddm_schedule, vp_schedule

SCHEDULE = rddm_schedule(100)
SHAPE = (3, 3, 4, 5)
TIMES = torch.tensor([2, 50, 99])


def pictures():
    rng = torch.Generator().manual_seed(0)
    x0, y = 2 * torch.rand(2, *SHAPE, generator=rng) - 1
    return x0, y, torch.randn(SHAPE, generator=rng)


def saying(out, schedule=SCHEDULE):
    return Denoiser(lambda x, time: out, schedule)


def objective_at(share):
    objective = AutomaticObjective()
    with torch.no_grad():
        objective.share.fill_(share)
    return objective


@pytest.mark.parametrize(
    ("share", "output"),
    [(0.5, None), (0.509, None), (0.491, None), (0.511, "res"), (1.0, "res"), (0.489, "eps"), (0.0, "eps")],
)
def test_a_hundredth_decides(share, output):
    assert objective_at(share).output == output


def test_it_starts_undecided_with_one_number_to_learn():
    objective = AutomaticObjective()
    assert {name: p.tolist() for name, p in objective.named_parameters()} == {"share": [0.5]}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("share", "output"), [(0.6, "res"), (0.4, "eps")])
def test_once_decided_it_is_the_loss_of_that_output(share, output, loss):
    x0, y, eps = pictures()
    said = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    alone = diffusion_loss(Denoiser(lambda x, time: said, SCHEDULE, output), x0, y, eps, TIMES, loss=loss)
    assert torch.equal(objective_at(share)(saying(said), x0, y, eps, TIMES, loss=loss), alone)


@pytest.mark.parametrize("reading", ["res", "eps"])
def test_the_truth_of_either_reading_makes_the_other(reading):
    """A net that says res exactly has eps exactly too: what is off is the one taken for the other."""
    x0, y, eps = pictures()
    res = y - x0
    said = {"res": res, "eps": eps}[reading]
    share, t = 0.505, torch.tensor([10, 50, 80])
    objective = objective_at(share)
    res_error, eps_error = objective.errors(saying(said), x0, y, eps, t)
    if reading == "res":
        assert eps_error.item() == pytest.approx(((1 - share) * (res - eps)).abs().mean().item(), rel=1e-3)
    else:
        assert res_error.item() == pytest.approx((share * (eps - res)).abs().mean().item(), rel=1e-3)
    total = objective(saying(said), x0, y, eps, t)
    assert total.item() == pytest.approx(share * res_error.item() + (1 - share) * eps_error.item(), rel=1e-6)


def test_each_picture_is_mixed_at_its_own_time():
    x0, y, eps = pictures()
    said, objective = torch.full(SHAPE, 0.3), AutomaticObjective()
    together = objective(saying(said), x0, y, eps, TIMES)
    alone = [
        objective(saying(said[:1]), *(v[n : n + 1] for v in (x0, y, eps)), TIMES[n : n + 1]) for n in range(len(TIMES))
    ]
    assert together.item() == pytest.approx(sum(loss.item() for loss in alone) / len(alone), rel=1e-5)


@pytest.mark.parametrize("schedule", [SCHEDULE, vp_schedule(100)], ids=["rddm", "vp"])
def test_at_the_start_the_clean_picture_is_black_and_white_as_upstream(schedule):
    """Whatever the schedule leaves of x0 at T: there the other reading of an output is the sign of what it missed."""
    x0, y, eps = pictures()
    said, t = 0.5 * eps, torch.full((3,), 100)
    shift, sigma = float(schedule.shift[-1]), float(schedule.sigma[-1])
    x = diffuse(schedule, x0, y, eps, t)
    guess = ((x - shift * y - sigma * said) / 1e-6).clamp(-1, 1)
    assert guess.abs().min() > 0.9
    res_error, _ = AutomaticObjective().errors(saying(said, schedule), x0, y, eps, t)
    assert res_error.item() == pytest.approx((0.5 * said + 0.5 * (y - guess) - (y - x0)).abs().mean().item(), rel=1e-4)


def test_the_share_moves_to_the_reading_that_the_net_is_better_at():
    """As a training would: an output that is the residual itself, with the official optimiser but a larger rate."""
    x0, y, eps = pictures()
    objective = AutomaticObjective()
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-3, betas=(0.9, 0.99))
    for _ in range(20):
        if objective.output:
            break
        optimizer.zero_grad()
        objective(saying(y - x0), x0, y, eps, torch.tensor([10, 50, 80])).backward()
        optimizer.step()
    assert objective.output == "res"
