"""What a measurement y = A x0 + sigma_y n says about a guess of x0, and what noise it brings into x_s.

An operator splits a picture into directions: the coordinates of Vt(x). In a direction of singular value sv > 0 the
measurement tells x0 up to noise of standard deviation sigma_y / sv; where sv = 0, the null space, it tells nothing.

[DDNM] Wang et al., Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, ICLR 2023.
[DDRM] Kawar et al., Denoising Diffusion Restoration Models, NeurIPS 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from restorer.diffusion.schedule import Schedule

if TYPE_CHECKING:
    from restorer.diffusion.linear import LinearOperator, SpectralOperator


class Gains(NamedTuple):
    """Factors, one a direction, shaped as ``sv``: on the correction of x0, on fresh noise, and on the old noise eps."""

    correct: Tensor
    fresh: Tensor
    old: Tensor


def gap(op: LinearOperator, y: Tensor, x0: Tensor) -> Tensor:
    """What of ``x0`` (N, C, H, W) contradicts ``y``: x0 less this is the nearest picture with A x = y. [DDNM] eq. 12"""
    return op.pinv(op.A(x0) - y)


def along(op: SpectralOperator, gain: Tensor, v: Tensor) -> Tensor:
    """V diag(gain) V^T v: a picture, each of its directions scaled."""
    return op.V(gain * op.Vt(v))


def heard(sv: Tensor, scale: float, sigma_y: float) -> Tensor:
    """Standard deviation of the noise that ``scale`` times a fully corrected x0 has from y; 0 where sv = 0."""
    return torch.where(sv > 0, scale * sigma_y / sv, 0)


def gains(sv: Tensor, schedule: Schedule, s: int, sigma_y: float, eta: float) -> Gains:
    """DDNM+ for every operator: how far to trust y in a step to ``s``, and how much noise to add. [DDNM] eq. 17 and 51

    ``sv``: any shape, at least 0; ``sigma_y``: in the net's range; ``eta``: 0 to 1. With the true x0 the noise of y,
    the fresh and the old together have variance sigma_s^2 in every direction:

        nothing of y's noise arrives     correct, and mix fresh and old noise by eta
        less than sigma_s arrives        correct, and fill up with fresh noise; the old noise holds y's already
        more would arrive                correct only by as much as leaves room for a share eta of fresh noise
    """
    sigma = float(schedule.sigma[s])
    floor = heard(sv, 1 - float(schedule.shift[s]), sigma_y)
    calm = (1 - eta**2) ** 0.5
    silent, room = floor == 0, floor <= sigma
    correct = torch.where(room, 1, calm * sigma / floor)
    fresh = torch.where(room & ~silent, (sigma**2 - floor**2).clamp(min=0).sqrt(), eta * sigma)
    return Gains(correct, fresh, calm * sigma * silent.to(fresh.dtype))


def ddrm_gains(sv: Tensor, schedule: Schedule, s: int, sigma_y: float, eta: float, eta_y: float) -> Gains:
    """[DDRM] as ``gains``, but correct by ``eta_y`` wherever there is room, and fill up with fresh noise alone.

    With eta_y = 1 and sigma_y > 0 it is DDNM+; without noise DDNM keeps a part of the old.
    """
    sigma = float(schedule.sigma[s])
    floor = heard(sv, 1 - float(schedule.shift[s]), sigma_y)
    room = (sv > 0) & (floor <= sigma)
    g = gains(sv, schedule, s, sigma_y, eta)
    filled = (sigma**2 - (eta_y * floor) ** 2).clamp(min=0).sqrt()
    return Gains(torch.where(room, eta_y, g.correct), torch.where(room, filled, g.fresh), torch.where(room, 0, g.old))


def posterior_gains(sv: Tensor, scale: float, std: float, sigma_y: float) -> Gains:
    """[DDNM] eq. 17 to 19 for a draw of standard deviation ``std`` whose mean holds ``scale`` times x0.

    The paper's Sigma_t and Phi_t: what y brings is taken off the variance of the draw, and x0 is corrected by no more
    than that variance can bear. Where y brings nothing, in full.
    """
    floor = heard(sv, scale, sigma_y)
    correct = torch.where(floor <= std, 1, std / floor)
    fresh = (std**2 - (correct * floor) ** 2).clamp(min=0).sqrt()
    return Gains(correct, fresh, torch.zeros_like(fresh))


def check_noise(eta: float, sigma_y: float) -> None:
    """Raises ValueError for a share of fresh noise outside 0 ... 1, or noise in y below 0."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be from 0 to 1, not {eta}.")
    if not sigma_y >= 0:
        raise ValueError(f"sigma_y must be 0 or more, not {sigma_y}.")
