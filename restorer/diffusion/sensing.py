"""Compressed sensing: a few random measurements of each channel, with orthonormal rows. Operators as in ``linear``.

What is measured comes from a seed, drawn on the CPU: the same on every machine with the same torch.

[DDNM] Wang et al., Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, ICLR 2023, on compressed
sensing; the fields ``kept`` and ``bases`` take the draws of any other program.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from restorer.diffusion.linear import check_size, dct, hadamard, idct, like

BLOCK = 32


@dataclass(frozen=True, eq=False)
class WalshHadamard:
    """Some coefficients of each channel's Walsh-Hadamard transform; all singular values are 1.

    ``size``: (height, width); ``kept``: (M,) which of the height x width coefficients, natural order, row by row.
    A side 2^a m, m odd, is transformed by Hadamard's matrix of 2^a and the DCT of m, so that any size has an
    orthogonal transform; with both sides powers of 2 it is the Walsh-Hadamard transform of the flattened channel.
    y is (N, C, M).
    """

    size: tuple[int, int]
    kept: Tensor

    def A(self, x: Tensor) -> Tensor:
        """The coefficients that are kept."""
        check_size(x, self.size)
        return self.Vt(x).flatten(-2)[..., like(self.kept, x)]

    def At(self, y: Tensor) -> Tensor:
        """The pictures with these coefficients and 0 for the others."""
        c = y.new_zeros(*y.shape[:-1], self.size[0] * self.size[1])
        c[..., like(self.kept, y)] = y
        return self.V(c.unflatten(-1, self.size))

    pinv = At

    @property
    def sv(self) -> Tensor:
        """(H, W): 1 where a coefficient is kept."""
        sv = torch.zeros(self.size[0] * self.size[1], dtype=torch.float64, device=self.kept.device)
        sv[self.kept] = 1
        return sv.view(self.size)

    def V(self, c: Tensor) -> Tensor:
        """From coefficients to pictures."""
        return _inverse(_inverse(c.mT).mT)

    def Vt(self, x: Tensor) -> Tensor:
        """From pictures to coefficients."""
        return _forward(_forward(x.mT).mT)


def walsh_hadamard(size: tuple[int, int], ratio: float, seed: int = 0) -> WalshHadamard:
    """A share ``ratio`` of all coefficients: each channel's mean, and others at random.

    [DDNM] leaves the mean to chance too; without it a picture's brightness is lost. Raises ValueError for a ratio
    outside 0 to 1.
    """
    check_ratio(ratio)
    n = size[0] * size[1]
    order = 1 + torch.randperm(n - 1, generator=torch.Generator().manual_seed(seed))
    kept = torch.cat([torch.zeros(1, dtype=torch.long), order])[: max(1, int(n * ratio))]
    return WalshHadamard(size, kept)


def _forward(x: Tensor) -> Tensor:
    x = hadamard(x)
    odd = _odd(x.shape[-1])
    return dct(x.unflatten(-1, (-1, odd))).flatten(-2) if odd > 1 else x


def _inverse(c: Tensor) -> Tensor:
    odd = _odd(c.shape[-1])
    return hadamard(idct(c.unflatten(-1, (-1, odd))).flatten(-2) if odd > 1 else c)


def _odd(n: int) -> int:
    return n // (n & -n)


@dataclass(frozen=True, eq=False)
class BlockSensing:
    """Random projections of blocks of 32 x 32 pixels of each channel; all singular values are 1.

    ``size``: (height, width). Blocks at the right and lower edge are as large as they can be, and measured by as large
    a share. ``bases``: orthogonal matrices (k, k) for blocks of k pixels, in the order of ``regions``; the first
    int(k ratio) rows of each measure, but one at least. y is (N, C, M): region by region, block by block, row by row.
    """

    size: tuple[int, int]
    ratio: float
    bases: tuple[Tensor, ...]

    def A(self, x: Tensor) -> Tensor:
        """The blocks' measurements."""
        check_size(x, self.size)
        c = self.Vt(x)
        return torch.cat([_cut(c, region)[..., : self._rows(region)].flatten(-2) for region in regions(self.size)], -1)

    def At(self, y: Tensor) -> Tensor:
        """The pictures with these measurements and nothing else."""
        c = y.new_zeros(*y.shape[:-1], *self.size)
        start = 0
        for region in regions(self.size):
            blocks, rows = _cut(c, region), self._rows(region)
            count = blocks.shape[-2] * rows
            blocks[..., :rows] = y[..., start : start + count].unflatten(-1, (-1, rows))
            _put(c, region, blocks)
            start += count
        return self.V(c)

    pinv = At

    @property
    def sv(self) -> Tensor:
        """(H, W): 1 where a coordinate, laid into its block row by row, is measured."""
        sv = torch.zeros(self.size, dtype=self.bases[0].dtype, device=self.bases[0].device)
        for region in regions(self.size):
            blocks = _cut(sv, region)
            blocks[..., : self._rows(region)] = 1
            _put(sv, region, blocks)
        return sv

    def V(self, c: Tensor) -> Tensor:
        """From coordinates to blocks."""
        return self._each(c, transposed=False)

    def Vt(self, x: Tensor) -> Tensor:
        """From blocks to coordinates."""
        return self._each(x, transposed=True)

    def _each(self, x: Tensor, *, transposed: bool) -> Tensor:
        out = torch.empty_like(x)
        for region, basis in zip(regions(self.size), self.bases, strict=True):
            basis = like(basis, x)
            _put(out, region, _cut(x, region) @ (basis.mT if transposed else basis))
        return out

    def _rows(self, region: Region) -> int:
        return max(1, int(region[2] * region[3] * self.ratio))


Region = tuple[slice, slice, int, int]
"""Rows and columns of a picture that hold blocks of one height and width."""


def regions(size: tuple[int, int]) -> list[Region]:
    """The up to four parts of a picture with blocks of equal size: whole ones, and those at the edges."""
    sides = []
    for side in size:
        whole = side // BLOCK * BLOCK
        parts = [(slice(0, whole), BLOCK), (slice(whole, side), side - whole)]
        sides.append([(part, block) for part, block in parts if part.start < part.stop])
    return [(rows, columns, h, w) for (rows, h), (columns, w) in product(*sides)]


def block_sensing(size: tuple[int, int], ratio: float, seed: int = 0) -> BlockSensing:
    """A share ``ratio`` of random projections of each block. Raises ValueError for a ratio outside 0 to 1."""
    check_ratio(ratio)
    rng = torch.Generator().manual_seed(seed)
    bases = (_orthogonal(h * w, rng) for _, _, h, w in regions(size))
    return BlockSensing(size, ratio, tuple(bases))


def check_ratio(ratio: float) -> None:
    """Raises ValueError unless 0 < ratio <= 1."""
    if not 0 < ratio <= 1:
        raise ValueError(f"The share of measurements must be above 0 and at most 1, not {ratio:g}.")


def _orthogonal(k: int, rng: torch.Generator) -> Tensor:
    """A random orthogonal (k, k) matrix, all equally likely."""
    q, r = torch.linalg.qr(torch.randn(k, k, generator=rng, dtype=torch.float64))
    return (q * r.diagonal().sign()).mT


def _cut(x: Tensor, region: Region) -> Tensor:
    """The region's blocks as (..., blocks, pixels), a copy."""
    rows, columns, h, w = region
    blocks = x[..., rows, columns].unflatten(-1, (-1, w)).unflatten(-3, (-1, h))
    return blocks.movedim(-3, -2).flatten(-4, -3).flatten(-2).clone()


def _put(x: Tensor, region: Region, blocks: Tensor) -> None:
    """Write blocks of ``_cut`` back into x."""
    rows, columns, h, w = region
    across = (columns.stop - columns.start) // w
    tiles = blocks.unflatten(-1, (h, w)).unflatten(-3, (-1, across)).movedim(-3, -2)
    x[..., rows, columns] = tiles.flatten(-2).flatten(-3, -2)
