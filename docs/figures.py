"""Draw the figures of the documentation: python docs/figures.py. They are committed beside the pages."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from restorer.diffusion.predict import Prediction
from restorer.diffusion.samplers import SAMPLERS, natural_eta, time_grid
from restorer.diffusion.schedule import Schedule, irsde_schedule, rddm_schedule, vp_schedule
from restorer.plot import line_chart

METHODS = Path(__file__).parent / "methods"
STEPS = 50


def paths() -> dict[str, list[tuple[float, float]]]:
    """Name -> (sigma, shift) points from the start, at the upper right, to the clean picture at 0, 0."""
    own, ddim = rddm_schedule(), vp_schedule()
    times = time_grid(1000, STEPS)
    top_shift, top_sigma = float(own.shift[-1]), float(own.sigma[-1])

    def along(shift: torch.Tensor, sigma: torch.Tensor) -> list[tuple[float, float]]:
        return [(float(sigma[t]), float(shift[t])) for t in times]

    return {
        "joint (rddm)": along(own.shift, own.sigma),
        "rddm-residual-first": [(top_sigma, top_shift), (top_sigma, 0.0), (0.0, 0.0)],
        "rddm-noise-first": [(top_sigma, top_shift), (0.0, top_shift), (0.0, 0.0)],
        "--alpha-schedule decreased:0.3": along(rddm_schedule(alpha_power=0.3).shift, own.sigma),
        "DDIM": along(ddim.shift, ddim.sigma),
    }


M, V, Y = 0.3, 0.04, 0.7  # mean and variance of the clean pixels, and their degraded value
SOLVERS = ("euler", "ode", "posterior", "ode-1", "ode-2", "ode-3", "sde-2")  # sde-1 is the posterior
CALLS = (5, 10, 20, 40, 80, 160)


def orders() -> dict[str, list[tuple[float, float]]]:
    """Sampler -> (net calls, how far the end is from the clean pictures' distribution), for Gaussian data.

    The distance is Wasserstein's, in standard deviations of the data: errors of mean and deviation together. The net is
    the ideal one, E[x0 | x_t], which is affine in x_t; so is every state in the noise drawn, and a batch whose picture
    k is given noise 1 at draw k and 0 at others shows the coefficients: the errors are exact.
    """
    schedule = irsde_schedule(1000, max_sigma=50)
    return {name: [(calls, _distance(name, schedule, calls)) for calls in CALLS] for name in SOLVERS}


def _distance(name: str, schedule: Schedule, calls: int) -> float:
    draws = iter(range(calls + 1))

    def one_hot(x: Tensor) -> Tensor:
        noise = torch.zeros_like(x)
        noise[next(draws)] = 1
        return noise

    left = 1 - float(schedule.shift[-1])
    x = torch.full((calls + 2, 1, 1, 1), left * M + (1 - left) * Y, dtype=torch.float64)
    x = x + (left**2 * V + float(schedule.sigma[-1]) ** 2) ** 0.5 * one_hot(x)
    times = time_grid(schedule.T, calls)
    run = SAMPLERS[name](_ideal(schedule), schedule, x, times, eta=natural_eta(name), randn_like=one_hot)
    *_, last = run
    *touched, still = last.x.flatten().tolist()
    spread = sum((v - still) ** 2 for v in touched) ** 0.5
    return ((still - M) ** 2 + (spread - V**0.5) ** 2) ** 0.5 / V**0.5


def _ideal(schedule: Schedule):
    def predict(x: Tensor, t: int) -> Prediction:
        left, sigma = 1 - float(schedule.shift[t]), float(schedule.sigma[t])
        x0 = M + left * V / (left**2 * V + sigma**2) * (x - left * M - (1 - left) * Y)
        return Prediction(x0, Y - x0, (x - left * x0 - (1 - left) * Y) / sigma)

    return predict


if __name__ == "__main__":
    chart = line_chart(
        paths(),
        title="From noise (upper right) to the clean picture (0, 0)",
        x="sigma: how much noise is in x",
        y="shift: how much of the residual is in x",
    )
    chart.save(METHODS / "rddm_paths.png", optimize=True)
    errors = orders()
    for name, points in errors.items():
        print(f"| `{name}` | " + " | ".join(f"{error:.1e}" for _, error in points) + " |")
    chart = line_chart(
        errors,
        title="IR-SDE, Gaussian data, the ideal net: error by number of net calls",
        x="net calls",
        y="distance from the truth, in its standard deviations",
        log_x=True,
        log_y=True,
    )
    chart.save(METHODS / "irsde_orders.png", optimize=True)
