"""Ways of a shaken camera and their kernels."""

import math

import pytest
import torch
from damaging import rng

from restorer.degrade import motion as module
from restorer.degrade.motion import kernel, way


def moments(made):
    """Mean and largest extent of what a kernel holds, in pixels from its middle."""
    side = torch.arange(len(made)) - len(made) // 2
    mean = (made.sum(0) * side).sum(), (made.sum(1) * side).sum()
    held = (made > 1e-4).nonzero()
    return mean, int((held.amax(0) - held.amin(0)).max()) + 1


@pytest.mark.parametrize("length", [1.0, 7.3, 35.0])
def test_a_kernel_shares_out_1_along_its_length(length):
    for seed in range(30):
        draw = rng(seed)
        made = kernel(way(draw), length, draw)
        assert made.shape[0] == made.shape[1] and made.shape[0] % 2 == 1
        assert float(made.min()) >= 0 and float(made.sum()) == pytest.approx(1, abs=1e-5)
        soft = 2 * math.ceil(2 * module.SOFT[1])
        assert length <= moments(made)[1] + 1 and moments(made)[1] <= length + 3 + soft


def test_a_straight_way_is_one_line_of_equal_weights(monkeypatch):
    monkeypatch.setattr(module, "STRAIGHT_CHANCE", 1.0)
    monkeypatch.setattr(module, "UNEVEN_CHANCE", 0.0)
    points = way(rng(1))
    steps = points.diff(dim=0)
    assert torch.allclose(steps, steps[:1].expand_as(steps), atol=1e-5)
    assert float(points.mean(0).abs().max()) < 0.01


def test_arcs_and_shaken_ways_bend(monkeypatch):
    monkeypatch.setattr(module, "STRAIGHT_CHANCE", 0.0)
    for share in (0.0, 1.0):
        monkeypatch.setattr(module, "ARC_CHANCE", share)
        bends = [float(torch.linalg.svdvals(p - p.mean(0))[1]) for p in (way(rng(seed)) for seed in range(10))]
        assert min(bends) > 0.01


def test_a_shaken_way_is_about_its_mean(monkeypatch):
    monkeypatch.setattr(module, "STRAIGHT_CHANCE", 0.0)
    monkeypatch.setattr(module, "ARC_CHANCE", 0.0)
    monkeypatch.setattr(module, "UNEVEN_CHANCE", 0.0)
    for seed in range(10):
        draw = rng(seed)
        across, down = moments(kernel(way(draw), 30.0, draw))[0]
        assert abs(float(across)) < 0.01 and abs(float(down)) < 0.01


def test_points_between_pixels_share_their_weight():
    made = module._splat(torch.tensor([[1.25, 2.5]]), 5)
    assert made[2:4, 1:3].tolist() == [[0.375, 0.125], [0.375, 0.125]]
    assert float(made.sum()) == 1
