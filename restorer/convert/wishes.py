"""What goes into every conversion besides the file, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from restorer.entry import Entry


@dataclass(frozen=True)
class Wishes:
    """What the user says of a checkpoint, since the file does not; None: not said.

    ``objective``: what the net says, by our word or the official one; ``input`` and ``time``: keys of INPUTS and TIMES;
    ``sum_scale``: variance of the noise at the start.
    """

    preset: str | None = None
    task: str | None = None
    objective: str | None = None
    time: str | None = None
    input: tuple[str, ...] | None = None
    sampler: str | None = None
    steps: int | None = None
    sum_scale: float | None = None
    name: str | None = None
    license: str | None = None


@dataclass(frozen=True, eq=False)
class Converted:
    """A model read from a foreign file: its card, its net, its own dtype, and sentences the user should see."""

    entry: Entry
    net: nn.Module
    dtype: torch.dtype
    notes: tuple[str, ...] = ()
