"""Where x_t lies between the clean picture and y: two tables, whatever the method.

    method          y                  shift_t                       sigma_t
    RDDM            degraded picture   sum of alpha                  sqrt(sum of beta^2)
    IR-SDE          degraded picture   1 - exp(-theta_bar)           lambda sqrt(1 - exp(-2 theta_bar))
    Denoising-SDE   not used           0                             lambda sqrt(1 - exp(-2 theta_bar))
    GOUB            degraded picture   1 - m_t                       see ``goub_schedule``
    DDPM            0                  1 - sqrt(alpha_bar)           sqrt(1 - alpha_bar)

[RDDM] Liu et al., Residual Denoising Diffusion Models, CVPR 2024, eq. 7 and section 4.
[DDPM] Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020, eq. 4.
[IR-SDE] Luo et al., Image Restoration with Mean-Reverting Stochastic Differential Equations, ICML 2023.
[GOUB] Yue et al., Image Restoration Through Generalized Ornstein-Uhlenbeck Bridge, ICML 2024.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class Steps(NamedTuple):
    """What official code takes for the drift of a bridge in an Euler step from t to t - 1; tables as a schedule's.

    ``rate`` is how fast x is drawn to y, ``spread`` the variance of the noise, both as they are at t, times the time of
    the step; near y they are far from constant over it. ``first``: std of the noise in the step out of y, before T.
    """

    rate: Tensor
    spread: Tensor
    first: float


@dataclass(frozen=True, eq=False)
class Schedule:
    """A diffusion's tables, each T + 1 float64 values on the CPU; index 0 is the clean picture.

    ``shift`` and ``sigma`` say where x_t lies, ``decay`` how it got there: a step from s to t keeps decay_t / decay_s
    of how far x_s is from its mean. None is 1 - shift, which is so where y is held (DDPM, IR-SDE); RDDM holds the
    residual and its decay is 1 throughout. What x_t is does not depend on it, what a step back may draw does.
    ``steps``: where official Euler steps are not what these tables say of them, those of a bridge; else None.

    Raises ValueError when the tables cannot be a schedule: different lengths, not 0 at the clean picture, a shift that
    falls, noise below 0.
    """

    shift: Tensor
    sigma: Tensor
    decay: Tensor | None = None
    steps: Steps | None = None

    def __post_init__(self) -> None:
        if self.decay is None:
            object.__setattr__(self, "decay", 1 - self.shift)
        if self.shift.shape != self.sigma.shape or self.shift.ndim != 1 or len(self.shift) < 2:
            raise ValueError(f"shift {tuple(self.shift.shape)} and sigma {tuple(self.sigma.shape)} must be equal rows.")
        if self.shift[0] != 0 or self.sigma[0] != 0:
            raise ValueError(f"At t = 0 the picture is clean, not {float(self.shift[0])}, {float(self.sigma[0])}.")
        if not (self.shift.diff() >= 0).all():
            raise ValueError("shift must never fall, nor hold values that are no numbers.")
        if not (self.sigma >= 0).all():
            raise ValueError("sigma must never be below 0, nor hold values that are no numbers.")
        if self.decay.shape != self.shift.shape or not (self.decay.diff() <= 0).all():
            raise ValueError("decay must be a row as long as shift that never rises.")

    @property
    def T(self) -> int:
        """Length of the training grid; t runs from 0 (clean) to T (start)."""
        return len(self.shift) - 1


def diffuse(schedule: Schedule, x0: Tensor, y: Tensor, eps: Tensor, t: int | Tensor) -> Tensor:
    """x_t of the clean NCHW pictures ``x0``; ``t`` is one time, or one for each picture (shape (N,))."""
    shift, sigma = (at(table, t, x0) for table in (schedule.shift, schedule.sigma))
    return x0 + shift * (y - x0) + sigma * eps


def at(table: Tensor, t: int | Tensor, x: Tensor) -> float | Tensor:
    """A table's value at one time, or at one time a picture of the batch ``x`` (N, 1, 1, 1)."""
    if isinstance(t, int):
        return float(table[t])
    return table[t.cpu()].to(x.device, x.dtype).view(-1, 1, 1, 1)


def rddm_schedule(
    T: int = 1000,
    *,
    alpha: str = "decreased",
    beta: str = "increased",
    alpha_power: float = 1.0,
    beta_power: float = 1.0,
    sum_scale: float = 1.0,
    family: str = "integer",
) -> Schedule:
    """[RDDM] alpha sums to 1 and beta^2 to ``sum_scale``, the variance of the noise at t = T.

    ``alpha`` and ``beta`` name the shape of the increments: increased and decreased are P(x, power) and P(1-x, power)
    of the paper, average is constant, normal is a bell. ``family`` says on which grid: "integer" is i = 1 ... T
    (the official restoration code), "linspace" is T points of [0, 1] (the official generation code).
    """
    if not sum_scale > 0:
        raise ValueError(f"sum_scale must be above 0, not {sum_scale}.")
    shift = _from_zero(_increments(T, alpha, alpha_power, family)).clip(0, 1)
    sigma = (sum_scale * _from_zero(_increments(T, beta, beta_power, family)).clip(0, 1)).sqrt()
    return Schedule(shift, sigma, decay=torch.ones_like(shift))


def _increments(T: int, mode: str, power: float, family: str) -> Tensor:
    """T positive float64 numbers that sum to 1."""
    match family:
        case "integer":
            ramp = torch.arange(1, T + 1, dtype=torch.float64)
        case "linspace":
            ramp = torch.linspace(0, 1, T, dtype=torch.float64)
        case _:
            raise ValueError(f"Unknown family {family!r}; known: integer, linspace.")
    match mode:
        case "increased":
            steps = ramp**power
        case "decreased":
            steps = (ramp**power).flip(0)
        case "average":
            steps = torch.ones_like(ramp)
        case "normal":
            steps = torch.exp(-(torch.linspace(-3, 3, T, dtype=torch.float64) ** 2) / 2)
        case _:
            raise ValueError(f"Unknown mode {mode!r}; known: increased, decreased, average, normal.")
    return steps / steps.sum()


def vp_schedule(T: int = 1000, *, beta: str = "linear", beta_start: float = 1e-4, beta_end: float = 0.02) -> Schedule:
    """[DDPM] the variance-preserving schedule; with y = 0 it is RDDM's form of a DDIM model.

    ``beta``: "linear", "scaled_linear" (linear in sqrt(beta)), or "squaredcos_cap_v2" (Nichol & Dhariwal 2021).
    """
    match beta:
        case "linear":
            betas = torch.linspace(beta_start, beta_end, T, dtype=torch.float64)
        case "scaled_linear":
            betas = torch.linspace(beta_start**0.5, beta_end**0.5, T, dtype=torch.float64) ** 2
        case "squaredcos_cap_v2":
            u = torch.arange(T + 1, dtype=torch.float64) / T
            kept = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
            betas = (1 - kept[1:] / kept[:-1]).clip(max=0.999)
        case _:
            raise ValueError(f"Unknown beta {beta!r}; known: linear, scaled_linear, squaredcos_cap_v2.")
    return _from_betas(betas)


def betas_schedule(*, betas: Sequence[float]) -> Schedule:
    """[DDPM] the variance-preserving schedule of any T betas, as diffusers' ``trained_betas``. Raises ValueError."""
    table = torch.tensor(betas, dtype=torch.float64)
    if not ((table > 0) & (table <= 1)).all():
        raise ValueError("betas must lie between 0 and 1.")
    return _from_betas(table)


def _from_betas(betas: Tensor) -> Schedule:
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)])
    return Schedule(shift=1 - alpha_bar.sqrt(), sigma=(1 - alpha_bar).sqrt())


def irsde_schedule(T: int = 100, *, theta: str = "cosine", max_sigma: float = 10.0, eps: float = 0.005) -> Schedule:
    """[IR-SDE] drifts from the picture to y at the speed ``theta`` (cosine, linear or constant), with noise.

    ``max_sigma``: lambda, the noise's standard deviation in the end, in 8-bit levels (below 1: in [0, 1], where the
    net's pictures lie); ``eps``: the share of x0 that is left at t = T.
    """
    kept = torch.exp(-_theta_bar(T, theta, eps))
    return Schedule(shift=1 - kept, sigma=_level(max_sigma) * (1 - kept**2).sqrt())


def denoising_schedule(T: int = 100, *, theta: str = "cosine", max_sigma: float = 75.0, eps: float = 0.04) -> Schedule:
    """[IR-SDE] Denoising-SDE: y is x0 itself, so that x_t is x0 and noise, up to ``max_sigma``."""
    kept = torch.exp(-_theta_bar(T, theta, eps))
    return Schedule(torch.zeros_like(kept), _level(max_sigma) * (1 - kept**2).sqrt(), decay=kept)


def goub_schedule(
    T: int = 100,
    *,
    theta: str = "cosine",
    max_sigma: float = 30.0,
    eps: float = 0.005,
    gamma: float | None = None,
) -> Schedule:
    """[GOUB] IR-SDE, tied to y at t = T: a bridge. ``gamma``: how firmly (UniDB, Zhu et al. 2025), None: for certain.

    At t = T there is nothing of x0 in x_t, and no noise to tell it by; the schedule ends at T - 1.
    """
    bar = _theta_bar(T, theta, eps)
    slack = 0.0 if gamma is None else 1 / gamma
    past, ahead = (_level(max_sigma) ** 2 * (1 - torch.exp(-2 * time)) for time in (bar, bar[-1] - bar))
    left = torch.exp(-bar) * (slack + ahead) / (slack + past[-1])
    sigma = (past * ahead / past[-1]).sqrt()
    bridge = Schedule(shift=1 - left[:-1], sigma=sigma[:-1])
    # theta dt and 2 lambda^2 theta dt, and the pull of Doob's h-transform, which grows without bound towards T. Index 0
    # is never stepped from; its theta is not in ``bar``.
    theta = torch.cat([bar[:1], bar.diff()])
    spread = 2 * _level(max_sigma) ** 2 * theta
    rate = theta + spread * torch.exp(2 * (bar - bar[-1])) / (slack + ahead)
    return replace(bridge, steps=Steps(rate[:-1], spread[:-1], float(spread[-1]) ** 0.5))


def _theta_bar(T: int, theta: str, eps: float) -> Tensor:
    """[IR-SDE] the time-integral of theta at t = 0 ... T, scaled to end at -ln(eps)."""
    if not 0 < eps < 1:
        raise ValueError(f"eps must lie between 0 and 1, not {eps}.")
    match theta:
        case "cosine":
            u = torch.arange(T + 3, dtype=torch.float64) / (T + 2)
            kept = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
            rate = (1 - kept / kept[0])[1:-1]
        case "linear":
            rate = torch.linspace(0.1, 20, T + 1, dtype=torch.float64) / (T + 1)
        case "constant":
            rate = torch.ones(T + 1, dtype=torch.float64)
        case _:
            raise ValueError(f"Unknown theta {theta!r}; known: cosine, linear, constant.")
    bar = rate.cumsum(0) - rate[0]
    return bar * (-math.log(eps) / bar[-1])


def _level(sigma: float) -> float:
    """8-bit levels, or from 0 to 1, as the field writes both; always from 0 to 1."""
    if not sigma > 0:
        raise ValueError(f"max_sigma must be above 0, not {sigma}.")
    return sigma / 255 if sigma >= 1 else sigma


def tables_schedule(*, shift: Sequence[float], sigma: Sequence[float], hold: str = "res") -> Schedule:
    """Any schedule, by its T + 1 values; for converted models whose tables no formula here makes.

    ``hold``: what a step leaves as it is, "res" (RDDM) or "y" (DDPM, IR-SDE).
    """
    if hold not in ("res", "y"):
        raise ValueError(f"Unknown hold {hold!r}; known: res, y.")
    shift, sigma = (torch.tensor(table, dtype=torch.float64) for table in (shift, sigma))
    return Schedule(shift, sigma, decay=torch.ones_like(shift) if hold == "res" else None)


def _from_zero(steps: Tensor) -> Tensor:
    return torch.cat([steps.new_zeros(1), steps.cumsum(0)])


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "rddm": rddm_schedule,
    "vp": vp_schedule,
    "betas": betas_schedule,
    "irsde": irsde_schedule,
    "denoising-sde": denoising_schedule,
    "goub": goub_schedule,
    "tables": tables_schedule,
}
