"""Class guidance: on Gaussian data an ideal classifier makes the ideal net that of one class; the rest is refused."""

from dataclasses import replace

import pytest
import torch

from restorer.diffusion.guidance import Guide
from restorer.diffusion.predict import Denoiser
from restorer.diffusion.samplers import SAMPLERS
from restorer.diffusion.schedule import vp_schedule

SCHEDULE = vp_schedule(1000)
SHAPE = (3, 2, 2)
SPREAD = 0.4
"""Standard deviation of a class about its mean."""
SHARES = torch.tensor([0.3, 0.7], dtype=torch.float64)
"""How much of the data each class is."""
MEANS = 0.3 * torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def at(time):
    """What is left of x0, and the noise, at the time as a net hears it."""
    t = int(time[0]) + 1
    return 1 - float(SCHEDULE.shift[t]), float(SCHEDULE.sigma[t])


def classify(x, time):
    """log p(class | x_t), but for a constant: an ideal classifier."""
    left, sigma = at(time)
    apart = (x[:, None] - left * MEANS).flatten(2).square().sum(dim=2)
    return SHARES.log() - apart / (2 * (left**2 * SPREAD**2 + sigma**2))


def of_class(label):
    """The ideal net of one class, which says eps."""

    def net(x, time):
        left, sigma = at(time)
        x0 = MEANS[label] + left * SPREAD**2 / (left**2 * SPREAD**2 + sigma**2) * (x - left * MEANS[label])
        return (x - left * x0) / sigma

    return net


def of_all(x, time):
    """The ideal net of both."""
    chances = classify(x, time).softmax(dim=1)
    return sum(chances[:, k, None, None, None] * of_class(k)(x, time) for k in range(2))


def saying_v(net):
    def said(x, time):
        left, sigma = at(time)
        eps = net(x, time)
        return left * eps - sigma * (x - sigma * eps) / left

    return said


SAYS = {"eps": lambda net: net, "v": saying_v}


def denoiser(net, output="eps", **options):
    own = {"inputs": ("x",), "clip": "none", "dtype": torch.float64}
    return Denoiser(SAYS[output](net), SCHEDULE, output, **own | options)


def x_at(t, count=3):
    rng = torch.Generator().manual_seed(t)
    left, sigma = 1 - float(SCHEDULE.shift[t]), float(SCHEDULE.sigma[t])
    drawn = torch.randn(2, count, *SHAPE, generator=rng, dtype=torch.float64)
    return left * (MEANS[1] + SPREAD * drawn[0]) + sigma * drawn[1]


@pytest.mark.parametrize("output", SAYS)
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("t", [1, 30, 250, 600, 999, 1000])
def test_ideal_guidance_makes_the_net_of_a_class(t, label, output):
    x = x_at(t)
    y = torch.zeros_like(x)
    guided = denoiser(of_all, output, guide=Guide(classify, 1.0, label))
    with torch.inference_mode():
        found = guided(x, t, y)
    wanted = denoiser(of_class(label), output)(x, t, y)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-6)
    if t in (250, 600):  # where guidance has something to say
        assert (found.eps - denoiser(of_all, output)(x, t, y).eps).abs().max() > 1e-3


def test_the_pull_grows_with_the_scale_and_x0_is_clipped_after_it():
    x, t = x_at(250), 250
    y = torch.zeros_like(x)
    plain, once, thrice = (
        denoiser(of_all, guide=guide)(x, t, y) for guide in (None, Guide(classify, 1, 0), Guide(classify, 3, 0))
    )
    assert torch.allclose(thrice.eps - plain.eps, 3 * (once.eps - plain.eps), atol=1e-9)
    clipped = denoiser(of_all, guide=Guide(classify, 3, 0), clip="range", bounds=(-0.2, 0.2))(x, t, y)
    assert torch.equal(clipped.x0, thrice.x0.clamp(-0.2, 0.2)) and torch.equal(clipped.eps, thrice.eps)
    assert not torch.equal(clipped.x0, thrice.x0)


def test_without_a_class_or_without_anything_of_x0_left_there_is_no_pull():
    x = x_at(600)
    y = torch.zeros_like(x)
    plain = denoiser(of_all)(x, 600, y)
    assert torch.equal(denoiser(of_all, guide=Guide(classify))(x, 600, y).eps, plain.eps)
    gone = replace(SCHEDULE, shift=SCHEDULE.shift.clone().index_fill(0, torch.tensor([1000]), 1.0))
    made = [replace(denoiser(of_all, guide=guide), schedule=gone) for guide in (None, Guide(classify, 1.0, 0))]
    assert torch.equal(*(one(x, 1000, y).eps for one in made))
    assert not torch.equal(*(one(x, 999, y).eps for one in made))


def test_the_gradient_is_taken_where_x_is_and_leaves_nothing_behind():
    asked = []

    def watched(x, time):
        asked.append((x.detach().clone(), float(time[0])))
        return classify(x, time)

    guided = denoiser(of_all, guide=Guide(watched, 1.0, 0))
    with torch.inference_mode():
        start = x_at(1000)
        states = list(
            SAMPLERS["ddim"](
                lambda x, t: guided(x, t, torch.zeros_like(x)), SCHEDULE, start, [1000, 600, 250, 0], eta=0.0
            )
        )
    assert [time for _, time in asked] == [999, 599, 249]
    for (x, _), seen in zip(asked, [start, *(state.x for state in states)], strict=False):
        assert torch.equal(x, seen)
    assert not any(state.x.requires_grad for state in states)


def test_a_net_of_classes_is_told_its_class_on_each_call():
    told = []

    def net(x, time, label=None):
        told.append(label)
        return x

    x = torch.zeros(2, *SHAPE)
    denoiser(net, label=5)(x, 3, x)
    denoiser(net)(x, 3, x)
    assert told[0].tolist() == [5, 5] and told[0].dtype == torch.int64 and told[1] is None


@pytest.mark.parametrize(
    "changes",
    [{"output": "x0"}, {"output": "res"}, {"inputs": ("x", "y")}, {"time": "sigma"}, {"output": "euler_eps"}],
)
def test_other_nets_are_refused(changes):
    with pytest.raises(ValueError, match="Guidance is for nets that are shown x, told the time, and say eps or v; not"):
        Denoiser(
            **{"net": of_all, "schedule": SCHEDULE, "output": "eps", "inputs": ("x",)} | changes, guide=Guide(classify)
        )


def test_a_degraded_picture_is_refused():
    x = x_at(250)
    with pytest.raises(ValueError, match="Guidance is for priors, whose y is 0"):
        denoiser(of_all, guide=Guide(classify, 1.0, 0))(x, 250, x)
