"""From x_T to the clean picture. A sampler is a function that yields; one step serves every method.

[RDDM] Liu et al., CVPR 2024, eq. 12 and 13.   [DDIM] Song et al., ICLR 2021, eq. 12 and 16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from restorer.diffusion.predict import Prediction
from restorer.diffusion.schedule import Schedule

Predict = Callable[[Tensor, int], Prediction]
RandnLike = Callable[[Tensor], Tensor]


class State(NamedTuple):
    """Where the sampler is: ``x`` at time ``t``, and the clean picture predicted on the way there."""

    t: int
    x: Tensor
    x0: Tensor


def step(schedule: Schedule, x: Tensor, p: Prediction, t: int, s: int, std: float, z: Tensor | None) -> Tensor:
    """x_t -> x_s: take out residual, shrink the old noise, add fresh noise of size ``std`` (``z`` may be None at 0).

    Written as an increment of x_t, so that it stays right when a prediction was clipped. [RDDM] eq. 12
    """
    keep = max(_at(schedule.sigma, s) ** 2 - std**2, 0.0) ** 0.5
    x = x - (_at(schedule.shift, t) - _at(schedule.shift, s)) * p.res - (_at(schedule.sigma, t) - keep) * p.eps
    return x if z is None else x + std * z


def rddm_std(schedule: Schedule, t: int, s: int) -> float:
    """Std of q(x_s | x_t, x0, res): the residual is held. [RDDM] eq. 12 with eta = 1"""
    sigma_t, sigma_s = _at(schedule.sigma, t), _at(schedule.sigma, s)
    return sigma_s * max(1 - (sigma_s / sigma_t) ** 2, 0.0) ** 0.5


def ddim_std(schedule: Schedule, t: int, s: int) -> float:
    """Std of q(x_s | x_t, x0, y): y is held. [DDIM] eq. 16 with eta = 1"""
    sigma_t, sigma_s = _at(schedule.sigma, t), _at(schedule.sigma, s)
    left_t, left_s = 1 - _at(schedule.shift, t), 1 - _at(schedule.shift, s)
    decay = left_t / left_s if left_s > 0 else 1.0
    return sigma_s * max(1 - (decay * sigma_s / sigma_t) ** 2, 0.0) ** 0.5


def rddm(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[RDDM] sampling; eta multiplies the *variance* of fresh noise: 0 deterministic, 1 ancestral."""
    return _sample(predict, schedule, x, times, lambda t, s: eta**0.5 * rddm_std(schedule, t, s), randn_like)


def ddim(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[DDIM] sampling; eta multiplies the *standard deviation* of fresh noise: 0 deterministic, 1 DDPM."""
    return _sample(predict, schedule, x, times, lambda t, s: eta * ddim_std(schedule, t, s), randn_like)


def _sample(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    std: Callable[[int, int], float],
    randn_like: RandnLike,
) -> Iterator[State]:
    """One net call for each pair of ``times``; the last pair ends on the predicted clean picture itself."""
    for t, s in pairwise(times):
        p = predict(x, t)
        if s == 0:
            x = p.x0
        else:
            fresh = std(t, s)
            x = step(schedule, x, p, t, s, fresh, randn_like(x) if fresh > 0 else None)
        yield State(s, x, p.x0)


def time_grid(T: int, steps: int) -> list[int]:
    """``steps`` + 1 falling times from T to 0, spaced as the official RDDM code does it.

    The official grid counts from -1 to T - 1 in float32 and truncates toward zero; ours is one higher.
    """
    if not 1 <= steps <= T:
        raise ValueError(f"steps must be from 1 to {T}, not {steps}.")
    return [int(time) + 1 for time in torch.linspace(-1, T - 1, steps + 1).flip(0)]


def _at(table: Tensor, t: int) -> float:
    return float(table[t])


SAMPLERS: dict[str, Callable[..., Iterator[State]]] = {"rddm": rddm, "ddim": ddim}
