"""Samplers that walk the reverse SDE or its ODE in plain steps, and those that draw from the exact posterior.

They ask of a schedule how it got where it is (``decay``), so they serve IR-SDE, Denoising-SDE, bridges, DDPM and RDDM
alike. Those named ``irsde_`` are as the official code has them.

[IR-SDE] Luo et al., ICML 2023.   [GOUB] Yue et al., ICML 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from restorer.diffusion.predict import Prediction
from restorer.diffusion.process import drift, posterior_std
from restorer.diffusion.schedule import Schedule
from restorer.diffusion.steps import Predict, RandnLike, State, march


def euler(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 1.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[IR-SDE] Euler-Maruyama steps on the reverse SDE; the last goes to the predicted clean picture.

    eta 1 is the SDE, 0 its ODE; between them the fresh noise's standard deviation is eta times the SDE's.
    """
    return _euler(predict, schedule, x, times, eta, randn_like, to_clean=True)


def irsde_euler(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 1.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[IR-SDE] ``euler`` as released (``reverse_sde``): the last step too is an Euler step, and adds noise."""
    return _euler(predict, schedule, x, times, eta, randn_like, to_clean=False)


def ode(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[IR-SDE] Euler steps on the probability flow ODE; the last goes to the predicted clean picture.

    Raises ValueError for an eta other than 0.
    """
    _check_still("ode", eta)
    return _euler(predict, schedule, x, times, eta, randn_like, to_clean=True)


def irsde_ode(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[IR-SDE] ``ode`` as released (``reverse_ode``): the last step too is an Euler step."""
    _check_still("irsde-ode", eta)
    return _euler(predict, schedule, x, times, eta, randn_like, to_clean=False)


def irsde_mean_ode(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[GOUB] Mean-ODE as released (``reverse_mean_ode``): ``irsde_euler``, of which the noise is left out.

    Not the probability flow ODE, which has half of its pull. Raises ValueError for an eta other than 0.
    """
    _check_still("irsde-mean-ode", eta)
    return _euler(predict, schedule, x, times, 1.0, torch.zeros_like, to_clean=False)


def first_noise(schedule: Schedule, sampler: str, t: int) -> float:
    """Std of the noise beside y that the sampler of that name starts with at ``t``: the schedule's there.

    Official Euler steps on a bridge leave y itself one step before T, with noise of their own or, in [GOUB] Mean-ODE,
    with none.
    """
    own = float(schedule.sigma[t])
    if schedule.steps is None or t != schedule.T:
        return own
    return {"irsde-euler": schedule.steps.first, "irsde-mean-ode": 0.0}.get(sampler, own)


def posterior(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 1.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """Draws from q(x_s | x_t, x0, y) in turn, for any stride. [IR-SDE], officially ``reverse_posterior``.

    eta multiplies the standard deviation of the fresh noise.
    """
    return march(predict, schedule, x, times, lambda t, s: eta * posterior_std(schedule, t, s), randn_like)


def optimal(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """Goes to the most likely x_s each time: the posterior's mean, with no noise. [IR-SDE]

    Officially ``optimal_reverse``, of the true x0. [GOUB] Mean-ODE is ``irsde_mean_ode``.

    Raises ValueError for an eta other than 0.
    """
    _check_still("optimal", eta)
    return march(predict, schedule, x, times, lambda t, s: posterior_std(schedule, t, s), torch.zeros_like)


def _euler(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    eta: float,
    randn_like: RandnLike,
    *,
    to_clean: bool,
) -> Iterator[State]:
    if schedule.decay[times[0]] == 0:
        raise ValueError("Where nothing of the clean picture is left, an Euler step has no size; try posterior.")
    return _euler_walk(predict, schedule, x, times, eta, randn_like, to_clean)


def _euler_walk(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    eta: float,
    randn_like: RandnLike,
    to_clean: bool,
) -> Iterator[State]:
    for t, s in pairwise(times):
        p = predict(x, t)
        if s == 0 and to_clean:
            x = p.x0
        else:
            x = _euler_step(schedule, x, p, t, s, eta, randn_like(x) if eta > 0 else None)
        yield State(s, x, p.x0)


def _euler_step(schedule: Schedule, x: Tensor, p: Prediction, t: int, s: int, eta: float, z: Tensor | None) -> Tensor:
    """[IR-SDE] the reverse SDE (eta 1) or its ODE (eta 0), by the drift's own parts. Noise has the official sign."""
    to_y, rate, spread = (float(part) for part in drift(schedule, t, s))
    sigma = float(schedule.sigma[t])
    pulled = (1 + eta**2) / 2 * spread / sigma if sigma > 0 else 0.0
    x = x - to_y * p.res + (rate * sigma - pulled) * p.eps
    return x if z is None else x - eta * spread**0.5 * z


def _check_still(name: str, eta: float) -> None:
    if eta != 0:
        raise ValueError(f"{name} draws no noise, so eta is 0, not {eta}.")
