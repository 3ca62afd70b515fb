"""Fewer pixels: means of blocks, and bicubic sampling. Operators as in ``linear``.

Sides need not be multiples of the factor. Each is seen as ceil(side / factor) pixels: blocks at the right and lower
edge are the means of the pixels that they have, and bicubic samples there see the picture mirrored.

[DDNM] Wang et al., Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, ICLR 2023, on
super-resolution and its singular values.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from restorer.diffusion.linear import check_size, cut, divide, like, mirror

BICUBIC_FACTORS = (2, 4, 8, 16)


@dataclass(frozen=True, eq=False)
class Pool:
    """Weighted sums of blocks of factor x factor pixels: super-resolution by average pooling, also behind a mask.

    ``weights``: (height, width), a pixel's share of its block. No two blocks share a pixel, so the rows of A are
    orthogonal: a singular value is the length of a block's weights, and the null space what blocks do not see.
    y is (N, C, ceil(H / factor), ceil(W / factor)).
    """

    weights: Tensor
    factor: int

    def A(self, x: Tensor) -> Tensor:
        """Block by block the weighted sum."""
        check_size(x, self.weights.shape)
        return self._blocks(x * like(self.weights, x)).sum((-3, -1))

    def At(self, y: Tensor) -> Tensor:
        """Each value to its block, times the weights."""
        height, width = self.weights.shape
        x = y.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)
        return x[..., :height, :width] * like(self.weights, y)

    def pinv(self, y: Tensor) -> Tensor:
        """Each value to its block, so that its weighted sum is the value; a mean is replicated."""
        weights = like(self.weights, y)
        return self.At(divide(y, self._blocks(weights.square()).sum((-3, -1))))

    @property
    def sv(self) -> Tensor:
        """(H, W): the length of a block's weights at its first pixel, 0 at the others."""
        lengths = self._lengths()
        blocks = F.pad(lengths[:, None, :, None], (0, self.factor - 1, 0, 0, 0, self.factor - 1))
        return self._picture(blocks)

    def V(self, c: Tensor) -> Tensor:
        """In each block a reflection that turns its first pixel into its weights."""
        blocks, lengths = self._blocks(like(self.weights, c)), like(self._lengths(), c)
        return self._picture(mirror(self._blocks(c), divide(blocks, lengths[:, None, :, None]), (-3, -1)))

    Vt = V

    def _lengths(self) -> Tensor:
        return self._blocks(self.weights).square().sum((-3, -1)).sqrt()

    def _blocks(self, x: Tensor) -> Tensor:
        """(..., rows, factor, columns, factor), with zeros where the last blocks hang over the edge."""
        s = self.factor
        x = F.pad(x, (0, -x.shape[-1] % s, 0, -x.shape[-2] % s))
        return x.unflatten(-1, (-1, s)).unflatten(-3, (-1, s))

    def _picture(self, blocks: Tensor) -> Tensor:
        height, width = self.weights.shape
        return blocks.flatten(-2).flatten(-3, -2)[..., :height, :width]


def pool(size: tuple[int, int], factor: int, keep: Tensor | None = None) -> Pool:
    """Means of blocks of pictures of (height, width) ``size``; with ``keep`` (height, width), pixels are first masked.

    A mean stays one over all pixels of the block: those that the mask takes out count as 0, as in [DDNM].
    """
    ones = torch.ones(size, dtype=torch.float64)
    counts = Pool(ones, factor)
    weights = counts.At(1 / counts.A(ones))
    return Pool(weights if keep is None else weights * keep.double().cpu(), factor)


@dataclass(frozen=True, eq=False)
class Svd:
    """A small dense matrix (m, n) as u diag(s) vt: u (m, k), s (k,) falling, v (n, n), k the smaller of m and n."""

    u: Tensor
    s: Tensor
    v: Tensor


def svd(matrix: Tensor) -> Svd:
    """The decomposition of a (m, n) matrix, in float64 on the CPU."""
    u, s, vt = torch.linalg.svd(matrix.double().cpu())
    return Svd(u[:, : len(s)], s, vt.mT)


@dataclass(frozen=True, eq=False)
class Separable:
    """Rows and columns each by a dense matrix of their own: y = R x Cᵀ, where R is (m, H) and C is (m', W).

    Its singular values are the products of theirs; those up to ``floor`` of the largest are 0, for A as for pinv.
    The matrix of the whole is never formed.
    """

    rows: Svd
    columns: Svd
    floor: float = 1e-6

    def A(self, x: Tensor) -> Tensor:
        """The pictures' columns by R, their rows by C."""
        check_size(x, (len(self.rows.v), len(self.columns.v)))
        return self._out(self._values(x) * self._head(self.Vt(x)))

    def At(self, y: Tensor) -> Tensor:
        """Back by both transposes."""
        return self._back(self._values(y) * self._into(y))

    def pinv(self, y: Tensor) -> Tensor:
        """Back by both pseudo-inverses."""
        return self._back(divide(self._into(y), self._values(y)))

    @property
    def sv(self) -> Tensor:
        """(H, W), not sorted: the largest at the upper left."""
        return self._whole(cut(torch.outer(self.rows.s, self.columns.s), self.floor))

    def V(self, c: Tensor) -> Tensor:
        """Both matrices' right singular vectors."""
        return like(self.rows.v, c) @ c @ like(self.columns.v, c).mT

    def Vt(self, x: Tensor) -> Tensor:
        """Coordinates along both matrices' right singular vectors."""
        return like(self.rows.v, x).mT @ x @ like(self.columns.v, x)

    def _values(self, x: Tensor) -> Tensor:
        return cut(torch.outer(like(self.rows.s, x), like(self.columns.s, x)), self.floor)

    def _head(self, c: Tensor) -> Tensor:
        return c[..., : len(self.rows.s), : len(self.columns.s)]

    def _whole(self, head: Tensor) -> Tensor:
        right, below = (len(s.v) - len(s.s) for s in (self.columns, self.rows))
        return F.pad(head, (0, right, 0, below))

    def _out(self, c: Tensor) -> Tensor:
        return like(self.rows.u, c) @ c @ like(self.columns.u, c).mT

    def _into(self, y: Tensor) -> Tensor:
        return like(self.rows.u, y).mT @ y @ like(self.columns.u, y)

    def _back(self, head: Tensor) -> Tensor:
        return self.V(self._whole(head))


def bicubic(size: tuple[int, int], factor: int) -> Separable:
    """Bicubic sampling of pictures of (height, width) ``size``, smoothed for the factor 2, 4, 8 or 16, mirrored edges.

    Raises ValueError for another factor.
    """
    if factor not in BICUBIC_FACTORS:
        raise ValueError(f"Bicubic super-resolution is known by 2, 4, 8 and 16, not {factor}.")
    rows, columns = (svd(_samples(side, factor)) for side in size)
    return Separable(rows, columns)


def bicubic_taps(factor: int) -> Tensor:
    """Keys' cubic with a = -0.5, over 4 ``factor`` pixels about the edge of two; float64, their sum is 1."""
    d = ((torch.arange(4 * factor, dtype=torch.float64) - 2 * factor + 0.5) / factor).abs()
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    taps = torch.where(d <= 1, near, far)
    return taps / taps.sum()


def _samples(n: int, factor: int) -> Tensor:
    """The (ceil(n / factor), n) matrix whose row m sees the pixels about the edge at factor (m + 1/2)."""
    starts = torch.arange(0, n, factor) + factor // 2 - 2 * factor
    return banded(starts, bicubic_taps(factor), n)


def banded(starts: Tensor, taps: Tensor, n: int) -> Tensor:
    """A matrix of n columns with ``taps`` in each row from ``starts`` on; what hangs over an edge is mirrored in it."""
    where = mirrored(starts[:, None] + torch.arange(len(taps)), n)
    matrix = torch.zeros(len(starts), n, dtype=torch.float64)
    return matrix.scatter_add_(1, where, taps.expand(len(starts), -1))


def mirrored(index: Tensor, n: int) -> Tensor:
    """Where on n pixels an index lies whose picture goes on mirrored at its edges: -1 is 0, n is n - 1."""
    index = index % (2 * n)
    return torch.minimum(index, 2 * n - 1 - index)
