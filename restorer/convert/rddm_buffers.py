"""The schedule in an official RDDM checkpoint: twelve buffers, found again among our builders, or kept as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from torch import Tensor

from restorer.convert.checkpoints import some
from restorer.diffusion.schedule import SCHEDULES, Schedule
from restorer.errors import ModelError

BUFFERS = (
    *("alphas", "alphas_cumsum", "one_minus_alphas_cumsum"),
    *("betas2", "betas", "betas2_cumsum", "betas_cumsum"),
    *("posterior_mean_coef1", "posterior_mean_coef2", "posterior_mean_coef3"),
    *("posterior_variance", "posterior_log_variance_clipped"),
)
"""Official names; each has T values, for the noisy times. Two of them are the schedule, the others follow from it."""

LONGEST = 100_000
"""The most values of a buffer; official ones have 1000."""

FAR = 5e-6
"""Float32 sums of a thousand terms stay below this; the nearest two schedules here are 1e-4 apart."""


def schedule_of(buffers: Mapping[str, Tensor], where: str) -> dict[str, Any]:
    """A card's ``schedule`` table for official buffers. Raises ``ModelError`` when they are none or disagree."""
    missing = [name for name in BUFFERS if name not in buffers]
    if missing:
        raise ModelError(f"{where}: expected the schedule's {len(BUFFERS)} buffers, but missing: {some(missing)}.")
    shapes = {tuple(buffers[name].shape) for name in BUFFERS}
    if len(shapes) > 1 or any(len(shape) != 1 or not 0 < shape[0] <= LONGEST for shape in shapes):
        found = some(f"{name} {tuple(buffers[name].shape)}" for name in BUFFERS)
        raise ModelError(f"{where}: the schedule's buffers must be rows of one length, 1 to {LONGEST}; found {found}.")
    table = {name: buffers[name].double() for name in BUFFERS}
    shift, sigma = table["alphas_cumsum"], table["betas_cumsum"]
    # The official last value is not 1 - shift but 1e-6.
    for name, derived in (("betas2_cumsum", sigma**2), ("one_minus_alphas_cumsum", 1 - shift)):
        if not _near(table[name][:-1], derived[:-1]):
            raise ModelError(f"{where}: the schedule's buffers disagree: {name} does not follow from the others.")
    return _named(shift, sigma) or _tables(shift, sigma, where)


def _named(shift: Tensor, sigma: Tensor) -> dict[str, Any] | None:
    """The first of our builders' schedules that is this one."""
    for table in _candidates(len(shift), float(sigma[-1]) ** 2):
        try:
            made = _build(table)
        except ValueError:  # a builder that cannot make one this short or this loud
            continue
        scale = float(made.sigma[-1])
        if _near(shift, made.shift[1:]) and _near(sigma / scale, made.sigma[1:] / scale):
            return table
    return None


def _candidates(T: int, sum_scale: float) -> Iterator[dict[str, Any]]:
    sum_scale = float(f"{sum_scale:.6g}")  # as it was written before it became a float32's root
    modes = ("decreased", "increased", "average", "normal")
    for family, alpha, beta in product(("integer", "linspace"), modes, modes):
        yield {"kind": "rddm", "T": T, "alpha": alpha, "beta": beta, "sum_scale": sum_scale, "family": family}
    for beta in ("linear", "scaled_linear", "squaredcos_cap_v2"):
        yield {"kind": "vp", "T": T, "beta": beta}


def _build(table: Mapping[str, Any]) -> Schedule:
    options = dict(table)
    return SCHEDULES[options.pop("kind")](**options)


def _tables(shift: Tensor, sigma: Tensor, where: str) -> dict[str, Any]:
    table = {"kind": "tables", "shift": _digits(shift), "sigma": _digits(sigma)}
    try:
        _build(table)
    except ValueError as error:
        raise ModelError(f"{where}: the buffers are no schedule: {error}") from error
    return table


def _digits(row: Tensor) -> list[float]:
    """The values of T float32s behind the 0 of the clean picture, in digits enough to get them back."""
    return [0.0, *(float(f"{value:.9g}") for value in row.tolist())]


def _near(found: Tensor, wanted: Tensor) -> bool:
    return bool(((found - wanted).abs() <= FAR).all())
