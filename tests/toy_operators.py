"""Operators small enough to be right at sight: V is orthogonal, and its directions lie where the pixels lie."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F


def basis(row):
    """Orthogonal columns, the first along ``row``; the others are what LAPACK makes of the null space."""
    vh = torch.linalg.svd(row[None])[2]
    return (vh * torch.where(torch.arange(len(row)) == 0, vh[0, 0].sign(), 1.0)[:, None]).T


@dataclass(frozen=True, eq=False)
class Diagonal:
    """Scales each pixel; a mask where sv is 0 or 1, the identity where it is 1."""

    sv: torch.Tensor

    def A(self, x):
        return self.sv.to(x) * x

    At = A

    def pinv(self, y):
        return torch.where(self.sv > 0, y / self.sv.to(y), 0)

    def V(self, c):
        return c

    Vt = V


class Gray:
    """The mean of three channels."""

    basis = basis(torch.full((3,), 1 / 3, dtype=torch.float64))
    sv = torch.tensor([3**-0.5, 0, 0], dtype=torch.float64).view(3, 1, 1)

    def A(self, x):
        return x.mean(1, keepdim=True)

    def pinv(self, y):
        return y.expand(-1, 3, -1, -1)

    def At(self, y):
        return self.pinv(y) / 3

    def V(self, c):
        return torch.einsum("cd,ndhw->nchw", self.basis.to(c), c)

    def Vt(self, x):
        return torch.einsum("cd,nchw->ndhw", self.basis.to(x), x)


class Pool:
    """Means over blocks of r x r pixels."""

    def __init__(self, r, height, width):
        self.r = r
        self.basis = basis(torch.full((r * r,), 1 / r**2, dtype=torch.float64))
        first = torch.zeros(r, r, dtype=torch.float64)
        first[0, 0] = 1 / r
        self.sv = first.repeat(height // r, width // r)

    def A(self, x):
        return F.avg_pool2d(x, self.r)

    def pinv(self, y):
        return y.repeat_interleave(self.r, -1).repeat_interleave(self.r, -2)

    def At(self, y):
        return self.pinv(y) / self.r**2

    def V(self, c):
        return self._turned(c, self.basis)

    def Vt(self, x):
        return self._turned(x, self.basis.T)

    def _turned(self, x, matrix):
        n, c, h, w = x.shape
        r = self.r
        blocks = x.view(n, c, h // r, r, w // r, r).transpose(3, 4).reshape(n, c, h // r, w // r, r * r)
        turned = blocks @ matrix.T.to(x)
        return turned.view(n, c, h // r, w // r, r, r).transpose(3, 4).reshape(n, c, h, w)


class Dense:
    """Any matrix of whole pictures; its directions are a row of numbers, without a place in the picture."""

    def __init__(self, matrix, shape):
        self.matrix, self.shape = matrix, shape
        s, vh = torch.linalg.svd(matrix)[1:]
        self.sv, self.basis = torch.cat([s, s.new_zeros(len(vh) - len(s))]), vh.T

    def A(self, x):
        return x.flatten(1) @ self.matrix.T.to(x)

    def At(self, y):
        return (y @ self.matrix.to(y)).view(-1, *self.shape)

    def pinv(self, y):
        return (y @ torch.linalg.pinv(self.matrix).T.to(y)).view(-1, *self.shape)

    def V(self, c):
        return (c.flatten(1) @ self.basis.T.to(c)).view(-1, *self.shape)

    def Vt(self, x):
        return x.flatten(1) @ self.basis.to(x)


HEIGHT, WIDTH = 4, 8
KEEP = (torch.arange(HEIGHT * WIDTH) % 3 > 0).double().view(1, 1, HEIGHT, WIDTH)
OPERATORS = {
    "identity": Diagonal(torch.ones(1, dtype=torch.float64)),
    "mask": Diagonal(KEEP),
    "diagonal": Diagonal(torch.linspace(0, 1.5, HEIGHT * WIDTH, dtype=torch.float64).view(HEIGHT, WIDTH)),
    "gray": Gray(),
    "pool": Pool(4, HEIGHT, WIDTH),
}
WITHOUT_PLACE = {
    "dense": Dense(
        torch.randn(40, 3 * HEIGHT * WIDTH, generator=torch.Generator().manual_seed(4), dtype=torch.float64) / 10,
        (3, HEIGHT, WIDTH),
    )
}
SV = {"identity": 1.0, "mask": 1.0, "gray": 3**-0.5, "pool": 1 / 4}
"""The one singular value of those that have but one."""
