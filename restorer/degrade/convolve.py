"""Convolution by Fourier transforms: kernels as wide as ours are quicker so."""

import torch
import torch.nn.functional as F
from torch import Tensor


def convolve(maps: Tensor, kernels: Tensor) -> Tensor:
    """Σ_k maps_k * kernels_k, only where no kernel hangs over the edge: nothing wraps around."""
    size = maps.shape[-2:]
    spectrum = (torch.fft.rfft2(maps) * torch.fft.rfft2(kernels, s=size)).sum(0)
    return torch.fft.irfft2(spectrum, s=size)[kernels.shape[-2] - 1 :, kernels.shape[-1] - 1 :]


def padded(height: int, width: int, kernels: Tensor) -> tuple[int, int]:
    """The map that ``convolve`` turns into at least (height, width), of sizes quick to transform."""
    return smooth(height + kernels.shape[-2] - 1), smooth(width + kernels.shape[-1] - 1)


def smooth(n: int) -> int:
    """The smallest number >= n with no prime factor above 5."""
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


def blurred(x: Tensor, kernel: Tensor, edge: str = "replicate") -> Tensor:
    """Each channel of ``x`` (1, C, H, W) convolved with ``kernel`` (odd, odd); beyond its edges x goes on as ``edge``.

    ``edge``: "replicate" or "reflect"; a picture too small to be reflected is replicated.
    """
    height, width = x.shape[-2:]
    down, across = kernel.shape[-2] // 2, kernel.shape[-1] // 2
    mode = edge if down < height and across < width else "replicate"
    x = F.pad(x, (across, across, down, down), mode=mode)
    size = (smooth(x.shape[-2]), smooth(x.shape[-1]))
    spectrum = torch.fft.rfft2(x, s=size) * torch.fft.rfft2(kernel, s=size)
    # What wraps around falls upon the first rows and columns, which are the ones cut off.
    blurry = torch.fft.irfft2(spectrum, s=size)
    return blurry[..., 2 * down : 2 * down + height, 2 * across : 2 * across + width]
