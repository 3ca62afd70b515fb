"""Where x_t lies between the clean picture and y: two tables, whatever the method.

    method   y                  shift_t                         sigma_t
    RDDM     degraded picture   sum of alpha                    sqrt(sum of beta^2)
    DDPM     0                  1 - sqrt(alpha_bar)             sqrt(1 - alpha_bar)

[RDDM] Liu et al., Residual Denoising Diffusion Models, CVPR 2024, eq. 7 and section 4.
[DDPM] Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020, eq. 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Schedule:
    """A diffusion's two tables, each T + 1 float64 values on the CPU; index 0 is the clean picture.

    Raises ValueError when the tables cannot be a schedule: different lengths, not 0 at the clean picture, or falling.
    """

    shift: Tensor
    sigma: Tensor

    def __post_init__(self) -> None:
        if self.shift.shape != self.sigma.shape or self.shift.ndim != 1 or len(self.shift) < 2:
            raise ValueError(f"shift {tuple(self.shift.shape)} and sigma {tuple(self.sigma.shape)} must be equal rows.")
        if self.shift[0] != 0 or self.sigma[0] != 0:
            raise ValueError(f"At t = 0 the picture is clean, not {float(self.shift[0])}, {float(self.sigma[0])}.")
        if not all((table.diff() >= 0).all() for table in (self.shift, self.sigma)):
            raise ValueError("shift and sigma must never fall, nor hold values that are no numbers.")

    @property
    def T(self) -> int:  # noqa: N802 - the field's letter
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
    return Schedule(
        shift=_from_zero(_increments(T, alpha, alpha_power, family)).clip(0, 1),
        sigma=(sum_scale * _from_zero(_increments(T, beta, beta_power, family)).clip(0, 1)).sqrt(),
    )


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


def tables_schedule(*, shift: Sequence[float], sigma: Sequence[float]) -> Schedule:
    """Any schedule, by its T + 1 values; for converted models whose tables no formula here makes."""
    return Schedule(torch.tensor(shift, dtype=torch.float64), torch.tensor(sigma, dtype=torch.float64))


def _from_zero(steps: Tensor) -> Tensor:
    return torch.cat([steps.new_zeros(1), steps.cumsum(0)])


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "rddm": rddm_schedule,
    "vp": vp_schedule,
    "betas": betas_schedule,
    "tables": tables_schedule,
}
