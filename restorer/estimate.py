"""What a run will take, before it begins: time from one measured window, memory from what was measured once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from restorer.memory import LARGEST, MOST, SLACK
from restorer.work import Work

CANVAS_BYTES = 160
"""Main memory for a pixel of the result: some dozen canvases of three float32, see docs/files.md."""
PROGRAM_BYTES = 500_000_000
"""Of the program and its libraries."""


class Estimate(NamedTuple):
    """``pixels`` of all results, ``seconds`` to compute them, and the most ``bytes`` of main memory at a time."""

    pixels: int
    seconds: float
    bytes: int

    def line(self) -> dict[str, Any]:
        """As JSON."""
        return {"pixels": self.pixels, "seconds": round(self.seconds, 1), "bytes": self.bytes}

    def sentence(self, work: Work) -> str:
        """As a person reads it."""
        return (
            f"{self.pixels / 1e6:.1f} megapixels, about {duration(self.seconds)} on {work.device} in {work.dtype}, "
            f"and at most {self.bytes / 1e9:.1f} GB of memory."
        )


def duration(seconds: float) -> str:
    """A stretch of time as a person says it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def estimate(work: Work, sizes: Sequence[tuple[int, int]]) -> Estimate | None:
    """For pictures of (width, height); None for work whose cost cannot be measured."""
    if work.cost is None or not sizes:
        return None
    cost, kind = work.cost(), work.device.partition(":")[0]
    pixels = [work.scale**2 * width * height for width, height in sizes]
    computed = [cost.computed(work.scale * width, work.scale * height) for width, height in sizes]
    window = min(max(computed), cost.window or LARGEST.get(kind, MOST) ** 2)
    computing = SLACK * cost.window_bytes * window if kind == "cpu" else 0
    return Estimate(
        sum(pixels), cost.seconds * sum(computed), round(PROGRAM_BYTES + CANVAS_BYTES * max(pixels) + computing)
    )
