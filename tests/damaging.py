"""Small pictures, generators and scores for the tests of degradations."""

import math

import torch
import torch.nn.functional as F

from restorer.degrade import degrade


def rng(seed):
    return torch.Generator().manual_seed(seed)


def picture(height=64, width=64):
    """Something smooth with all greys, (1, 3, height, width)."""
    coarse = torch.rand(1, 3, 5, 5, generator=rng(0))
    return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)


def mean_psnr(x, recipe, strength, seeds):
    """PSNR of the mean squared error over seeds: one crop that happens to stay dry does not make it infinite."""
    copies = torch.cat([degrade(x, recipe, strength=strength, rng=rng(seed)) for seed in range(seeds)])
    return -10 * math.log10(float((copies - x).square().mean()))
