"""3 x 3 convolutions with a quarter of the products, for nets that only answer, on CPUs.

A tile of 4 x 4 answers is a product of polynomials in each direction, and so is known from its values at six points
[Winograd, 1980]. Taken for whole layers, that is one product of matrices for each of the 36 pairs of points, and a
small one before and after [Lavin & Gray, CVPR 2016]: 36 products of channels where there were 144.

The points are 0, 2/3, -2/3, 3/2, -3/2 and infinity. With the usual 0, 1, -1, 2, -2 rounding is twice as large, and four
times at its largest [Barabasz et al., TOMS 2020, on the choice]; with these it is in fp32 that of the direct sum.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE, POINTS = 4, (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2))
SEEN = TILE + 2
"""Pixels of the side of what a tile of answers is made from, and so the number of points, infinity included."""
NARROWEST = 128
"""Channels in and out of a layer from which on it pays: making tiles costs as many times as there are channels, the
products that are saved the square of it."""
FEWEST = 64
"""Tiles from which on it pays: below, the four times as many weights take longer to be read."""
CHUNK = 16 * 2**20
"""Bytes that the largest of the steps between takes at most, of large pictures a part at a time."""
MOST = 2 * 2**30
"""Bytes of a net's transformed weights, which are four times as many as its own; layers of most weights go without."""


def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Of one direction, in float64: to values of what is seen (6, 6), of weights (6, 3); and back to answers (4, 6)."""
    others = [[q for q in POINTS if q != p] for p in POINTS]
    seen = [[*_from_roots(roots), Fraction(0)] for roots in others] + [_from_roots(list(POINTS))]
    weights = [[p**i / prod(p - q for q in rest) for i in range(3)] for p, rest in zip(POINTS, others, strict=True)]
    back = [[p**i for p in POINTS] + [Fraction(int(i == TILE - 1))] for i in range(TILE)]
    lists = seen, [*weights, [Fraction(0), Fraction(0), Fraction(1)]], back
    return tuple(torch.tensor([[float(v) for v in row] for row in rows], dtype=torch.float64) for rows in lists)


def _from_roots(roots: list[Fraction]) -> list[Fraction]:
    """Coefficients of the polynomial of these roots, the constant first."""
    made = [Fraction(1)]
    for root in roots:
        made = [a - root * b for a, b in zip([Fraction(0), *made], [*made, Fraction(0)], strict=True)]
    return made


class Winograd(nn.Conv2d):
    """A convolution of 3 x 3 with padding 1, (N, C, H, W) to (N, K, H, W), with its weights and in their precision.

    To be made anew when the weights change.
    """

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__(plain.in_channels, plain.out_channels, 3, padding=1, device="meta")
        self.weight, self.bias = plain.weight, plain.bias
        weight = plain.weight.detach()
        seen, weights, back = (torch.kron(m, m).to(weight.device) for m in _matrices())
        values = weights @ weight.permute(2, 3, 1, 0).reshape(9, -1).double()
        made = {"values": values.view(SEEN**2, *weight.shape[1::-1]), "seen": seen, "back": back}
        for name, buffer in made.items():
            self.register_buffer(name, buffer.to(weight.dtype), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        count, width_in, height, width = x.shape
        down, right = -(-height // TILE), -(-width // TILE)
        if count * down * right < FEWEST:
            return super().forward(x)
        width_out = self.out_channels
        edges = 1, TILE * right - width + 1, 1, TILE * down - height + 1
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, *edges))
        made = x.new_empty(count, TILE * down, TILE * right, width_out)
        size = SEEN**2 * right * max(width_in, width_out) * x.element_size()
        rows = max(1, min(down, CHUNK // size))
        images = max(1, CHUNK // (size * down))
        for i in range(0, count, images):
            for first in range(0, down, rows):
                last = min(first + rows, down)
                part = x[i : i + images, TILE * first : TILE * last + 2]
                made[i : i + images, TILE * first : TILE * last] = self._tiles(part, last - first, right)
        if self.bias is not None:
            made += self.bias
        return made[:, :height, :width].permute(0, 3, 1, 2)

    def _tiles(self, x: Tensor, down: int, right: int) -> Tensor:
        """Answers for (n, 4 down + 2, 4 right + 2, C), which has its padding: (n, 4 down, 4 right, K)."""
        image, row, pixel, _ = x.stride()
        count, width_in, width_out = len(x), self.in_channels, self.out_channels
        shape = count, down, right, SEEN, SEEN, width_in
        tiles = x.as_strided(shape, (image, TILE * row, TILE * pixel, row, pixel, 1)).reshape(-1, SEEN**2, width_in)
        # A tile's values lie together: products with rows a power of two apart would all meet in a corner of the cache.
        values = torch.bmm(self.seen.expand(len(tiles), -1, -1), tiles)
        made = torch.bmm(values.transpose(0, 1), self.values).transpose(0, 1)
        made = torch.bmm(self.back.expand(len(tiles), -1, -1), made)
        made = made.view(count, down, right, TILE, TILE, width_out).transpose(2, 3)
        return made.reshape(count, TILE * down, TILE * right, width_out)


def winograd(net: nn.Module) -> nn.Module:
    """``net`` with its wide 3 x 3 convolutions taken so, those of few weights first: the same answers, to rounding."""
    places = [
        (child.weight.numel(), i, parent, name)
        for i, parent in enumerate(net.modules())
        for name, child in parent.named_children()
        if _pays(child)
    ]
    spent = 0
    for count, _, parent, name in sorted(places, key=lambda place: place[:2]):
        child = parent.get_submodule(name)
        spent += count * SEEN**2 // 9 * child.weight.element_size()
        if spent > MOST:
            break
        setattr(parent, name, Winograd(child))
    return net


def _pays(module: nn.Module) -> bool:
    if type(module) is not nn.Conv2d or min(module.in_channels, module.out_channels) < NARROWEST:
        return False
    plain = module.stride == module.dilation == (1, 1) and module.groups == 1 and module.padding_mode == "zeros"
    return plain and module.kernel_size == (3, 3) and module.padding == (1, 1)
