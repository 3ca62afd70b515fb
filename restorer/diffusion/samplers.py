"""From x_T to the clean picture. A sampler is a function that yields; one step serves every method.

Most samplers take out residual and noise together, one net call for each pair of ``times``. The last three take them
out one after the other, two calls for each pair: x is then not x_t of the schedule, but lies on another path of

    x = x0 + shift res + sigma eps

and a net can follow only if its residual does not depend on sigma, nor its noise on shift ([RDDM] calls that partially
path-independent generation).

[RDDM] Liu et al., CVPR 2024, eq. 12 and 13.   [DDIM] Song et al., ICLR 2021, eq. 12 and 16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from restorer.diffusion.process import ddim_std, rddm_std
from restorer.diffusion.schedule import Schedule
from restorer.diffusion.sde import euler, irsde_euler, irsde_mean_ode, irsde_ode, ode, optimal, posterior
from restorer.diffusion.solvers import ode_1, ode_2, ode_3, sde_1, sde_2
from restorer.diffusion.steps import Predict, RandnLike, State, march, rebuild_step, step, x0_step


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
    return march(predict, schedule, x, times, lambda t, s: eta**0.5 * rddm_std(schedule, t, s), randn_like)


def rddm_x_start(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[RDDM] sampling by way of x0; eta multiplies the *variance* of fresh noise. Official ``use_x_start``."""
    return march(predict, schedule, x, times, lambda t, s: eta**0.5 * rddm_std(schedule, t, s), randn_like, x0_step)


def rddm_ancestral(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 1.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[RDDM] draws from each q(x_s | x_t, x0, res) in turn; with all T times the official ``p_sample_loop``.

    Official code goes this way, whatever eta says, when steps = T. Raises ValueError for an eta other than 1.
    """
    if eta != 1:
        raise ValueError(f"rddm-ancestral draws all of the noise, so eta is 1, not {eta}; rddm takes any eta.")
    return march(predict, schedule, x, times, lambda t, s: rddm_std(schedule, t, s), randn_like, x0_step)


def ddim(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[DDIM] sampling, as diffusers' ``DDIMScheduler`` does it, clipped or not.

    eta multiplies the *standard deviation* of fresh noise: 0 deterministic, 1 DDPM.
    """
    return march(predict, schedule, x, times, lambda t, s: eta * ddim_std(schedule, t, s), randn_like, rebuild_step)


def rddm_ddim(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[RDDM] steps with [DDIM]'s fresh noise: a DDIM model in RDDM's form, official experiment 1.

    eta multiplies the *standard deviation* of fresh noise: 0 deterministic, 1 DDPM. Equal to ``ddim`` unless the
    prediction was clipped.
    """
    return march(predict, schedule, x, times, lambda t, s: eta * ddim_std(schedule, t, s), randn_like)


def rddm_two_phase(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[RDDM] all residual, then all noise, as the official generation code (experiment 0) was released.

    Each phase ends by taking the predicted x0, which is clipped and made for an x_t that x is not: residual and noise
    of the last jump are taken out twice. Only for the official pictures; ``rddm_residual_first`` does what was meant.
    eta multiplies the *variance* of fresh noise.
    """
    for phase in ("res", "eps"):
        for t, s in pairwise(times):
            p = predict(x, t)
            if s == 0:
                x = p.x0
            else:
                fresh = eta**0.5 * rddm_std(schedule, t, s)
                nothing = torch.zeros_like(x)
                moved = p._replace(eps=nothing) if phase == "res" else p._replace(res=nothing)
                x = step(schedule, x, moved, t, s, fresh, randn_like(x) if fresh > 0 else None)
            yield State(s, x, p.x0)


def rddm_residual_first(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[RDDM] all residual, then all noise; eta multiplies the *variance* of fresh noise.

    For nets that say both: what a net's one output makes of the other is right on the schedule's own path only.
    """
    falls, waits = _first_and_second(schedule.shift, schedule.sigma, times)
    return _in_turn(predict, Schedule(shift=falls, sigma=waits), x, times, eta, randn_like)


def rddm_noise_first(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[RDDM] all noise, then all residual. Otherwise as ``rddm_residual_first``."""
    falls, waits = _first_and_second(schedule.sigma, schedule.shift, times)
    return _in_turn(predict, Schedule(shift=waits, sigma=falls), x, times, eta, randn_like)


def _first_and_second(first: Tensor, second: Tensor, times: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Two tables along a path whose start is last: ``first`` falls to 0 by way of ``times``, then ``second`` does."""
    rising = list(times)[::-1]
    first, second = first[rising], second[rising]
    return torch.cat([0 * first[1:], first]), torch.cat([second, second[-1].expand(len(rising) - 1)])


def _in_turn(
    predict: Predict, path: Schedule, x: Tensor, times: Sequence[int], eta: float, randn_like: RandnLike
) -> Iterator[State]:
    """Down a path that goes through ``times`` twice. x is where the path says, so x0 follows from that, not from p."""
    for i, (t, s) in zip(range(path.T, 0, -1), 2 * list(pairwise(times)), strict=True):
        p = predict(x, t)
        x0 = x - float(path.shift[i]) * p.res - float(path.sigma[i]) * p.eps
        fresh = eta**0.5 * rddm_std(path, i, i - 1)
        x = step(path, x, p, i, i - 1, fresh, randn_like(x) if fresh > 0 else None)
        yield State(s, x, x0)


def time_grid(T: int, steps: int) -> list[int]:
    """``steps`` + 1 falling times from T to 0, spaced as the official RDDM code does it.

    The official grid counts from -1 to T - 1 in float32 and truncates toward zero; ours is one higher.
    """
    _check_steps(T, steps)
    return [int(time) + 1 for time in torch.linspace(-1, T - 1, steps + 1).flip(0)]


def leading_grid(T: int, steps: int) -> list[int]:
    """``steps`` + 1 falling times to 0: diffusers' "leading" grid, each time one higher.

    With jump = T // steps diffusers counts (steps - 1) jump, ..., jump, 0: the first time lies below T by a jump or
    more, and the last step is a short one.
    """
    _check_steps(T, steps)
    jump = T // steps
    return [*range((steps - 1) * jump + 1, 0, -jump), 0]


def trailing_grid(T: int, steps: int) -> list[int]:
    """``steps`` + 1 falling times from T to 0, evenly spaced: diffusers' "trailing" grid, each time one higher.

    Where ``steps`` does not divide T, diffusers removes the noise down to T // steps below each time, which is not
    quite the next one; here it is the next one.
    """
    _check_steps(T, steps)
    jump = T - (T - T / steps)  # numpy's arange, which diffusers rounds, goes by the difference of its first two
    return [*(round(T - i * jump) for i in range(steps)), 0]


def quadratic_grid(T: int, steps: int) -> list[int]:
    """``steps`` + 1 falling times from T to 0, close together at the clean end. [DDIM] appendix D, "quadratic" """
    return _power_grid(T, steps, 2)


def cubic_grid(T: int, steps: int) -> list[int]:
    """As ``quadratic_grid``, closer still: half of the times lie in the last eighth."""
    return _power_grid(T, steps, 3)


def _power_grid(T: int, steps: int, power: int) -> list[int]:
    _check_steps(T, steps)
    return [*(max(i, round(T * (i / steps) ** power)) for i in range(steps, 0, -1)), 0]


def _check_steps(T: int, steps: int) -> None:
    if not 1 <= steps <= T:
        raise ValueError(f"steps must be from 1 to {T}, not {steps}.")


SAMPLERS: dict[str, Callable[..., Iterator[State]]] = {
    "rddm": rddm,
    "rddm-x-start": rddm_x_start,
    "rddm-ancestral": rddm_ancestral,
    "ddim": ddim,
    "rddm-ddim": rddm_ddim,
    "rddm-two-phase": rddm_two_phase,
    "rddm-residual-first": rddm_residual_first,
    "rddm-noise-first": rddm_noise_first,
    "euler": euler,
    "ode": ode,
    "irsde-euler": irsde_euler,
    "irsde-ode": irsde_ode,
    "irsde-mean-ode": irsde_mean_ode,
    "posterior": posterior,
    "optimal": optimal,
    "ode-1": ode_1,
    "ode-2": ode_2,
    "ode-3": ode_3,
    "sde-1": sde_1,
    "sde-2": sde_2,
}

CALLS: dict[str, int] = {"rddm-two-phase": 2, "rddm-residual-first": 2, "rddm-noise-first": 2}
"""Net calls, and states, for each pair of times, of the samplers that need more than one."""

ON_ANY_TABLES = ("ddim", *(name for name in SAMPLERS if name.startswith("rddm")))
"""Samplers that read nothing but shift and sigma, so that these may be readjusted."""


def natural_eta(sampler: str) -> float:
    """The eta that a sampler of that name has unless told otherwise: 0 deterministic, 1 ancestral."""
    return SAMPLERS[sampler].__kwdefaults__["eta"]


GRIDS: dict[str, Callable[[int, int], list[int]]] = {
    "rddm": time_grid,
    "leading": leading_grid,
    "trailing": trailing_grid,
    "quadratic": quadratic_grid,
    "cubic": cubic_grid,
}
"""The times of a run by name: official RDDM's, those of DDIM as diffusers has them, and two for few steps."""
