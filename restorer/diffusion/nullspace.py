"""Zero-shot restoration: an unconditional prior, a linear operator, and a picture that went through it.

    y = A x0 + sigma_y n,     x_t = (1 - shift_t) x0 + sigma_t eps      (the prior's own y is 0)

Every sampler here takes ``predict``, which answers what the prior thinks of x_t, (N, C, H, W) in the net's range, at
time t; the operator and ``y``, what it left of the pictures, in the same units; ``x``, the prior's start, noise of
standard deviation sigma at times[0]; and ``times``, falling to 0. ``sigma_y``, the standard deviation of the noise in
y, is in the net's range: noise of 0.1 in pictures in [0, 1] is 0.2 to a net that works in [-1, 1].

``eta`` is the share of *all* of the noise in x_s that is drawn anew, in standard deviation, as in [DDRM] and official
[DDNM]; not DDIM's, which is a share of the posterior's. ``repaint`` has DDIM's.

``times`` may rise in between, as ``travel_grid`` makes them: then noise is put back by the forward process. One State
is yielded for each net call; its x0 is what the measurement has made of the prediction. Where y has no noise the result
meets A x = y. All raise ValueError for an ``eta`` outside 0 ... 1, a ``sigma_y`` below 0, or what they cannot treat.

[DDNM] Wang et al., ICLR 2023.   [DDRM] Kawar et al., NeurIPS 2022.   [RePaint] Lugmayr et al., CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from restorer.diffusion.correction import along, check_noise, ddrm_gains, gains, gap, heard, posterior_gains
from restorer.diffusion.nullspace_official import ddnm_official, ddnm_official_simplified
from restorer.diffusion.predict import Prediction
from restorer.diffusion.process import ddim_std
from restorer.diffusion.schedule import Schedule
from restorer.diffusion.steps import Predict, RandnLike, State, x0_step

if TYPE_CHECKING:
    from restorer.diffusion.linear import LinearOperator, SpectralOperator

Move = Callable[[Tensor, Prediction, int, int], tuple[Tensor, Tensor]]
"""(x_t, prediction, t, s) to (x_s, corrected x0)."""


def ddnm(
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
    """[DDNM] for y without noise: what y says of x0 is put in its place at every step, the prior fills in the rest.

    Raises ValueError for a sigma_y other than 0.
    """
    check_noise(eta, sigma_y)
    _check_clear("ddnm", sigma_y)

    def move(x: Tensor, p: Prediction, t: int, s: int) -> tuple[Tensor, Tensor]:
        x0 = p.x0 - gap(op, y, p.x0)
        scale, sigma = _place(schedule, s)
        if s == 0:
            return x0, x0
        x = scale * x0 + sigma * (1 - eta**2) ** 0.5 * p.eps
        return (x + sigma * eta * randn_like(x) if eta > 0 else x), x0

    return _walk(predict, schedule, x, times, move, randn_like)


def ddnm_plus(
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
    """[DDNM] DDNM+ for y with noise: each direction is corrected as far as its noise allows; with none it is ``ddnm``.

    Below sigma_s = sigma_y / sv the prior takes over, and the last step corrects nothing if there is noise. What y says
    is then known as well as x_t held it, so ``times`` should lie close together about there.
    """
    check_noise(eta, sigma_y)

    def move(x: Tensor, p: Prediction, t: int, s: int) -> tuple[Tensor, Tensor]:
        g = gains(op.sv.to(x), schedule, s, sigma_y, eta)
        x0 = p.x0 - along(op, g.correct, gap(op, y, p.x0))
        if s == 0:
            return x0, x0
        noise = g.old * op.Vt(p.eps)
        if eta > 0 or sigma_y > 0:
            noise = noise + g.fresh * op.Vt(randn_like(x))
        return _place(schedule, s)[0] * x0 + op.V(noise), x0

    return _walk(predict, schedule, x, times, move, randn_like)


def ddnm_plus_scalar(
    predict: Predict,
    schedule: Schedule,
    op: LinearOperator,
    y: Tensor,
    x: Tensor,
    times: Sequence[int],
    *,
    sigma_y: float = 0.0,
    eta: float = 0.85,
    sv: float = 1.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[DDNM] simplified DDNM+, for operators that know no singular values: one gain for all that y tells.

    ``sv``: the one singular value, above 0, that all of them are taken to be. Where they are, this is ``ddnm_plus``: 1
    for masks, 1/r for means over r x r pixels. The paper scales the null space's noise as well, which leaves too little
    there; pinv(A(v)) tells the two apart, so here it keeps its own.
    """
    check_noise(eta, sigma_y)
    if not sv > 0:
        raise ValueError(f"sv must be above 0, not {sv}.")

    def move(x: Tensor, p: Prediction, t: int, s: int) -> tuple[Tensor, Tensor]:
        seen = gains(torch.tensor(sv, dtype=torch.float64), schedule, s, sigma_y, eta)
        unseen = gains(torch.zeros((), dtype=torch.float64), schedule, s, sigma_y, eta)
        x0 = p.x0 - float(seen.correct) * gap(op, y, p.x0)
        if s == 0:
            return x0, x0
        z = randn_like(x) if eta > 0 or sigma_y > 0 else torch.zeros_like(x)
        noise, told = (float(g.fresh) * z + float(g.old) * p.eps for g in (unseen, seen))
        return _place(schedule, s)[0] * x0 + noise + op.pinv(op.A(told - noise)), x0

    return _walk(predict, schedule, x, times, move, randn_like)


def ddnm_posterior(
    predict: Predict,
    schedule: Schedule,
    op: SpectralOperator,
    y: Tensor,
    x: Tensor,
    times: Sequence[int],
    *,
    sigma_y: float = 0.0,
    eta: float = 1.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[DDNM] as the paper writes it: draws from q(x_s | x_t, corrected x0), any stride.

    What y's noise left in x_t is counted again, as in the paper; ``ddnm_plus`` does not. Needs sv, V and Vt of the
    operator only if sigma_y > 0. Raises ValueError for an eta other than 1.
    """
    check_noise(eta, sigma_y)
    if eta != 1:
        raise ValueError(f"ddnm-posterior draws all of the noise, so eta is 1, not {eta}; ddnm-plus takes any eta.")

    def move(x: Tensor, p: Prediction, t: int, s: int) -> tuple[Tensor, Tensor]:
        std, off = ddim_std(schedule, t, s), gap(op, y, p.x0)
        z = randn_like(x) if s > 0 else None
        if sigma_y > 0:
            scale_t, sigma_t = _place(schedule, t)
            scale_s, sigma_s = _place(schedule, s)
            kept = max(sigma_s**2 - std**2, 0.0) ** 0.5 / sigma_t
            g = posterior_gains(op.sv.to(x), scale_s - kept * scale_t, std, sigma_y)
            off = along(op, g.correct, off)
            z = None if z is None else along(op, g.fresh / std, z)
        x0 = p.x0 - off
        return x0_step(schedule, x, p._replace(x0=x0, res=-x0), t, s, std, z), x0

    return _walk(predict, schedule, x, times, move, randn_like)


def ddrm(
    predict: Predict,
    schedule: Schedule,
    op: SpectralOperator,
    y: Tensor,
    x: Tensor,
    times: Sequence[int],
    *,
    sigma_y: float = 0.0,
    eta: float = 0.85,
    eta_y: float = 1.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[DDRM]: starts at what y says, and fills up with fresh noise where y tells more than x_s can hold.

    ``eta_y``, the paper's eta_b, 0 to 1: how far x0 gives way to y there. The official code leaves the last x0 as
    predicted; ours meets y if that has no noise.
    """
    check_noise(eta, sigma_y)
    if not 0 <= eta_y <= 1:
        raise ValueError(f"eta_y must be from 0 to 1, not {eta_y}.")

    def move(x: Tensor, p: Prediction, t: int, s: int) -> tuple[Tensor, Tensor]:
        if s == 0 and sigma_y == 0:
            x0 = p.x0 - gap(op, y, p.x0)
            return x0, x0
        g = ddrm_gains(op.sv.to(x), schedule, s, sigma_y, eta, eta_y)
        x0 = p.x0 - along(op, g.correct, gap(op, y, p.x0))
        if s == 0:
            return x0, x0
        noise = g.old * op.Vt(p.eps) + g.fresh * op.Vt(randn_like(x))
        return _place(schedule, s)[0] * x0 + op.V(noise), x0

    def started(x: Tensor, t: int, first: bool) -> Tensor:
        return ddrm_start(schedule, op, y, x, t, sigma_y) if first else x

    return _walk(predict, schedule, x, times, move, randn_like, started)


def ddrm_start(schedule: Schedule, op: SpectralOperator, y: Tensor, x: Tensor, t: int, sigma_y: float) -> Tensor:
    """x_t that is about y wherever y is the less noisy of the two, made from the prior's ``x``. [DDRM]"""
    scale, sigma = _place(schedule, t)
    sv = op.sv.to(x)
    floor = heard(sv, scale, sigma_y)
    room = (sv > 0) & (floor < sigma)
    left = torch.where(room, (1 - (floor / sigma) ** 2).clamp(min=0).sqrt(), 1)
    return op.V(left * op.Vt(x) + scale * room * op.Vt(op.pinv(y)))


def repaint(
    predict: Predict,
    schedule: Schedule,
    op: LinearOperator,
    y: Tensor,
    x: Tensor,
    times: Sequence[int],
    *,
    sigma_y: float = 0.0,
    eta: float = 1.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[RePaint]: before each step but the first what y tells is put into x_t, with noise of x_t's size.

    Made for masks and for ``travel_grid``; with other operators what pinv(A(x)) keeps is replaced. eta is DDIM's; 1 is
    the paper. Draws twice a step. Raises ValueError for a sigma_y other than 0.
    """
    check_noise(eta, sigma_y)
    _check_clear("repaint", sigma_y)

    def painted(x: Tensor, t: int, first: bool) -> Tensor:
        if first:
            return x
        scale, sigma = _place(schedule, t)
        return x + op.pinv(scale * y + op.A(sigma * randn_like(x) - x))

    def move(x: Tensor, p: Prediction, t: int, s: int) -> tuple[Tensor, Tensor]:
        if s == 0:
            x0 = p.x0 - gap(op, y, p.x0)
            return x0, x0
        std = eta * ddim_std(schedule, t, s)
        z = randn_like(x) if std > 0 else None
        return x0_step(schedule, x, p._replace(res=-p.x0), t, s, std, z), p.x0

    return _walk(predict, schedule, x, times, move, randn_like, painted)


def travel_grid(times: Sequence[int], length: int, repeat: int) -> list[int]:
    """``times`` with time travel: from every ``length``-th time back up by ``length``, so that each stretch is walked
    ``repeat`` times. [DDNM] time travel, [RePaint] resampling

    ``times`` fall to 0. Stretches are counted from the last noisy time, and the first one is walked once. repeat = 1
    leaves the times as they are. Raises ValueError for a length or repeat below 1.
    """
    if length < 1 or repeat < 1:
        raise ValueError(f"length and repeat of time travel must be 1 or more, not {length} and {repeat}.")
    noisy, grid = list(times[:-1])[::-1], []
    left = dict.fromkeys(range(0, len(noisy) - length, length), repeat - 1)
    at = len(noisy)
    while at > 0:
        at -= 1
        grid.append(noisy[at])
        if left.get(at, 0) > 0:
            left[at] -= 1
            grid.extend(noisy[at + 1 : at + length + 1])
            at += length
    return [*grid, times[-1]]


def _walk(
    predict: Predict,
    schedule: Schedule,
    x: Tensor,
    times: Sequence[int],
    move: Move,
    randn_like: RandnLike,
    ready: Callable[[Tensor, int, bool], Tensor] = lambda x, t, first: x,
) -> Iterator[State]:
    for i, (t, s) in enumerate(pairwise(times)):
        if s > t:
            x = _forward(schedule, x, t, s, randn_like(x))
        else:
            x = ready(x, t, i == 0)
            x, x0 = move(x, predict(x, t), t, s)
            yield State(s, x, x0)


def _forward(schedule: Schedule, x: Tensor, t: int, s: int, z: Tensor) -> Tensor:
    """Back up in time, s > t: a draw from q(x_s | x_t). [DDNM] time travel"""
    scale_t, sigma_t = _place(schedule, t)
    scale_s, sigma_s = _place(schedule, s)
    kept = scale_s / scale_t
    return kept * x + max(sigma_s**2 - (kept * sigma_t) ** 2, 0.0) ** 0.5 * z


def _place(schedule: Schedule, t: int) -> tuple[float, float]:
    """The share of x0 in x_t, and the noise."""
    return 1 - float(schedule.shift[t]), float(schedule.sigma[t])


def _check_clear(name: str, sigma_y: float) -> None:
    if sigma_y != 0:
        raise ValueError(f"{name} takes y to be free of noise, so sigma_y is 0, not {sigma_y}; try ddnm-plus.")


NULLSPACE: dict[str, Callable[..., Iterator[State]]] = {
    "ddnm": ddnm,
    "ddnm-plus": ddnm_plus,
    "ddnm-plus-scalar": ddnm_plus_scalar,
    "ddnm-posterior": ddnm_posterior,
    "ddrm": ddrm,
    "repaint": repaint,
    "ddnm-official": ddnm_official,
    "ddnm-official-simplified": ddnm_official_simplified,
}
