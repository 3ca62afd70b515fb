"""What a run tells after every step, and how long it may take."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from restorer.train.team import Team

TOLD = ("warnings", "stopped", "best", "codec")
"""What is told and stands in no log."""


@dataclass(frozen=True)
class Progress:
    """Where a run is after a step; ``psnr`` in dB on the validation set, on the steps that measured it.

    Of a recipe that leaves the output open: ``share`` as long as it is not chosen, and on the step that chose it;
    ``chosen`` from then on. Steps are counted anew then. ``warnings``: sentences on what should be known, such as
    pictures that were skipped. ``stopped``: the run's hours are over, and this is its last step for now. ``best``: the
    highest PSNR of the run so far, before a rest too. ``codec``: the step is of the codec, which comes before the net.
    """

    step: int
    steps: int
    loss: float
    lr: float
    psnr: float | None
    seconds: float
    share: float | None = None
    chosen: str | None = None
    warnings: tuple[str, ...] = ()
    stopped: bool = False
    best: float | None = None
    codec: bool = False

    def row(self, *, auto: bool) -> dict[str, object]:
        """As a line of the log; only recipes that leave the output open say what became of it."""
        left = TOLD if auto else (*TOLD, "share", "chosen")
        return {name: value for name, value in vars(self).items() if name not in left}


class Clock:
    """Seconds of each step, and whether the run's hours are over; 0 hours never are."""

    def __init__(self, hours: float, team: Team) -> None:
        self.limit, self.team = hours * 3600, team
        self.begun = self.last = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last lap, or since the last ``go``."""
        now = time.monotonic()
        self.last, seconds = now, now - self.last
        return seconds

    def go(self) -> None:
        """The next lap begins here."""
        self.last = time.monotonic()

    def over(self) -> bool:
        """All processes of a team hear the same."""
        if not self.limit:
            return False
        spent = torch.tensor(time.monotonic() - self.begun, device=self.team.device)
        return float(self.team.mean(spent)) >= self.limit
