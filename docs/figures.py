"""Draw the figures of the documentation: python docs/figures.py. They are committed beside the pages."""

from __future__ import annotations

from pathlib import Path

import torch

from restorer.diffusion.samplers import time_grid
from restorer.diffusion.schedule import rddm_schedule, vp_schedule
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


if __name__ == "__main__":
    chart = line_chart(
        paths(),
        title="From noise (upper right) to the clean picture (0, 0)",
        x="sigma: how much noise is in x",
        y="shift: how much of the residual is in x",
    )
    chart.save(METHODS / "rddm_paths.png", optimize=True)
