"""Blur: convolution with a kernel. Operators as in ``linear``.

At the edges the picture goes on mirrored ("reflect": d c b a | a b c d | d c b a) or around ("circular"). Which closed
form there is follows from kernel and edges:

    reflect     the same when flipped in each axis     DCT                  CosineBlur
    reflect     column times row                       an SVD for each      Separable
    reflect     any other                              none                 MirroredBlur, pinv by conjugate gradients
    circular    any                                    Hartley              CircularBlur

Singular values up to ``floor`` of the largest are 0, for A as for pinv and sv: A differs from the blur by no more than
that, and pinv makes what is wrong in y at most 1 / floor as large. Rounding to 8 bits is wrong by 0.0011 of the range
(RMS), which the default floor lets grow to 0.04.

[DDNM] Wang et al., Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, ICLR 2023, on deblurring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from restorer.diffusion.linear import (
    ITERATIONS,
    LinearOperator,
    check_size,
    cut,
    dct2,
    divide,
    hartley2,
    idct2,
    least_squares,
    like,
)
from restorer.diffusion.resample import Separable, banded, mirrored, svd

FLOOR = 0.03
BOUNDARIES = ("reflect", "circular")
LARGEST = 2047
"""Taps of a kernel that is made from a formula; so that a typing error does not ask for all memory."""


@dataclass(frozen=True, eq=False)
class CosineBlur:
    """Blur by a kernel that is the same when flipped in either axis, with mirrored edges: diagonal in the DCT.

    ``response``: (height, width), what is left of each cosine; may be below 0, where the kernel turns its sign.
    """

    response: Tensor

    def A(self, x: Tensor) -> Tensor:
        """The blurred pictures."""
        check_size(x, self.response.shape)
        return idct2(like(self.response, x) * dct2(x))

    At = A

    def pinv(self, y: Tensor) -> Tensor:
        """The sharp pictures, as far as y tells."""
        response = like(self.response, y)
        return idct2(divide(dct2(y), response.abs()) * response.sign())

    @property
    def sv(self) -> Tensor:
        """(H, W): the size of the response."""
        return self.response.abs()

    def V(self, c: Tensor) -> Tensor:
        """From cosines to pictures."""
        return idct2(c)

    def Vt(self, x: Tensor) -> Tensor:
        """From pictures to cosines."""
        return dct2(x)


@dataclass(frozen=True, eq=False)
class CircularBlur:
    """Blur by any kernel, around the edges: diagonal in Fourier's basis, which is complex.

    A real V is Hartley's, cos + sin: At A multiplies both frequencies u and -u by |response|², and the Hartley basis
    mixes no others. ``response``: (height, width), complex, the kernel's Fourier transform.
    """

    response: Tensor

    def A(self, x: Tensor) -> Tensor:
        """The blurred pictures."""
        check_size(x, self.response.shape)
        return _filter(x, like(self.response, x))

    def At(self, y: Tensor) -> Tensor:
        """Blur by the kernel turned by 180 degrees."""
        return _filter(y, like(self.response, y).conj())

    def pinv(self, y: Tensor) -> Tensor:
        """The sharp pictures, as far as y tells."""
        response = like(self.response, y)
        return _filter(y, divide(response.conj(), response.abs().square()))

    @property
    def sv(self) -> Tensor:
        """(H, W): the size of the response."""
        return self.response.abs()

    def V(self, c: Tensor) -> Tensor:
        """Hartley's transform, its own inverse."""
        return hartley2(c)

    Vt = V


def _filter(x: Tensor, response: Tensor) -> Tensor:
    half = x.shape[-1] // 2 + 1
    return torch.fft.irfft2(torch.fft.rfft2(x) * response[..., :half], s=x.shape[-2:])


@dataclass(frozen=True, eq=False)
class MirroredBlur:
    """Blur by any kernel, with mirrored edges. No singular values; ``pinv`` by conjugate gradients.

    ``kernel``: (2 p + 1, 2 q + 1). ``iterations`` bounds the work of ``pinv``, and what it makes of errors in y: the
    more a blur takes out, the later it comes back.
    """

    size: tuple[int, int]
    kernel: Tensor
    iterations: int = ITERATIONS

    def A(self, x: Tensor) -> Tensor:
        """The blurred pictures."""
        check_size(x, self.size)
        rows, columns = (where.to(x.device) for where in self._where())
        wide = _filter(x.index_select(-2, rows).index_select(-1, columns), self._response(x))
        return wide[..., : self.size[0], : self.size[1]]

    def At(self, y: Tensor) -> Tensor:
        """Blur by the kernel turned by 180 degrees, with what falls over an edge folded back."""
        rows, columns = (where.to(y.device) for where in self._where())
        wide = y.new_zeros(*y.shape[:-2], len(rows), len(columns))
        wide[..., : self.size[0], : self.size[1]] = y
        wide = _filter(wide, self._response(y).conj())
        tall = y.new_zeros(*y.shape[:-2], len(rows), self.size[1]).index_add(-1, columns, wide)
        return torch.zeros_like(y).index_add(-2, rows, tall)

    def pinv(self, y: Tensor) -> Tensor:
        """The sharp pictures, as far as y tells and ``iterations`` reach."""
        return least_squares(self.A, self.At, y, iterations=self.iterations)

    def _where(self) -> list[Tensor]:
        """For each axis the pixels of a canvas that is wider by the kernel, so that a filter on it needs no edges."""
        return [
            mirrored(torch.arange(-(k // 2), n + k // 2), n) for n, k in zip(self.size, self.kernel.shape, strict=True)
        ]

    def _response(self, x: Tensor) -> Tensor:
        """The canvas starts half a kernel before the picture, so the kernel's last tap is where a pixel is seen."""
        wide = [n + 2 * (k // 2) for n, k in zip(self.size, self.kernel.shape, strict=True)]
        down, right = ((-2 * (k // 2)) for k in self.kernel.shape)
        canvas = x.new_zeros(*wide)
        canvas[: self.kernel.shape[0], : self.kernel.shape[1]] = like(self.kernel, x)
        return torch.fft.fft2(canvas.roll((down, right), (0, 1)))


# ------------------------------------------------------------------------------------------------ which of them


def blur(
    size: tuple[int, int],
    kernel: Tensor,
    *,
    boundary: str = "reflect",
    floor: float = FLOOR,
    iterations: int = ITERATIONS,
) -> LinearOperator:
    """Convolution of pictures of (height, width) ``size`` with a 2-D ``kernel``, centred at (rows // 2, columns // 2).

    The kernel is divided by its sum, and may be larger than the picture. ``floor``: from 0 to 1, see above;
    ``iterations``: of a blur without closed form. Raises ValueError for a kernel that is none, an unknown boundary, and
    a floor outside its range.
    """
    kernel = _checked(kernel)
    if not 0 <= floor < 1:
        raise ValueError(f"floor must be at least 0 and below 1, not {floor:g}.")
    floor = max(floor, 1e-6)  # what is 0 may come out of a transform as 1e-17
    if boundary == "circular":
        return CircularBlur(_circular_response(size, kernel, floor))
    if boundary != "reflect":
        raise ValueError(f"Unknown boundary {boundary!r}; known: {', '.join(BOUNDARIES)}.")
    if _same(kernel, kernel.flip(0)) and _same(kernel, kernel.flip(1)):
        down, across = (_cosines(n, k) for n, k in zip(size, kernel.shape, strict=True))
        response = down @ kernel @ across.mT
        return CosineBlur(response.sign() * cut(response.abs(), floor))
    u, s, vt = torch.linalg.svd(kernel)
    column, row = u[:, 0], vt[0] * s[0]
    if _same(kernel, torch.outer(column, row)):
        rows, columns = (svd(_convolution(n, taps)) for n, taps in zip(size, (column, row), strict=True))
        return Separable(rows, columns, floor)
    return MirroredBlur(size, kernel, iterations)


def _checked(kernel: Tensor) -> Tensor:
    if kernel.ndim != 2 or not kernel.numel() or not kernel.isfinite().all() or not kernel.sum() > 0:
        shape = " x ".join(map(str, kernel.shape))
        raise ValueError(f"A blur kernel is a table of finite numbers whose sum is above 0; this one is {shape}.")
    kernel = kernel.double().cpu()
    # An even side gets a last tap of 0, so that its centre is in the middle.
    kernel = torch.nn.functional.pad(kernel, (0, 1 - kernel.shape[1] % 2, 0, 1 - kernel.shape[0] % 2))
    return kernel / kernel.sum()


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal to what float32 files keep."""
    return bool((a - b).abs().max() <= 1e-6 * a.abs().max())


def _cosines(n: int, k: int) -> Tensor:
    """(n, k): how much of the n-th cosine a tap brings, at its distance from the kernel's centre."""
    return torch.cos(torch.outer(torch.arange(n, dtype=torch.float64), torch.arange(k) - k // 2) * (math.pi / n))


def _convolution(n: int, taps: Tensor) -> Tensor:
    """The (n, n) matrix of a convolution with mirrored edges."""
    return banded(torch.arange(n) - len(taps) // 2, taps.flip(0), n)


def _circular_response(size: tuple[int, int], kernel: Tensor, floor: float) -> Tensor:
    rows, columns = ((torch.arange(k) - k // 2) % n for n, k in zip(size, kernel.shape, strict=True))
    canvas = torch.zeros(size, dtype=torch.float64)
    canvas.index_put_((rows[:, None], columns[None, :]), kernel, accumulate=True)
    response = torch.fft.fft2(canvas)
    return response.where(response.abs() > floor * response.abs().max(), 0)


# ------------------------------------------------------------------------------------------------ kernels


def gauss_taps(sigma: float, count: int | None = None) -> Tensor:
    """A bell of standard deviation ``sigma`` pixels, sampled at ``count`` (odd) pixels; None: up to 3 sigma away."""
    if not 0 < sigma <= LARGEST:
        raise ValueError(f"sigma must be above 0 and at most {LARGEST} pixels, not {sigma:g}.")
    count = 2 * math.ceil(3 * sigma) + 1 if count is None else count
    _check_count(count)
    d = torch.arange(count, dtype=torch.float64) - count // 2
    taps = torch.exp(-0.5 * (d / sigma) ** 2)
    return taps / taps.sum()


def uniform_taps(count: int) -> Tensor:
    """``count`` (odd) equal taps."""
    _check_count(count)
    return torch.full((count,), 1 / count, dtype=torch.float64)


def motion_kernel(length: float, angle: float) -> Tensor:
    """A straight line of ``length`` pixels and one pixel wide, turned by ``angle`` degrees from the horizontal.

    Positive angles turn it anticlockwise. Pixels that the line covers in part count in part.
    """
    if not 1 <= length <= LARGEST:
        raise ValueError(f"A motion is from 1 to {LARGEST} pixels long, not {length:g}.")
    if not math.isfinite(angle):
        raise ValueError(f"An angle is a number of degrees, not {angle:g}.")
    reach = math.ceil(length / 2)
    d = torch.arange(-reach, reach + 1, dtype=torch.float64)
    down, right = d[:, None], d[None, :]
    turn = math.radians(angle)
    along = right * math.cos(turn) - down * math.sin(turn)
    beside = right * math.sin(turn) + down * math.cos(turn)
    kernel = (length / 2 + 0.5 - along.abs()).clamp(0, 1) * (1 - beside.abs()).clamp(min=0)
    return kernel / kernel.sum()


def _check_count(count: int) -> None:
    if not 1 <= count <= LARGEST or count % 2 == 0:
        raise ValueError(f"A blur has an odd number of taps, 1, 3, 5 ... {LARGEST}, not {count}.")
