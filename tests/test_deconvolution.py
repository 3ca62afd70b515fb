"""Blur found from the picture alone, and divided out; and models whose net is shown what comes of it."""

import math
from functools import cache
from pathlib import Path

import pytest
import torch
from toy import toy_model, toy_net

from restorer.deconvolution import MADE, SIDES, blur_kernel, deconvolved, divided, halfway
from restorer.degrade.convolve import blurred
from restorer.degrade.motion import kernel
from restorer.degrade.srgb import to_linear, to_srgb
from restorer.diffusion.predict import DECONVOLVED
from restorer.errors import ModelError
from restorer.images import read
from restorer.metrics import psnr
from restorer.restore import Restorer
from restorer.settings import Settings
from restorer.tiling import Tiling

EXAMPLES = Path(__file__).parent.parent / "examples"
INPUT = ["x", "y", *DECONVOLVED]


def line(angle, length, side=400):
    """The kernel of a camera that moves straight."""
    t = torch.linspace(-0.5, 0.5, side)
    return kernel(torch.stack([t * math.cos(angle), t * math.sin(angle)], 1), length, never())


def arc(turn, length, side=400):
    """The kernel of a way along a part of a circle; 0 is halfway."""
    t = torch.linspace(-0.5, 0.5, side)
    points = torch.stack([(turn * t).cos(), (turn * t).sin()], 1).cumsum(0)
    points -= points[side // 2].clone()
    return kernel(points / (points.amax(0) - points.amin(0)).max(), length, never())


def never():
    """A generator whose first number says that the lens is sharp."""
    for seed in range(100):
        rng = torch.Generator().manual_seed(seed)
        if float(torch.rand((), generator=rng)) > 0.5:
            return torch.Generator().manual_seed(seed)
    raise AssertionError


@cache
def photograph():
    return read(EXAMPLES / "colosseum.jpg").pixels


def eight_bits(y):
    return (y.clamp(0, 1) * 255).round() / 255


def likeness(a, b):
    """Of two kernels, 1 for the same."""
    side = max(len(a), len(b))
    a, b = (torch.nn.functional.pad(k, [(side - len(k)) // 2] * 4) for k in (a, b))
    return float((a * b).sum() / (a.norm() * b.norm()))


@pytest.mark.parametrize("true", [line(0.4, 9), arc(1.0, 12)], ids=["line", "arc"])
def test_a_known_blur_is_divided_out(true):
    y = blurred(photograph(), true)
    assert psnr(divided(y, true, rough=1e-4), photograph()) > psnr(y, photograph()) + 5


def test_a_point_divided_out_leaves_the_picture():
    point = torch.ones(1, 1)
    assert psnr(divided(photograph(), point, rough=0), photograph()) > 60


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2, 2.5])
def test_halfway_along_a_line(angle):
    true = line(angle, 11)
    off = true.roll((2, -1), (0, 1))
    assert likeness(halfway(off), true) > 0.97
    assert float(halfway(off).sum()) == pytest.approx(1)


def test_halfway_along_a_curve_is_on_it():
    """The mean of a curve lies beside it."""
    true = arc(1.6, 16)
    made = halfway(true.roll((3, 2), (0, 1)))
    middle = len(made) // 2
    assert float(made[middle - 1 : middle + 2, middle - 1 : middle + 2].sum()) > 0.1
    assert likeness(made, true) > 0.9


@pytest.mark.parametrize("true", [line(0.4, 9), line(2.2, 15), arc(1.2, 13)], ids=["short", "long", "arc"])
def test_the_blur_of_a_photograph_is_found(true):
    """Not so that what comes of it is always better: that is for a net to say."""
    y = eight_bits(blurred(photograph(), true))
    found = max((blur_kernel(y, side) for side in SIDES), key=lambda kernel: likeness(kernel, true))
    assert likeness(found, true) > 0.8
    assert psnr(divided(y, found), photograph()) > psnr(y, photograph())


@pytest.mark.parametrize("true", [line(0.4, 9), arc(1.2, 13), arc(1.6, 9)], ids=["line", "arc", "short arc"])
def test_what_was_blurred_is_divided_best_as_it_was(true):
    """sRGB values or linear light."""
    x = photograph()
    of_values, of_light = (eight_bits(y) for y in (blurred(x, true), to_srgb(blurred(to_linear(x), true))))
    for y, right, wrong in ((of_values, 0, 1), (of_light, 1, 0)):
        gains = torch.tensor([psnr(part, x) - psnr(y, x) for part in deconvolved(y).split(3, dim=1)])
        best = gains.view(2, len(SIDES)).amax(dim=1)
        assert best[right] > max(best[wrong], 0.0) + 1


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (17, 5), (40, 40)])
def test_any_size_and_flat_pictures(size):
    flat = torch.full((1, 3, *size), 0.5)
    torch.testing.assert_close(deconvolved(flat), flat.repeat(1, MADE // 3, 1, 1), atol=1e-4, rtol=0)
    drawn = torch.rand((1, 3, *size), generator=torch.Generator().manual_seed(0))
    made = deconvolved(drawn)
    assert made.shape == (1, MADE, *size)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


def test_kernels_hold_what_they_say():
    found = blur_kernel(eight_bits(blurred(photograph(), line(1.0, 9))))
    assert len(found) == SIDES[-1] + 4  # moved by parts of a pixel
    assert float(found.min()) >= 0
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)


def test_pictures_are_looked_at_one_by_one():
    two = torch.cat([photograph()[..., :96, :96], blurred(photograph(), line(0.0, 9))[..., :96, :96]])
    alone = torch.cat([deconvolved(one[None]) for one in two])
    assert torch.equal(deconvolved(two), alone)


def model(folder, **changes):
    card = {"prepare": "deconvolve", "predict": {"input": INPUT}, **changes}
    return toy_model(folder, net={"in_channels": 6 + MADE}, state=toy_net(in_channels=6 + MADE).state_dict(), **card)


def test_the_net_is_shown_it_beside_the_picture(tmp_path):
    restorer = Restorer.from_pretrained(str(model(tmp_path)), dtype="fp32")
    y = eight_bits(blurred(photograph()[..., :64, :72], line(0.3, 7)))
    seen = []
    restorer.denoiser.net.register_forward_pre_hook(lambda net, given: seen.append(given[0]))
    restorer.restore(y, Settings(1, None, 0))
    torch.testing.assert_close(seen[0][:, 6:], deconvolved(y))
    torch.testing.assert_close(seen[0][:, 3:6], 2 * y - 1)


def test_windows_see_their_part_of_the_whole(tmp_path):
    restorer = Restorer.from_pretrained(str(model(tmp_path)), dtype="fp32")
    y = eight_bits(blurred(photograph()[..., :128, :128], line(0.3, 7)))
    whole, windows = (restorer.restore(y, restorer_settings(side)) for side in (0, 64))
    torch.testing.assert_close(windows, whole, atol=5e-2, rtol=0)
    seen = []
    restorer.denoiser.net.register_forward_pre_hook(lambda net, given: seen.append(given[0]))
    restorer.restore(y, restorer_settings(64))
    part = seen[0][:1, 6:]
    torch.testing.assert_close(part, deconvolved(y)[..., : part.shape[-2], : part.shape[-1]])


def test_each_name_is_its_part(tmp_path):
    net = toy_net(in_channels=9)
    card = {"prepare": "deconvolve", "predict": {"input": ["x", "deconvolved-light-wide", "deconvolved-wide"]}}
    folder = toy_model(tmp_path, net={"in_channels": 9}, state=net.state_dict(), **card)
    restorer = Restorer.from_pretrained(str(folder), dtype="fp32")
    y = eight_bits(blurred(photograph()[..., :64, :72], line(0.3, 7)))
    seen = []
    restorer.denoiser.net.register_forward_pre_hook(lambda net, given: seen.append(given[0]))
    restorer.restore(y, Settings(1, None, 0))
    _, wide, _, light_wide = deconvolved(y).split(3, dim=1)
    torch.testing.assert_close(seen[0][:, 3:], torch.cat([light_wide, wide], dim=1))


def restorer_settings(side):
    return Settings(1, None, 0, tiling=Tiling(side=side))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prepare": None}, "give both"),
        ({"prepare": "deconvolve:3"}, "takes no number"),
        ({"predict": {"input": ["x", "y", "mask"]}}, "give both"),
        ({"predict": {"input": ["x", "deconvolved", "mask"]}}, "not both"),
    ],
)
def test_cards_that_disagree_are_told_of(tmp_path, changes, said):
    with pytest.raises(ModelError, match=said):
        Restorer.from_pretrained(str(model(tmp_path, **changes)))
