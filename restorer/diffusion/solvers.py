"""Few-step samplers: exponential integrators on the half log-SNR, with the clean picture as what is extrapolated.

With  alpha = 1 - shift  x_t = alpha x0 + shift y + sigma eps  is variance-exploding diffusion of x0 about y in other
units, and  log(alpha / sigma)  its only clock. What is linear in x is solved exactly; of x0 as a function of that clock
the net's last guesses are kept, and the polynomial through them is integrated.

Wherever x0 does not change along the way a step of any size is exact; the orders differ in how fast it may change.

[DPM++] Lu et al., DPM-Solver++, 2022, section 4.   [MaRS] Li et al., MaRS: a Fast Sampler for Mean Reverting Diffusion,
ICLR 2025. Both differ from ours at third order, where they count the second difference half.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from restorer.diffusion.schedule import Schedule
from restorer.diffusion.steps import Predict, RandnLike, State


def ode_1(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """First order: DDIM about y. Raises ValueError for an eta other than 0."""
    return _ode(predict, schedule, x, times, 1, eta)


def ode_2(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """Second order: DDIM about y, with the last two guesses. Raises ValueError for an eta other than 0."""
    return _ode(predict, schedule, x, times, 2, eta)


def ode_3(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """Third order: with the last three guesses. Raises ValueError for an eta other than 0."""
    return _ode(predict, schedule, x, times, 3, eta)


def sde_1(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 1.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """First order on the SDE; between neighbouring times, and y held, it is the posterior.

    eta^2 multiplies the SDE's rate of fresh noise: 0 is ``ode_1``, 1 the reverse of the forward process.
    """
    return _solve(predict, schedule, x, times, 1, eta, randn_like)


def sde_2(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 1.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """Second order on the SDE, with the last two guesses. eta as in ``sde_1``."""
    return _solve(predict, schedule, x, times, 2, eta, randn_like)


class _Guess(NamedTuple):
    clock: float  # log(alpha / sigma) where it was made
    x0: Tensor


def _ode(
    predict: Predict, schedule: Schedule, x: Tensor, times: Sequence[int], order: int, eta: float
) -> Iterator[State]:
    if eta != 0:
        raise ValueError(f"ode-{order} draws no noise, so eta is 0, not {eta}; sde-{min(order, 2)} takes any eta.")
    return _solve(predict, schedule, x, times, order, 0.0, torch.zeros_like)


def _solve(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    order: int,
    eta: float,
    randn_like: RandnLike,
) -> Iterator[State]:
    """With m = 1 + eta^2, clock l, h = l_s - l_t, e = exp(-h), y the one of x0 + res:

    x_s = y + (alpha_s / alpha_t) e^m (x - y) + alpha_s int m exp(m (l - l_s)) (x0(l) - y) dl + fresh noise
    """
    m = 1 + eta**2
    guesses: list[_Guess] = []
    for t, s in pairwise(times):
        p = predict(x, t)
        alpha_t, alpha_s = 1 - float(schedule.shift[t]), 1 - float(schedule.shift[s])
        sigma_t, sigma_s = float(schedule.sigma[t]), float(schedule.sigma[s])
        if s == 0:
            x = p.x0
        else:
            # A guess from pure noise is endlessly far back, and no polynomial goes through it.
            guesses = [_Guess(_clock(alpha_t, sigma_t), p.x0), *(g for g in guesses if g.clock > -math.inf)][:order]
            # Where x0 is gone at both times nothing of it decays; where there is no noise none can be kept.
            kept = sigma_s / sigma_t if sigma_t > 0 else 0.0
            e = kept * (alpha_t / alpha_s if alpha_s > 0 else 1.0)
            kept *= e ** (m - 1)
            # Written with shift, not alpha, so that nothing is lost where shift is small.
            to_y = float(schedule.shift[s]) - kept + alpha_s * e**m
            x = kept * x + to_y * (p.x0 + p.res)
            if alpha_s > 0:
                x = x + alpha_s * _integral(guesses, e, m)
            if eta > 0:
                x = x + sigma_s * (1 - e ** (2 * eta**2)) ** 0.5 * randn_like(x)
        yield State(s, x, p.x0)


def _clock(alpha: float, sigma: float) -> float:
    if alpha == 0:
        return -math.inf
    return math.log(alpha / sigma) if sigma > 0 else math.inf


def _integral(guesses: Sequence[_Guess], e: float, m: float) -> Tensor:
    """int_0^h m exp(m (u - h)) P(u) du for the polynomial P through the last guesses, the newest at u = 0."""
    newest = guesses[0].x0
    area = 1 - e**m
    if len(guesses) == 1 or e == 0:  # one guess, or an endless step from pure noise
        return area * newest
    h = -math.log(e)
    # Moments of (u / h)^j, by parts.
    first = 1 - area / (m * h)
    slope, gap = _difference(*guesses[:2])
    if len(guesses) == 2:
        return area * newest + first * h * slope
    second = 1 - 2 / (m * h) * first
    earlier, width = _difference(*guesses[1:])
    bend = (slope - earlier) / (gap + width)
    return area * newest + first * h * (slope + gap * bend) + second * h**2 * bend


def _difference(new: _Guess, old: _Guess) -> tuple[Tensor, float]:
    """The slope between two guesses, and the time between them."""
    gap = new.clock - old.clock
    return (new.x0 - old.x0) / gap, gap
