"""From x_t to x_s: the pieces that samplers are made of.

[RDDM] Liu et al., CVPR 2024, eq. 12.   [DDIM] Song et al., ICLR 2021, eq. 12.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from restorer.diffusion.predict import Prediction
from restorer.diffusion.schedule import Schedule

Predict = Callable[[Tensor, int], Prediction]
RandnLike = Callable[[Tensor], Tensor]


class State(NamedTuple):
    """Where the sampler is: ``x`` at time ``t``, and the clean picture predicted on the way there.

    Where residual and noise are taken out one after the other, ``t`` falls to 0 twice: it is the time of what is being
    taken out.
    """

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


def x0_step(schedule: Schedule, x: Tensor, p: Prediction, t: int, s: int, std: float, z: Tensor | None) -> Tensor:
    """x_t -> x_s by way of x0: equal to ``step`` unless the prediction was clipped. Official ``use_x_start``.

    With std = ``rddm_std`` it is a draw from q(x_s | x_t, x0, res). [RDDM] eq. 12
    """
    kept = max(_at(schedule.sigma, s) ** 2 - std**2, 0.0) ** 0.5 / _at(schedule.sigma, t)
    x = kept * x + (1 - kept) * p.x0 + (_at(schedule.shift, s) - kept * _at(schedule.shift, t)) * p.res
    return x if z is None else x + std * z


def rebuild_step(schedule: Schedule, x: Tensor, p: Prediction, t: int, s: int, std: float, z: Tensor | None) -> Tensor:
    """x_s of what was predicted alone: equal to ``step`` unless the prediction was clipped. [DDIM] eq. 12

    Where x0 was clipped and eps was not made anew, as in diffusers, ``step`` keeps the (1 - shift_t)(x0 - clipped) that
    is lost here: x_t holds it.
    """
    kept = max(_at(schedule.sigma, s) ** 2 - std**2, 0.0) ** 0.5
    shift = _at(schedule.shift, s)
    # Not x0 + shift res, which loses digits where shift is nearly 1 and little of x0 is left.
    x = (1 - shift) * p.x0 + shift * (p.x0 + p.res) + kept * p.eps
    return x if z is None else x + std * z


def march(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    std: Callable[[int, int], float],
    randn_like: RandnLike,
    move: Callable[..., Tensor] = step,
) -> Iterator[State]:
    """One net call for each pair of ``times``; the last pair ends on the predicted clean picture itself."""
    for t, s in pairwise(times):
        p = predict(x, t)
        if s == 0:
            x = p.x0
        else:
            fresh = std(t, s)
            x = move(schedule, x, p, t, s, fresh, randn_like(x) if fresh > 0 else None)
        yield State(s, x, p.x0)


def _at(table: Tensor, t: int) -> float:
    return float(table[t])
