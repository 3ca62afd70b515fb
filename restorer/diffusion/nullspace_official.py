"""DDNM's two official code paths as released, for comparison. They are not the same sampler, nor the paper's.

Both put noise back, when time travels, about the last predicted x0, as it was before the correction, and not about x_t.
Arguments, units and errors as in ``nullspace``.

[DDNM] Wang et al., ICLR 2023, and the code released with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from restorer.diffusion.correction import along, check_noise, gains, gap
from restorer.diffusion.predict import Prediction
from restorer.diffusion.schedule import Schedule
from restorer.diffusion.steps import Predict, RandnLike, State

if TYPE_CHECKING:
    from restorer.diffusion.linear import LinearOperator, SpectralOperator


def ddnm_official(
    predict: Predict,
    schedule: Schedule,
    op: SpectralOperator,
    y: Tensor,
    x: Tensor,
    times: Sequence[int],
    *,
    sigma_y: float = 0.0,
    eta: float = 0.85,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """The path by singular values. Where y has noise, noise is scaled as if its pixels were the operator's directions.

    That takes the old noise out of its place unless V is the identity. How far depends on how the operator orders its
    directions and on the basis of its null space; the official numbers, on what a linear algebra library made of it.
    Needs sv, V and Vt of the operator only if sigma_y > 0.
    """

    def move(p: Prediction, s: int, z: Tensor) -> tuple[Tensor, Tensor]:
        scale, sigma, off = 1 - float(schedule.shift[s]), float(schedule.sigma[s]), gap(op, y, p.x0)
        if sigma_y == 0:
            x0 = p.x0 - off
            return scale * x0 + sigma * (eta * z + (1 - eta**2) ** 0.5 * p.eps), x0
        g = gains(op.sv.to(z), schedule, s, sigma_y, eta)
        inner = op.Vt(off).shape
        x0 = p.x0 - along(op, g.correct, off)
        return scale * x0 + op.V(g.fresh * z.reshape(inner) + g.old * p.eps.reshape(inner)), x0

    check_noise(eta, sigma_y)
    return _walk(predict, schedule, x, times, move, randn_like)


def ddnm_official_simplified(
    predict: Predict,
    schedule: Schedule,
    op: LinearOperator,
    y: Tensor,
    x: Tensor,
    times: Sequence[int],
    *,
    sigma_y: float = 0.0,
    eta: float = 0.85,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """The path of ``--simplified``, and of the published demonstrations: late steps have too little noise.

    It takes alpha_bar where its square root is meant, and counts the noise of x_s twice: with sigma_y = 0 its standard
    deviation is sigma_s sqrt(1 - alpha_bar_s^2), 45 % of what it should be at t = 101 of 1000.
    """

    def move(p: Prediction, s: int, z: Tensor) -> tuple[Tensor, Tensor]:
        scale, sigma = 1 - float(schedule.shift[s]), float(schedule.sigma[s])
        wrong_scale = scale**2
        wrong_sigma = (1 - wrong_scale**2) ** 0.5
        floor = wrong_scale * sigma_y
        trust = 1.0 if wrong_sigma >= floor else wrong_sigma / floor
        gamma = max(wrong_sigma**2 - floor**2, 0.0) ** 0.5
        x0 = p.x0 - trust * gap(op, y, p.x0)
        return scale * x0 + gamma * sigma * (eta * z + (1 - eta**2) ** 0.5 * p.eps), x0

    check_noise(eta, sigma_y)
    return _walk(predict, schedule, x, times, move, randn_like)


def _walk(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    move: Callable[[Prediction, int, Tensor], tuple[Tensor, Tensor]],
    randn_like: RandnLike,
) -> Iterator[State]:
    guess = x
    for t, s in pairwise(times):
        if s > t:
            x = (1 - float(schedule.shift[s])) * guess + float(schedule.sigma[s]) * randn_like(x)
        else:
            p = predict(x, t)
            x, x0 = move(p, s, randn_like(x) if s > 0 else torch.zeros_like(x))
            guess = p.x0
            yield State(s, x, x0)
