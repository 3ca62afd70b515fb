"""What a net says about x_t, put in one form: the clean picture, the residual and the noise.

Nets differ in what they were trained to output and in what they are fed; samplers see a ``Prediction`` only.

[RDDM] Liu et al., CVPR 2024, section 3 and the supplement's list of objectives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from restorer.diffusion.guidance import GUIDED, Guide
from restorer.diffusion.process import true_eps
from restorer.diffusion.schedule import Schedule

FLOOR = 1e-6
"""Official stand-in for 1 - shift, the share of x0 left in x_t, where that is 0 and something is divided by it."""


class Prediction(NamedTuple):
    """Three views of one guess, each NCHW in the net's range. They may disagree where one of them was clipped."""

    x0: Tensor
    res: Tensor
    eps: Tensor


class Net(Protocol):
    """A network: NCHW input and float times in; NCHW out, several outputs side by side.

    Times are one a picture, (N,), or for a pair of nets that are told different ones (N, 2). See TIMES. A net of
    classes takes a third argument, (N,) whole numbers.
    """

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        """See the class."""


class Codec(Protocol):
    """What stands between pictures and the latents that a net restores; ``hidden`` is known to it alone."""

    def encode(self, x: Tensor) -> tuple[Tensor, Any]:
        """(N, 3, H, W) to (latent, hidden)."""

    def decode(self, latent: Tensor, hidden: Any) -> Tensor:
        """Back to (N, 3, H, W), with what ``encode`` kept of a picture."""


class Point(NamedTuple):
    """The state a net was asked about, with what is needed to turn one of its outputs into the others."""

    x: Tensor
    y: Tensor
    schedule: Schedule
    t: int
    clip_x0: Callable[[Tensor], Tensor]
    clip_res: Callable[[Tensor], Tensor]
    gone: bool = False  # nothing of x0 is held to be left in x, whatever shift says

    @property
    def shift(self) -> float:
        """The schedule's, at t."""
        return float(self.schedule.shift[self.t])

    @property
    def sigma(self) -> float:
        """The schedule's, at t."""
        return float(self.schedule.sigma[self.t])

    def x0_from(self, res: Tensor, eps: Tensor) -> Tensor:
        """x_t = x0 + shift res + sigma eps, solved for x0."""
        return self.clip_x0(self.x - self.shift * res - self.sigma * eps)

    def eps_from(self, res: Tensor) -> Tensor:
        """x_t = y + (shift - 1) res + sigma eps, solved for eps."""
        return (self.x - self.y - (self.shift - 1) * res) / self.sigma


def from_res_eps(p: Point, res: Tensor, eps: Tensor) -> Prediction:
    """[RDDM] pred_res_noise: one output for each."""
    res = p.clip_res(res)
    return Prediction(p.x0_from(res, eps), res, eps)


def from_res_sum(p: Point, res: Tensor, total: Tensor) -> Prediction:
    """[RDDM] pred_res_add_noise: the second output is res + eps."""
    return from_res_eps(p, res, total - res)


def from_x0_eps(p: Point, x0: Tensor, eps: Tensor) -> Prediction:
    """[RDDM] pred_x0_noise."""
    return Prediction(p.clip_x0(x0), p.clip_res(p.y - x0), eps)


def from_x0_sum(p: Point, x0: Tensor, total: Tensor) -> Prediction:
    """[RDDM] pred_x0_add_noise: the second output is x0 + eps."""
    return from_x0_eps(p, x0, total - x0)


def from_eps(p: Point, eps: Tensor) -> Prediction:
    """[RDDM] pred_noise (SM-N); DDPM when y = 0."""
    # RDDM's shift is exactly 1 at t = T, where noise alone says nothing about x0.
    left = FLOOR if p.gone else max(1 - p.shift, FLOOR)
    x0 = p.clip_x0((p.x - p.shift * p.y - p.sigma * eps) / left)
    return Prediction(x0, p.clip_res(p.y - x0), eps)


def from_res(p: Point, res: Tensor) -> Prediction:
    """[RDDM] pred_res (SM-Res)."""
    res = p.clip_res(res)
    return Prediction(p.clip_x0(p.y - res), res, p.eps_from(res))


def from_x0(p: Point, x0: Tensor) -> Prediction:
    """[RDDM] pred_x0: through the residual, which is what gets clipped."""
    return from_res(p, p.y - x0)


def from_euler_eps(p: Point, said: Tensor) -> Prediction:
    """[IR-SDE] the official objective; as a rule its output is taken for eps, which it is nearly. See ``euler_eps``."""
    return from_eps(p, true_eps(p.schedule, p.x, p.y, said, torch.tensor([p.t])))


def from_v(p: Point, v: Tensor) -> Prediction:
    """Salimans & Ho, Progressive Distillation, ICLR 2022: v = a eps - sigma x0 where x_t is a x0 + sigma eps.

    For schedules that preserve the variance, a^2 + sigma^2 = 1; then x0 and eps are x_t and v, turned. Told y, they are
    about what is left of x_t without it.
    """
    a, x = 1 - p.shift, p.x - p.shift * p.y
    x0 = p.clip_x0((a * x - p.sigma * v) / (a**2 + p.sigma**2))
    return Prediction(x0, p.clip_res(p.y - x0), (p.sigma * x + a * v) / (a**2 + p.sigma**2))


class Output(NamedTuple):
    """One meaning of a net's output: how many pictures it holds, and how they become a ``Prediction``."""

    count: int
    to_prediction: Callable[..., Prediction]


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A net with the knowledge of how to use it; called with (x, t, y, mask), answers a ``Prediction``.

    ``output`` is a key of OUTPUTS; ``inputs``, out of INPUTS, are concatenated for the net; ``time`` is a key of TIMES;
    ``bounds`` is the net's range of pixel values. ``clip``, a key of CLIPS: "none"; "range" keeps x0 in the bounds and
    res in what two pictures can differ by; "official" is what the released RDDM code does: both in the bounds, and at
    t = T no x0 is held to be left, even where the schedule leaves some (0.6 % in one made from DDIM). That is for nets
    that say eps alone, whose x0 there is then all black and white. With a ``codec`` x and y are latents.

    ``schedule`` is where x lies. ``read_by`` is another one, by which the net's output is read: the schedule of its
    training, see ``readjusted``.

    ``label`` is told to a net of classes at each call, one for all pictures or (N,); None leaves it to the net.
    ``mask`` is what is shown where a call names none.
    ``guide`` moves what a net that says eps or v says towards a class of its own, see ``guidance.py``; y must be 0
    then. Raises ValueError for a guide beside any other net.
    """

    net: Net
    schedule: Schedule
    output: str = "res"
    inputs: tuple[str, ...] = ("x", "y")
    time: str = "index"
    clip: str = "range"
    bounds: tuple[float, float] = (-1.0, 1.0)
    dtype: torch.dtype = torch.float32
    codec: Codec | None = None
    read_by: Schedule | None = None
    label: int | Tensor | None = None
    guide: Guide | None = None
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if self.guide is None:
            return
        if self.output not in GUIDED or self.inputs != ("x",) or self.time not in TOLD_TIME:
            raise ValueError(
                f"Guidance is for nets that are shown x, told the time, and say {' or '.join(GUIDED)}; not for one "
                f"that is shown {', '.join(self.inputs)}, told {self.time}, and says {self.output}."
            )

    def __call__(self, x: Tensor, t: int, y: Tensor, mask: Tensor | None = None) -> Prediction:
        """x and y: NCHW float32 in the net's range; t: 1 ... T; mask: NCHW in [0, 1], what else INPUTS names."""
        out = self.raw(x, torch.full((len(x),), t), y, mask)
        here = self._point(x, y, self.schedule, t)
        read = here if self.read_by is None else self._point(x, y, self.read_by, t)
        p = self._predicted(out if self.guide is None else out + self._pull(read), read)
        if self.read_by is None:
            return p
        # What res and eps leave of x where it really is; [RDDM] experiment 1 ends on that.
        return p._replace(x0=here.x0_from(p.res, p.eps))

    def at(self, x: Tensor, shift: float, sigma: float, y: Tensor, mask: Tensor | None = None) -> Prediction:
        """As a call, at any ``shift`` and ``sigma``, on the schedule or not; for nets that are told ``shift_sigma``."""
        told = self.schedule.T * torch.tensor([[shift, sigma]]).expand(len(x), 2)
        here = Schedule(*torch.tensor([[0, shift], [0, sigma]], dtype=torch.float64))
        return self._predicted(self._ask(x, told, y, mask), self._point(x, y, here, 1))

    def raw(self, x: Tensor, t: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """The net's own output at the times ``t`` (N,): what a loss is taken of."""
        return self._ask(x, TIMES[self.time](self.schedule, t), y, mask)

    def _ask(self, x: Tensor, time: Tensor, y: Tensor, mask: Tensor | None) -> Tensor:
        mask = self.mask if mask is None else mask
        fed = torch.cat([INPUTS[name](x, y, mask) for name in self.inputs], dim=1)
        told = () if self.label is None else (torch.as_tensor(self.label, device=x.device).expand(len(x)),)
        return self.net(fed.to(self.dtype), time.to(x.device, torch.float32), *told)

    def _pull(self, p: Point) -> Tensor:
        """What guidance adds to the net's output, as exact as x. [ADM] algorithm 2. Raises ValueError where y is not 0.

        Where nothing of x0 is left in x nothing of its class is, whatever a classifier says.
        """
        if p.y.any():
            raise ValueError("Guidance is for priors, whose y is 0; a classifier knows nothing of a degraded picture.")
        if self.guide.label is None or 1 - p.shift < FLOOR:
            return torch.zeros_like(p.x)
        time = TIMES[self.time](self.schedule, torch.full((len(p.x),), p.t)).to(p.x.device, torch.float32)
        return GUIDED[self.output](1 - p.shift, p.sigma) * self.guide.slope(p.x, time, self.dtype)

    def _predicted(self, out: Tensor, point: Point) -> Prediction:
        output, out = OUTPUTS[self.output], out.to(point.x.dtype)
        out = out + (out - out)  # an overflow becomes NaN, which clipping cannot turn into white
        return output.to_prediction(point, *out.chunk(output.count, dim=1))

    def _point(self, x: Tensor, y: Tensor, schedule: Schedule, t: int) -> Point:
        clip_x0, clip_res = CLIPS[self.clip](*self.bounds)
        gone = self.clip == "official" and t == self.schedule.T
        return Point(x, y, schedule, t, clip_x0, clip_res, gone)


TOLD_TIME = ("index", "t")
"""The TIMES that say when, not where x is."""


def readjusted(denoiser: Denoiser, schedule: Schedule) -> Denoiser:
    """The same net on a ``schedule`` that it was not trained with. [RDDM] readjusted coefficient schedules.

    A net that is told shift or sigma is told the new ones. One that is told the time hears it as before; if it says eps
    alone, eps becomes res as it was trained to, and x0 is what both leave of x ([RDDM] experiment 1, ``adjust_alpha``).
    """
    as_trained = denoiser.time in TOLD_TIME and denoiser.output == "eps"
    return replace(denoiser, schedule=schedule, read_by=denoiser.schedule if as_trained else None)


def _unchanged(v: Tensor) -> Tensor:
    return v


def _clamp(lo: float, hi: float) -> Callable[[Tensor], Tensor]:
    return lambda v: v.clamp(lo, hi)


def _index(schedule: Schedule, t: Tensor) -> Tensor:
    """Official nets count the T noisy times from 0."""
    return t - 1


def _t(schedule: Schedule, t: Tensor) -> Tensor:
    """Official IR-SDE nets count the noisy times from 1."""
    return t


def _shift(schedule: Schedule, t: Tensor) -> Tensor:
    """Where x_t lies between x0 and y, on the scale of the index."""
    return schedule.T * schedule.shift[t.cpu()]


def _sigma(schedule: Schedule, t: Tensor) -> Tensor:
    """How much noise is in x_t (its standard deviation, not the variance), on the scale of the index."""
    return schedule.T * schedule.sigma[t.cpu()]


def _shift_sigma(schedule: Schedule, t: Tensor) -> Tensor:
    """(N, 2): the residual's net hears the shift, the noise's net hears the sigma."""
    return torch.stack([_shift(schedule, t), _sigma(schedule, t)], dim=1)


OUTPUTS: dict[str, Output] = {
    "res": Output(1, from_res),
    "eps": Output(1, from_eps),
    "euler_eps": Output(1, from_euler_eps),
    "x0": Output(1, from_x0),
    "v": Output(1, from_v),
    "res_eps": Output(2, from_res_eps),
    "res_sum": Output(2, from_res_sum),
    "x0_eps": Output(2, from_x0_eps),
    "x0_sum": Output(2, from_x0_sum),
}

DECONVOLVED = ("deconvolved", "deconvolved-wide", "deconvolved-light", "deconvolved-light-wide")
"""With a small kernel and a large one, of sRGB values and of linear light: as ``deconvolution.py`` makes them."""


def _part(i: int, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """The i-th three channels; where no more are shown, to measure what a net takes, those over again."""
    return mask[:, 3 * i % mask.shape[1] :][:, :3]


INPUTS: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "x": lambda x, y, mask: x,
    "y": lambda x, y, mask: y,
    "x-y": lambda x, y, mask: x - y,
    "mask": lambda x, y, mask: mask,
    **{name: partial(_part, i) for i, name in enumerate(DECONVOLVED)},
}
"""What a net can be shown: x_t, the degraded picture, and three equal channels of what is marked (1) or not (0).

Or, in the place of those, the degraded picture in [0, 1] without the blur that was found in it: see DECONVOLVED.
"""

CLIPS: dict[str, Callable[[float, float], tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]]] = {
    "none": lambda lo, hi: (_unchanged, _unchanged),
    "range": lambda lo, hi: (_clamp(lo, hi), _clamp(lo - hi, hi - lo)),
    "official": lambda lo, hi: (_clamp(lo, hi), _clamp(lo, hi)),
}

TIMES: dict[str, Callable[[Schedule, Tensor], Tensor]] = {
    "index": _index,
    "t": _t,
    "shift": _shift,
    "sigma": _sigma,
    "shift_sigma": _shift_sigma,
}
