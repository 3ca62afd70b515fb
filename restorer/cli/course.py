"""A training run in numbers, as a person follows it; it prints nothing."""

from __future__ import annotations

from collections import deque
from statistics import fmean, median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from restorer.train.progress import Progress

RECENT = 50
"""So many steps are what a run does now."""


class Course:
    """Takes in one ``Progress`` after the other; ``pictures``: how many each step sees, on all devices."""

    def __init__(self, steps: int, pictures: int) -> None:
        self.steps, self.pictures = steps, pictures
        self.now: Progress | None = None
        self.best: Progress | None = None
        self.scored: float | None = None
        self._losses: deque[float] = deque(maxlen=RECENT)
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._all: tuple[int, float] = 0, 0.0

    def take(self, now: Progress) -> None:
        """The next step."""
        if now.codec != (self.now is not None and self.now.codec):  # another part of the run begins
            self.steps, self._all = now.steps, (0, 0.0)
        self.now = now
        self._losses.append(now.loss)
        self._seconds.append(now.seconds)
        self._all = self._all[0] + 1, self._all[1] + now.seconds
        if now.psnr is not None:
            self.scored = now.psnr
            self.best = max(self.best or now, now, key=lambda progress: progress.psnr)

    @property
    def best_psnr(self) -> float | None:
        """The highest PSNR of the run, in dB; before a rest, too."""
        known = [score for score in (self.best and self.best.psnr, self.now and self.now.best) if score is not None]
        return max(known, default=None)

    def rows(self) -> list[tuple[str, str]]:
        """Names and values of a table."""
        now = self.now
        if now is None:
            return []
        scores = [] if self.scored is None else [("psnr", f"{self.scored:.2f} dB, best {self.best_psnr:.2f} dB")]
        share = [] if now.share is None else [("share", f"{now.share:.4f}")]
        return [
            ("step", f"{now.step}/{self.steps}"),
            ("loss", f"{now.loss:.4f}, mean {fmean(self._losses):.4f}"),
            *share,
            ("lr", f"{now.lr:.2e}"),
            *scores,
            ("speed", self._speed()),
            ("left", self._left()),
        ]

    def line(self) -> str:
        """The last step in one line."""
        now = self.now
        share = "" if now.share is None else f", share {now.share:.4f}"
        score = "" if now.psnr is None else f", psnr {now.psnr:.2f} dB"
        left = "" if now.step == self.steps else f", {self._left()} left"
        return (
            f"step {now.step}/{self.steps}: loss {now.loss:.4f}{share}{score}, lr {now.lr:.2e}, {self._speed()}{left}"
        )

    def ending(self) -> str:
        """What a finished run came to."""
        if self.best_psnr is None:
            return ""
        own = self.best is not None and self.best.psnr == self.best_psnr
        return f", best psnr {self.best_psnr:.2f} dB" + (f" at step {self.best.step}" if own else "")

    def _speed(self) -> str:
        return f"{self.pictures / max(median(self._seconds), 1e-9):.1f} pictures/s"

    def _left(self) -> str:
        from restorer.estimate import duration

        count, seconds = self._all
        return duration(seconds / count * (self.steps - self.now.step))
