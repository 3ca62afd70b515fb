"""Convolution by Fourier transforms is the direct one."""

import pytest
import torch
import torch.nn.functional as F
from damaging import rng

from restorer.degrade.convolve import convolve, smooth


def test_convolution_is_the_direct_one_and_does_not_wrap():
    maps = torch.rand(3, 40, 45, generator=rng(0))
    kernels = torch.rand(3, 7, 5, generator=rng(1))
    direct = F.conv2d(maps[None], kernels.flip(1, 2)[None])[0, 0]
    assert torch.allclose(convolve(maps, kernels), direct, atol=1e-4)


@pytest.mark.parametrize(("n", "better"), [(1, 1), (7, 8), (97, 100), (128, 128), (217, 225)])
def test_transform_sizes(n, better):
    assert smooth(n) == better
