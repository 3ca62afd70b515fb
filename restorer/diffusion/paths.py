"""From x_T to the clean picture along any path, not only a schedule's.

    x = x0 + shift res + sigma eps

holds at every (shift, sigma), so a net that is told both, and whose residual does not depend on sigma nor its noise on
shift, can be led from the start to (0, 0) by way of any points: partially path-independent generation.

[RDDM] Liu et al., CVPR 2024, on partially path-independent generation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from restorer.diffusion.predict import Prediction
from restorer.diffusion.schedule import Schedule
from restorer.diffusion.steps import RandnLike, State

PredictAt = Callable[[Tensor, float, float], Prediction]
"""(x, shift, sigma) -> what the net says there."""

Path = Sequence[tuple[float, float]]

NEAR = 1e-4
"""Numbers that people write are rounded by less."""


def rddm_path(
    predict: PredictAt,
    schedule: Schedule,
    x: Tensor,
    path: Path,
    *,
    eta: float = 0.0,
    randn_like: RandnLike = torch.randn_like,
) -> Iterator[State]:
    """[RDDM] steps from point to point of ``path``, (shift, sigma) pairs that end at (0, 0); a net call for each.

    ``schedule`` is the net's own, within which the path must stay: raises ValueError as ``check_path`` does. x lies at
    the first point. A state's ``t`` counts the points that are left. eta multiplies the *variance* of fresh noise, and
    where sigma does not fall there is none. ``rddm_residual_first`` and ``rddm_noise_first`` are two such paths.
    """
    check_path(schedule, path)
    return _along(predict, x, path, eta, randn_like)


def _along(predict: PredictAt, x: Tensor, path: Path, eta: float, randn_like: RandnLike) -> Iterator[State]:
    for left, ((shift, sigma), (next_shift, next_sigma)) in zip(
        range(len(path) - 2, -1, -1), pairwise(path), strict=True
    ):
        p = predict(x, shift, sigma)
        x0 = x - shift * p.res - sigma * p.eps
        # rddm_std, of two points
        fresh = next_sigma * max(eta * (1 - (next_sigma / sigma) ** 2), 0.0) ** 0.5 if sigma > 0 else 0.0
        kept = max(next_sigma**2 - fresh**2, 0.0) ** 0.5
        x = x - (shift - next_shift) * p.res - (sigma - kept) * p.eps
        if fresh > 0:
            x = x + fresh * randn_like(x)
        yield State(left, x, x0)


def check_path(schedule: Schedule, path: Path) -> None:
    """Raises ValueError for a path that is none from the schedule's start to the clean picture, or leaves its range.

    At the start nothing of x0 may be left, since nothing is known of it: shift is the schedule's at T, or up to 1.
    """
    if len(path) < 2:
        raise ValueError(f"a path has at least two points, its start and 0,0; this one has {len(path)}.")
    # A schedule made from DDIM ends at a sigma of 0.99998 and is meant to end at 1.
    most_sigma = float(schedule.sigma.max()) * (1 + NEAR)
    for i, (shift, sigma) in enumerate(path, 1):
        if not (math.isfinite(shift) and math.isfinite(sigma)):
            raise ValueError(f"point {i} of the path is {shift:g},{sigma:g}; both must be finite numbers.")
        if not (0 <= shift <= 1 and 0 <= sigma <= most_sigma):
            raise ValueError(
                f"point {i} of the path is {shift:g},{sigma:g}; the model knows shifts from 0 to 1 and sigmas from 0 "
                f"to {float(schedule.sigma.max()):.6g}."
            )
    if tuple(path[-1]) != (0, 0):
        raise ValueError(f"the path ends at {path[-1][0]:g},{path[-1][1]:g}; it must end at 0,0, the clean picture.")
    start = float(schedule.shift[-1])
    if path[0][0] < start - NEAR:
        raise ValueError(
            f"the path starts at shift {path[0][0]:g}; it must start at {start:.6g} or up to 1, "
            "where nothing of the picture is left."
        )
