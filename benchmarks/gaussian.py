"""The table of docs/methods/ddnm.md: how far samplers end from the exact posterior where the prior is Gaussian.

    python benchmarks/gaussian.py [--calls 20 100] [--side 16]

The prior is N(0, V diag(d) V^T): d are the variances that pictures with a 1/f spectrum have in the operator's
directions, in the mean 0.5^2; the net is the ideal one. Distance is Wasserstein's between the result's distribution and
the posterior, given y: the root mean square over directions and over y, over the posterior's standard deviation. Its
mean alone, without variance, has 1.

All is linear, and each direction goes its own way; so a batch in which picture k is given 1 in every direction at draw
k, and the last one is given y = 1, shows all coefficients, and nothing is left to chance.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import torch
from torch import Tensor

from restorer.diffusion.linear import SpectralOperator, divide, idct2
from restorer.diffusion.nullspace import NULLSPACE
from restorer.diffusion.operators import parse_operator
from restorer.diffusion.predict import Prediction
from restorer.diffusion.samplers import cubic_grid
from restorer.diffusion.schedule import vp_schedule

VP = vp_schedule(1000)
OPERATORS = ("sr:4", "mask", "gray", "blur:gauss:2", "cs:0.25", "denoise")
NOISE = (0.05, 0.1, 0.4)
METHODS = (
    ("ddnm", 0.85),
    ("ddnm-plus", 0.0),
    ("ddnm-plus", 0.85),
    ("ddnm-plus", 1.0),
    ("ddnm-plus-scalar", 0.85),
    ("ddnm-posterior", 1.0),
    ("ddrm", 0.85),
)
COLOUR = 0.1  # the variance of a colour difference, over that of grey


class Data(NamedTuple):
    """An operator and the prior's variances in its directions, (C, H, W) both of them."""

    op: SpectralOperator
    sv: Tensor
    d: Tensor


def data(word: str, side: int) -> Data:
    keep = (torch.rand(side, side, generator=torch.Generator().manual_seed(0)) >= 0.25) if word == "mask" else None
    op = parse_operator(word, (side, side), keep=keep)
    assert isinstance(op, SpectralOperator)
    f = torch.arange(side, dtype=torch.float64)
    power = 1 / (f[:, None] ** 2 + f**2 + 1)
    waves = idct2(torch.eye(side * side, dtype=torch.float64).view(-1, 1, side, side) * power.sqrt())
    if word == "gray":
        axes = torch.tensor([[1, 1, 1], [1, -1, 0], [1, 1, -2]], dtype=torch.float64)
        axes = axes / axes.norm(dim=1, keepdim=True) * torch.tensor([1, COLOUR, COLOUR]).sqrt()[:, None]
        waves = torch.cat([waves * axis.view(1, 3, 1, 1) for axis in axes])
    d = op.Vt(waves).square().sum(0)
    return Data(op, op.sv.expand_as(d), d * (0.25 / d.mean()))


def distance(method: str, eta: float, case: Data, sigma_y: float, calls: int) -> float:
    op, sv, d = case
    times = cubic_grid(VP.T, calls)
    count = len(times)  # the start, and at most one for each step but the last
    draws = iter(range(count))

    def one_hot(x: Tensor) -> Tensor:
        c = torch.zeros_like(x)
        c[next(draws)] = 1
        return op.V(c)

    def predict(x: Tensor, t: int) -> Prediction:
        scale, sigma = 1 - float(VP.shift[t]), float(VP.sigma[t])
        x0 = op.V(scale * d / (scale**2 * d + sigma**2) * op.Vt(x))
        return Prediction(x0, -x0, (x - scale * x0) / sigma)

    told = torch.zeros(count + 1, *d.shape, dtype=torch.float64)
    told[-1] = divide(torch.ones_like(sv), sv) * sv  # what y / sv is in a direction: 1 where y tells anything
    y = op.A(op.V(told))
    x = float(VP.sigma[times[0]]) * one_hot(told)
    options = {} if method == "ddnm" else {"sigma_y": sigma_y}
    if method == "ddnm-plus-scalar":
        options["sv"] = float(sv[sv > 0].mean())
    *_, last = NULLSPACE[method](predict, VP, op, y, x, times, eta=eta, randn_like=one_hot, **options)
    c = op.Vt(last.x)

    noise = divide(torch.full_like(sv, sigma_y), sv) ** 2
    seen = sv > 0
    trust = torch.where(seen, d / (d + noise), 0)
    spread = (d * (1 - trust)).sqrt()
    apart = (c[-1] - trust) ** 2 * torch.where(seen, d + noise, 0) + (c[:-1].square().sum(0).sqrt() - spread) ** 2
    return float((apart.mean() / spread.square().mean()).sqrt())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--side", type=int, default=16)
    args = parser.parse_args()
    cases = {word: data(word, args.side) for word in OPERATORS}
    for calls in args.calls:
        print(f"{calls} calls:\n")
        print("| operator | sigma_y | " + " | ".join(f"`{name}` {eta:g}" for name, eta in METHODS) + " |")
        print("|---" * (2 + len(METHODS)) + "|")
        for word, case in cases.items():
            for sigma_y in NOISE:
                row = [distance(name, eta, case, sigma_y, calls) for name, eta in METHODS]
                print(f"| `{word}` | {sigma_y} | " + " | ".join(f"{value:.2f}" for value in row) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
