"""Convolution by Fourier transforms is the direct one."""

import pytest
import torch
import torch.nn.functional as F
from damaging import rng

from restorer.degrade.convolve import blurred, convolve, smooth


def test_convolution_is_the_direct_one_and_does_not_wrap():
    maps = torch.rand(3, 40, 45, generator=rng(0))
    kernels = torch.rand(3, 7, 5, generator=rng(1))
    direct = F.conv2d(maps[None], kernels.flip(1, 2)[None])[0, 0]
    assert torch.allclose(convolve(maps, kernels), direct, atol=1e-4)


@pytest.mark.parametrize(("n", "better"), [(1, 1), (7, 8), (97, 100), (128, 128), (217, 225)])
def test_transform_sizes(n, better):
    assert smooth(n) == better


@pytest.mark.parametrize("edge", ["replicate", "reflect"])
@pytest.mark.parametrize("size", [(3, 5), (7, 1), (13, 13)])
def test_blur_is_the_direct_convolution_of_the_picture_and_its_surroundings(edge, size):
    x, kernel = torch.rand(1, 3, 20, 31, generator=rng(0)), torch.rand(*size, generator=rng(1))
    across, down = size[1] // 2, size[0] // 2
    around = F.pad(x, (across, across, down, down), mode=edge).transpose(0, 1)
    direct = F.conv2d(around, kernel.flip(0, 1)[None, None]).transpose(0, 1)
    assert torch.allclose(blurred(x, kernel, edge), direct, atol=1e-4)


def test_a_picture_too_small_to_be_reflected_is_replicated():
    x, kernel = torch.rand(1, 3, 4, 4, generator=rng(0)), torch.full((9, 9), 1 / 81)
    assert torch.equal(blurred(x, kernel, "reflect"), blurred(x, kernel, "replicate"))
