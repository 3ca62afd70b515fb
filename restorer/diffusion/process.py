"""The step between two times, as the forward process has it and as its reverse takes it. s < t throughout.

Forward, x_t given x_s is a Gaussian about  m_t + k (x_s - m_s),  k = decay_t / decay_s, where m is the mean of x given
x0 and y, m_t = x0 + shift_t (y - x0).

[IR-SDE] Luo et al., ICML 2023.   [DDIM] Song et al., ICLR 2021, eq. 16.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from restorer.diffusion.schedule import Schedule


def posterior_std(schedule: Schedule, t: int, s: int) -> float:
    """Std of q(x_s | x_t, x0, y), any stride. [IR-SDE]; equal to ``rddm_std`` or ``ddim_std`` where these hold."""
    sigma_t, sigma_s = float(schedule.sigma[t]), float(schedule.sigma[s])
    kept = float(schedule.decay[t] / schedule.decay[s]) if schedule.decay[s] > 0 else 1.0
    return sigma_s * max(1 - (kept * sigma_s / sigma_t) ** 2, 0.0) ** 0.5 if sigma_s > 0 else 0.0


def rddm_std(schedule: Schedule, t: int, s: int) -> float:
    """Std of q(x_s | x_t, x0, res): the residual is held. [RDDM] eq. 12 with eta = 1"""
    sigma_t, sigma_s = float(schedule.sigma[t]), float(schedule.sigma[s])
    return sigma_s * max(1 - (sigma_s / sigma_t) ** 2, 0.0) ** 0.5 if sigma_s > 0 else 0.0


def ddim_std(schedule: Schedule, t: int, s: int) -> float:
    """Std of q(x_s | x_t, x0, y): y is held. [DDIM] eq. 16 with eta = 1

    On a readjusted schedule it is that of the model's own, whose decay it has; RDDM's has none of its own.
    """
    sigma_t, sigma_s = float(schedule.sigma[t]), float(schedule.sigma[s])
    left = 1 - schedule.shift if schedule.decay[-1] == 1 else schedule.decay
    left_t, left_s = float(left[t]), float(left[s])
    decay = left_t / left_s if left_s > 0 else 1.0
    return sigma_s * max(1 - (decay * sigma_s / sigma_t) ** 2, 0.0) ** 0.5


class Drift(NamedTuple):
    """What moves x_t in an Euler step back to s: the mean's way, the decay's, and the noise's. float64, like t and s.

    The forward drift is  to_y res - rate sigma eps,  the variance of the noise ``spread``, both times the time.
    """

    to_y: Tensor
    rate: Tensor
    spread: Tensor


def drift(schedule: Schedule, t: int | Tensor, s: int | Tensor) -> Drift:
    """[IR-SDE] theta dt, and 2 lambda^2 theta dt, of the time from s to t; with official schedules the official ones.

    Only the tables are known, not the process between them, so theta is taken to be constant from s to t; where nothing
    decays (RDDM) it is 0, and what is left are the differences of shift and sigma^2. Single steps of a bridge are the
    official ones, see ``Steps``.
    """
    kept = schedule.decay[t] / schedule.decay[s]
    rate = -kept.log()
    added = schedule.sigma[t] ** 2 - (kept * schedule.sigma[s]) ** 2
    still = rate == 0
    safe = torch.where(still, 1.0, rate)
    to_y = (schedule.shift[t] - schedule.shift[s]) * torch.where(still, 1.0, safe / torch.expm1(safe))
    spread = added * torch.where(still, 1.0, -2 * safe / torch.expm1(-2 * safe))
    move = Drift(to_y, rate, spread.clamp(min=0))
    if schedule.steps is None:
        return move
    official, single = schedule.steps, torch.as_tensor(t - s) == 1
    given = Drift(official.rate[t] * (1 - schedule.shift[t]), official.rate[t], official.spread[t])
    return Drift(*(torch.where(single, one, other) for one, other in zip(given, move, strict=True)))


def euler_eps(schedule: Schedule, x: Tensor, y: Tensor, eps: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(weight, what a net must say in place of ``eps``) for an Euler step to t - 1 to end on the best x there.

    ``t``: (N,) for a batch; the weight is how much an error in what it says moves the step. ``true_eps`` undoes it.
    [IR-SDE] J_gamma; official nets are trained to say this, not eps.
    """
    stretch, weight, turned = _euler_terms(schedule, t, x)
    return weight, (stretch * (x - y) - turned * eps) / weight


def true_eps(schedule: Schedule, x: Tensor, y: Tensor, said: Tensor, t: Tensor) -> Tensor:
    """eps of a net that was trained to say ``euler_eps``."""
    stretch, weight, turned = _euler_terms(schedule, t, x)
    return (stretch * (x - y) - weight * said) / turned


def _euler_terms(schedule: Schedule, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """With one eps the best x_s is y + a (x - y) + turned eps, an Euler step y + b (x - y) - weight eps; and b - a."""
    s = t - 1
    move = drift(schedule, t, s)
    left_t, left_s = 1 - schedule.shift[t], 1 - schedule.shift[s]
    sigma_t, sigma_s = schedule.sigma[t], schedule.sigma[s]
    pull = move.to_y / left_t
    weight = (pull - move.rate) * sigma_t + move.spread / sigma_t
    turned = schedule.decay[t] / schedule.decay[s] * sigma_s**2 / sigma_t - left_s / left_t * sigma_t
    terms = 1 + pull - left_s / left_t, weight, turned
    a, b, c = (term.to(x.device, x.dtype).view(-1, 1, 1, 1) for term in terms)
    return a, b, c


NOISE_FLOOR = 1e-6  # official: keeps the logarithm finite for noise of the largest size


def largest_noise(schedule: Schedule) -> Tensor:
    """[IR-SDE] lambda, the noise that the schedule would end at if it never ended. Raises ValueError as below."""
    if schedule.decay[-1] == 1:
        raise ValueError("a start at the picture's own noise must be on a Denoising-SDE schedule.")
    return schedule.sigma[-1] / (1 - schedule.decay[-1] ** 2).sqrt()


def time_of_noise(schedule: Schedule, sigma: float) -> int:
    """The time, 1 ... T, at which the noise in x_t is nearest to ``sigma`` (in the net's range).

    Nearest in the integral of theta, as officially. Raises ValueError for noise beyond the schedule's, and for a
    schedule in which nothing decays. [IR-SDE] Denoising-SDE
    """
    largest = largest_noise(schedule)
    left = float(1 - (sigma / largest) ** 2) + NOISE_FLOOR
    if not (sigma > 0 and left > 0):
        raise ValueError(f"noise must be above 0 and at most {float(largest):.4g}, not {sigma:.4g}.")
    target = -0.5 * torch.tensor(left, dtype=torch.float64).log()
    return int((-schedule.decay[1:].log() - target).abs().argmin()) + 1
