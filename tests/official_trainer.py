"""Files as the official RDDM trainers save them, and official sampling written out, without the official code."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from official_rddm import official_shapes


class Layout(NamedTuple):
    """How an official experiment makes and keeps its model. ``family``: of the schedule's buffers."""

    form: str = "two"
    channels: int = 6
    family: str = "double"
    sum_scale: float = 1.0
    optimisers: tuple[str, ...] = ("opt",)
    time: str = "index"
    phases: bool = False
    generation: bool = False
    share: float | None = None


LAYOUTS = {
    "raindrop": Layout(),
    "gopro": Layout(optimisers=("opt0", "opt1")),
    "istd": Layout(channels=9, sum_scale=0.01),
    "lol": Layout("one"),
    "sid-rgb": Layout("one", sum_scale=0.01),
    "celeba64": Layout(channels=3, family="single", optimisers=("opt0", "opt1"), generation=True),
    "celeba64-path": Layout(
        channels=3, family="ddim", optimisers=("opt0", "opt1"), time="both", phases=True, generation=True
    ),
    "inpaint": Layout(channels=3, family="single", optimisers=("opt0", "opt1"), time="both"),
    "translate": Layout(channels=3, family="ddim", optimisers=("opt0", "opt1"), time="both"),
}


# ------------------------------------------------------------------------------------------------ files


def buffers(family="double", sum_scale=1.0, T=1000):
    """The twelve buffers: "double" is experiment 2's, "single" is 4's and 6's, "ddim" is 0's, 3's and 5's."""
    if family == "ddim":
        kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T), dim=0)
        shift, variance = 1 - kept.sqrt(), 1 - kept
        alphas, betas2 = (torch.cat([v.new_zeros(1), v.diff()]) for v in (shift, variance))
    else:
        if family == "double":
            rising = torch.arange(1, T + 1, dtype=torch.float64) / (T * (T + 1) / 2)
        else:
            rising = torch.linspace(0, 1, T)
            rising = rising / rising.sum()
        alphas, betas2 = rising.flip(0), rising * sum_scale
        shift, variance = (v.cumsum(0).clip(0, 1) for v in (alphas, betas2))
    return derived(alphas, betas2, shift, variance)


def derived(alphas, betas2, shift, variance):
    one = shift.new_ones(1)
    shift_before, variance_before = torch.cat([one, shift[:-1]]), torch.cat([one, variance[:-1]])
    left = 1 - shift
    left[-1] = 1e-6
    posterior = betas2 * variance_before / variance
    posterior[0] = 0
    mean1 = variance_before / variance
    mean2 = (betas2 * shift_before - variance_before * alphas) / variance
    mean3 = betas2 / variance
    mean1[0], mean2[0], mean3[0] = 0, 0, 1
    made = {
        "alphas": alphas,
        "alphas_cumsum": shift,
        "one_minus_alphas_cumsum": left,
        "betas2": betas2,
        "betas": betas2.sqrt(),
        "betas2_cumsum": variance,
        "betas_cumsum": variance.sqrt(),
        "posterior_mean_coef1": mean1,
        "posterior_mean_coef2": mean2,
        "posterior_mean_coef3": mean3,
        "posterior_variance": posterior,
        "posterior_log_variance_clipped": posterior.clamp(min=1e-20).log(),
    }
    return {name: values.float() for name, values in made.items()}


def random_state(form, channels, *, seed=0, dim=8, mults=(1, 2)):
    """Random weights under the official names; what only scales is near 1."""
    rng, state = torch.Generator().manual_seed(seed), {}
    for key, shape in official_shapes(form, channels, dim, mults).items():
        values = torch.randn(shape, generator=rng)
        gain = key.endswith(".g") or (".norm." in key and key.endswith("weight"))
        state[key] = 1 + 0.1 * values if gain else values / max(1, values[0].numel()) ** 0.5
    return state


def model_state(layout, weights=None, schedule=None):
    weights = random_state(layout.form, layout.channels) if weights is None else weights
    schedule = buffers(layout.family, layout.sum_scale) if schedule is None else schedule
    share = {} if layout.share is None else {"alpha_res": torch.tensor([layout.share])}
    return {**share, **schedule, **{f"model.{key}": value for key, value in weights.items()}}


def trainer(layout, ema=None, **more):
    """What an official trainer saves; the online model is another than its EMA, which ``ema`` is."""
    ema = model_state(layout) if ema is None else ema
    online = {key: value + 0.3 if key.startswith("model.") else value for key, value in ema.items()}
    averages = {"initted": torch.tensor([1.0]), "step": torch.tensor([100])}
    averages |= {f"online_model.{key}": value for key, value in online.items()}
    averages |= {f"ema_model.{key}": value for key, value in ema.items()}
    states = {name: {"state": {}, "param_groups": [{"lr": 8e-5, "params": [0]}]} for name in layout.optimisers}
    return {"step": 100, "model": online, **states, "ema": averages, "scaler": None, **more}


# ------------------------------------------------------------------------------------------------ sampling


@torch.inference_mode()
def official_picture(net, layout, y, mask, steps, noise):
    """Official sampling, eta 0, in [0, 1]; ``net``: the two outputs, or the one, of (N, channels, H, W) and times."""
    table = buffers(layout.family, layout.sum_scale)
    shift, sigma = table["alphas_cumsum"].tolist(), table["betas_cumsum"].tolist()
    y = 0 * y if layout.generation else 2 * y - 1
    x = y + layout.sum_scale**0.5 * noise
    grid = [int(t) for t in torch.linspace(-1, 999, steps + 1).flip(0)]
    for phase in ("res", "eps") if layout.phases else ("both",):
        for t, after in pairwise(grid):
            shown = torch.cat([x, y, mask][: layout.channels // 3], dim=1)
            both = torch.tensor([[1000 * shift[t], 1000 * sigma[t]]])
            out = net(shown, both if layout.time == "both" else torch.tensor([float(t)]))
            res = out[:, :3].clamp(-1, 1)
            if layout.form == "one":
                eps, x0 = (x - y - (shift[t] - 1) * res) / sigma[t], (y - res).clamp(-1, 1)
            else:
                eps = out[:, 3:]
                x0 = (x - shift[t] * res - sigma[t] * eps).clamp(-1, 1)
            if after < 0:
                x = x0
                continue
            x = x - (phase != "eps") * (shift[t] - shift[after]) * res
            x = x - (phase != "res") * (sigma[t] - sigma[after]) * eps
    return (x + 1) / 2
