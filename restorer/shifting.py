"""One window after the other, each held to what is done already: DDNM's mask-shift for pictures of any size.

[DDNM] Wang et al., ICLR 2023, on arbitrary sizes: the shared part of two windows is, for the second, a measurement too.
Windows are drawn in reading order, so mistakes of the first can spread; ``tiling.blended`` has no such order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from restorer.diffusion.linear import LinearOperator
from restorer.diffusion.nullspace import ddnm
from restorer.diffusion.schedule import Schedule
from restorer.diffusion.steps import Predict, RandnLike, State
from restorer.tiling import Windows


@dataclass(frozen=True, eq=False)
class Held:
    """A window's part of the canvas's measurement, and the pixels that are done, both as pixels of the window.

    ``canvas``: what is done, and elsewhere the smallest picture that explains y.
    """

    op: LinearOperator
    canvas: Tensor
    done: Tensor
    place: tuple[slice, slice]

    def A(self, x: Tensor) -> Tensor:
        """What y, or the pixels that are done, would have to be for the window's picture x."""
        whole = self.canvas.clone()
        here = (..., *self.place)
        done = self.done[here]
        whole[here] = torch.where(done, whole[here], x)
        return torch.where(done, x, self.op.pinv(self.op.A(whole))[here])

    def pinv(self, y: Tensor) -> Tensor:
        """Itself: it is pixels already."""
        return y


def shifted(
    predict: Predict,
    schedule: Schedule,
    op: LinearOperator,
    y: Tensor,
    x: Tensor,
    times: Sequence[int],
    *,
    over: Windows,
    eta: float,
    randn_like: RandnLike,
    sigma_y: float = 0.0,
) -> Iterator[State]:
    """States of the canvas (1, C, H, W): as many for each window as ``ddnm`` has. Raises ValueError for noise in y."""
    if sigma_y != 0:
        raise ValueError(
            "mask-shift takes the picture to be free of noise; leave out --sigma, or --windows mask-shift."
        )
    smallest = op.pinv(y)
    canvas, done = smallest.clone(), torch.zeros_like(smallest[:, :1], dtype=torch.bool)
    height, width = over.size
    for top, left in over.corners:
        place = slice(top, top + height), slice(left, left + width)
        here = (..., *place)
        held = Held(op, canvas, done, place)
        wanted = torch.where(done[here], canvas[here], smallest[here])
        for state in ddnm(predict, schedule, held, wanted, x[here], times, eta=eta, randn_like=randn_like):
            x0, x_s = canvas.clone(), x.clone()
            x0[here], x_s[here] = state.x0, state.x
            yield State(state.t, x_s, x0)
        x, canvas = x_s, x0
        done = done.clone()
        done[here] = True
