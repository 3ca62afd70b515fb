"""What goes into every conversion besides the file, and what comes out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from restorer.entry import Entry
from restorer.errors import UsageError


@dataclass(frozen=True)
class Wishes:
    """What the user says of a checkpoint, since the file does not; None: not said.

    ``objective``: what the net says, by our word or the official one; ``input`` and ``time``: keys of INPUTS and TIMES;
    ``sum_scale``: variance of the noise at the start; ``max_sigma``: its standard deviation, in 8-bit levels from 1 up;
    ``eps``: what is left of the clean picture at the end, ``length`` steps away by the schedule ``theta``; ``codec``:
    file of the net between pictures and latents; ``classifier``: file of the one that guides, and its pull's scale.
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
    max_sigma: float | None = None
    eps: float | None = None
    length: int | None = None
    theta: str | None = None
    codec: Path | None = None
    classifier: Path | None = None
    classifier_scale: float | None = None

    def refuse(self, source: str, fields: Iterable[str]) -> None:
        """Raise ``UsageError`` for the first of ``fields`` that was said: files of ``source`` have no use for it."""
        for field in fields:
            if getattr(self, field) is not None:
                raise UsageError(f"--{field.replace('_', '-')} means nothing for files of {source}; leave it out.")


@dataclass(frozen=True, eq=False)
class Converted:
    """A model read from a foreign file: its card, its net, its own dtype, and sentences the user should see."""

    entry: Entry
    net: nn.Module
    dtype: torch.dtype
    notes: tuple[str, ...] = ()
