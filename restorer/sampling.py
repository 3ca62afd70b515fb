"""From a degraded picture to the states on its way back: pad, draw the noise, ask the net, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from restorer.diffusion.predict import Denoiser, Prediction
from restorer.diffusion.process import time_of_noise
from restorer.diffusion.samplers import GRIDS, SAMPLERS, State
from restorer.diffusion.sde import first_noise
from restorer.entry import Sample
from restorer.errors import UsageError
from restorer.settings import Settings
from restorer.tiling import Windows, blended


@torch.inference_mode()
def encoded(denoiser: Denoiser, y: Tensor) -> tuple[Tensor, Any]:
    """The latent of a picture, float32, and what its codec needs to decode one of the same picture."""
    latent, hidden = denoiser.codec.encode(y.to(denoiser.dtype, memory_format=torch.channels_last))
    return latent.float(), hidden


@torch.inference_mode()
def decoded(denoiser: Denoiser, latent: Tensor, hidden: Any) -> Tensor:
    """The picture of a latent, float32; ``hidden``: of the degraded picture, so what its latent lacks is there."""
    return denoiser.codec.decode(latent.to(denoiser.dtype, memory_format=torch.channels_last), hidden).float()


@torch.inference_mode()
def sample(
    denoiser: Denoiser,
    y: Tensor,
    own: Sample,
    settings: Settings,
    device: torch.device,
    *,
    mask: Tensor | None = None,
    over: Windows | None = None,
) -> Iterator[State]:
    """x_T beside y, then the states of pictures of one size on their way, all in the net's range.

    ``y``: (N, 3, H, W) in [0, 1] of padded size, or its latent; ``mask`` is like ``y``, and the net is shown it as it
    is. ``own``: the card's way to draw; ``settings``: settled. ``over``: the windows, where the device holds windows
    only and the canvas stays on the CPU. All pictures of a batch have the same noise, which is that of one alone.
    """
    lo, hi = denoiser.bounds
    schedule = denoiser.schedule
    tiled = over is not None and len(over.corners) > 1
    canvas, order = (torch.device("cpu"), torch.contiguous_format) if tiled else (device, torch.channels_last)
    # Drawn on the CPU for the whole canvas: the same seed is the same noise on every device.
    rng = torch.Generator().manual_seed(settings.seed)

    def randn_like(x: Tensor) -> Tensor:
        return torch.randn((1, *x.shape[1:]), generator=rng).to(x.device).expand_as(x)

    def ask(x: Tensor, t: int, y: Tensor, mask: Tensor | None) -> Prediction:
        x, y, mask = (None if v is None else v.to(device, memory_format=torch.channels_last) for v in (x, y, mask))
        return denoiser(x, t, y, mask)

    y = (lo + (hi - lo) * y).to(canvas, memory_format=order)
    mask = None if mask is None else mask.to(canvas, memory_format=order)
    grid = GRIDS[settings.times or own.times]
    try:
        if own.begin == "picture":
            first = time_of_noise(schedule, (hi - lo) * settings.sigma / 255)
            x, times = y, grid(first, min(settings.steps, first))
        else:
            times = grid(schedule.T, settings.steps)
            # The card's start is that of the model's own schedule.
            as_is = own.start is None or settings.beta_schedule is not None
            start = first_noise(schedule, settings.sampler or own.sampler, times[0]) if as_is else own.start
            x = y + start * randn_like(y)
        yield State(times[0], x, y)
        together = settings.tiling.together
        whole = blended(ask, over, together, (y, mask)) if tiled else lambda x, t: ask(x, t, y, mask)
        states = SAMPLERS[settings.sampler or own.sampler](
            whole, schedule, x, times, eta=settings.eta, randn_like=randn_like
        )
    except ValueError as error:  # not every sampler takes any eta
        raise UsageError(str(error)) from error
    yield from states


def pad(y: Tensor, multiple: int) -> Tensor:
    """``y`` (N, C, H, W) mirrored beyond its right and lower edges until both sides are multiples."""
    for dim in (-2, -1):
        if extra := -y.shape[dim] % multiple:
            y = y.index_select(dim, _mirror(y.shape[dim], extra))
    return y


def _mirror(size: int, extra: int) -> Tensor:
    """0 1 ... size-1 size-2 ..., size + extra numbers; turns back at both ends, the edge itself not repeated."""
    period = max(2 * size - 2, 1)
    index = torch.arange(size + extra) % period
    return torch.minimum(index, period - index) if size > 1 else index * 0
