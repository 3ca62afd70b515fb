"""What linear operators share: what they must do, orthogonal transforms, and least squares without a matrix.

Pictures are (N, C, H, W), float32 or float64, on any device. A table of an operator is moved to its pictures in each
call; ``to`` moves all of them once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Protocol, TypeVar, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor


class LinearOperator(Protocol):
    """y = A(x). ``At`` is the transpose of ``A`` and ``pinv`` its Moore-Penrose pseudo-inverse, both from y to x."""

    def A(self, x: Tensor) -> Tensor:
        """What is seen of the pictures x."""

    def At(self, y: Tensor) -> Tensor:
        """The transpose: <A x, y> = <x, At y>."""

    def pinv(self, y: Tensor) -> Tensor:
        """Of all x that explain y best, the smallest."""


@runtime_checkable
class SpectralOperator(LinearOperator, Protocol):
    """A linear operator A = U diag(sv) Vt whose V is known: orthogonal and real, from coordinates to pictures.

    ``isinstance(operator, SpectralOperator)`` says whether an operator has one.
    """

    @property
    def sv(self) -> Tensor:
        """A singular value for each coordinate of Vt(x), which it broadcasts with; 0 on the null space."""

    def V(self, c: Tensor) -> Tensor:
        """The pictures with coordinates ``c``."""

    def Vt(self, x: Tensor) -> Tensor:
        """The coordinates of pictures, of their shape: the transpose and the inverse of V."""


Record = TypeVar("Record")


def to(operator: Record, x: Tensor) -> Record:
    """The same operator with its tables on the device of ``x`` and in its precision."""

    def move(value: object) -> object:
        if isinstance(value, Tensor):
            return like(value, x)
        if isinstance(value, tuple):
            return tuple(move(item) for item in value)
        return to(value, x) if is_dataclass(value) else value

    return replace(operator, **{field.name: move(getattr(operator, field.name)) for field in fields(operator)})


def like(table: Tensor, x: Tensor) -> Tensor:
    """A table on the device of ``x``; in its precision too, unless it holds whole numbers."""
    if table.is_complex():
        return table.to(x.device, x.dtype.to_complex())
    return table.to(x.device, x.dtype if table.is_floating_point() else table.dtype)


def check_size(x: Tensor, size: tuple[int, int]) -> None:
    """Raises ValueError for pictures that are not of the operator's (height, width)."""
    if tuple(x.shape[-2:]) != tuple(size):
        raise ValueError(f"The operator is for pictures of {size[0]} x {size[1]}, not {x.shape[-2]} x {x.shape[-1]}.")


def divide(c: Tensor, sv: Tensor) -> Tensor:
    """c / sv, and 0 where sv is 0."""
    return torch.where(sv > 0, c / sv.where(sv > 0, 1), 0)


def cut(sv: Tensor, floor: float) -> Tensor:
    """Singular values with those up to ``floor`` of the largest set to 0."""
    return sv.where(sv > floor * sv.max(), 0)


# ------------------------------------------------------------------------------------------------ orthogonal transforms


def mirror(x: Tensor, q: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Householder's reflection that turns the first coordinate's axis into ±q; its own transpose and inverse.

    ``q``: along ``dims`` a vector of length 1, or of length 0, for which only the first coordinate changes its sign.
    The sign is the one without cancellation.
    """
    along = {dim % q.ndim for dim in dims}
    first = tuple(slice(0, 1) if dim in along else slice(None) for dim in range(q.ndim))
    u = q.clone()
    u[first] += torch.where(q[first] < 0, -1.0, 1.0)
    return x - u * ((u * x).sum(dims, keepdim=True) * (2 / u.square().sum(dims, keepdim=True)))


def dct(x: Tensor) -> Tensor:
    """Orthonormal DCT-II of the last axis, by one FFT of its length (Makhoul 1980)."""
    n = x.shape[-1]
    folded = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1)
    return (torch.fft.fft(folded) * _turn(n, x)).real * _dct_scale(n, x)


def idct(c: Tensor) -> Tensor:
    """The inverse of ``dct``, which is its transpose."""
    n = c.shape[-1]
    c = c / _dct_scale(n, c)
    back = F.pad(c.flip(-1)[..., :-1], (1, 0))  # c[n - k], and 0 for k = 0
    folded = torch.fft.ifft(torch.complex(c, -back) * _turn(n, c).conj()).real
    x = torch.empty_like(folded)
    x[..., ::2], x[..., 1::2] = folded[..., : (n + 1) // 2], folded[..., (n + 1) // 2 :].flip(-1)
    return x


def _turn(n: int, x: Tensor) -> Tensor:
    angle = torch.arange(n, dtype=torch.float64) * (-math.pi / (2 * n))
    return like(torch.polar(torch.ones_like(angle), angle), x)


def _dct_scale(n: int, x: Tensor) -> Tensor:
    scale = torch.full((n,), math.sqrt(2 / n), dtype=torch.float64)
    scale[0] = math.sqrt(1 / n)
    return like(scale, x)


def dct2(x: Tensor) -> Tensor:
    """``dct`` of the last two axes."""
    return dct(dct(x).mT).mT


def idct2(c: Tensor) -> Tensor:
    """The inverse of ``dct2``."""
    return idct(idct(c.mT).mT)


def hartley2(x: Tensor) -> Tensor:
    """Orthonormal Hartley transform of the last two axes: cos + sin of both frequencies; its own inverse."""
    spectrum = torch.fft.fft2(x, norm="ortho")
    return spectrum.real - spectrum.imag


def hadamard(x: Tensor) -> Tensor:
    """Orthonormal Walsh-Hadamard transform of the last axis, in natural order; its own inverse.

    Of a length 2^a m with m odd, each m-th coordinate is transformed on its own.
    """
    lead, n = x.shape[:-1], x.shape[-1]
    count = n & -n
    step = 1
    while step < count:
        even, odd = x.reshape(*lead, count // (2 * step), 2, step * (n // count)).unbind(-2)
        x = torch.stack([even + odd, even - odd], -2)
        step *= 2
    return x.reshape(*lead, n) / math.sqrt(count)


# ------------------------------------------------------------------------------------------------ least squares

Linear = Callable[[Tensor], Tensor]

ITERATIONS = 50
"""Bounds a pseudo-inverse's work. Of a blur with 8-bit rounding on y, more begin to show the rounding."""


def least_squares(A: Linear, At: Linear, y: Tensor, *, iterations: int = ITERATIONS) -> Tensor:
    """The smallest x of all that minimise |A x - y|, so the pseudo-inverse of y, by conjugate gradients (CGLS).

    Starts at 0, so that x stays in the range of At. Stops a picture when At (y - A x) has fallen to 1e-12 of At y
    (float32: 1e-5), each on its own, so that a batch changes nothing. Directions whose singular value is far below the
    others come last, and with few ``iterations`` not at all. [Hestenes & Stiefel 1952; Björck 1979]
    """
    tolerance = 1e-12 if y.dtype == torch.float64 else 1e-5
    rest, step = y, At(y)
    x, gradient = torch.zeros_like(step), step
    energy = _energy(gradient)
    enough = energy * tolerance**2
    for _ in range(iterations):
        if not (energy > enough).any():
            break
        seen = A(step)
        share = torch.where(energy > enough, divide(energy, _energy(seen)), 0)
        x = x + _each(share, x) * step
        rest = rest - _each(share, rest) * seen
        gradient = At(rest)
        energy, before = torch.where(energy > enough, _energy(gradient), energy), energy
        step = gradient + _each(divide(energy, before), step) * step
    return x


def _energy(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1)


def _each(value: Tensor, x: Tensor) -> Tensor:
    """A number a picture, to multiply pictures or measurements with."""
    return value.view(-1, *[1] * (x.ndim - 1))
