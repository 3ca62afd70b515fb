"""What became of one picture of a run, as a value, and as the JSON line that ``--json`` prints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from restorer.device import is_out_of_memory
from restorer.errors import DeviceError, RestorerError
from restorer.search import STREAM

RECORD_VERSION = 1
SHOWN = (
    *("task", "model", "repo", "revision", "degrade", "strength", "drawn", "sampler", "steps", "eta"),
    *("seed", "sigma", "alpha_schedule", "beta_schedule", "operator", "method", "class", "tile", "overlap", "compiled"),
    "samples",
)
"""The keys of a recipe that a record shows."""

Status = Literal["done", "skipped", "other", "failed", "planned"]


@dataclass(frozen=True)
class Record:
    """What became of one input.

    ``status``: done; skipped (the output is there, made with the same recipe); other (it is there, made otherwise);
    failed, with an ``error``; planned (it would be done, in a dry run). ``size``: (width, height) of the output.
    ``scores``: "psnr" in dB and "ssim" of what was written, where there is a ground truth; of a lossy format, of the
    pixels before it loses anything. ``seconds``: reading, computing and writing, though other pictures were in hand
    meanwhile. ``beside``: what was written besides the output.
    """

    input: str
    output: str | None
    status: Status
    made: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    device: str | None = None
    dtype: str | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    error: RestorerError | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    beside: tuple[str, ...] = ()

    def line(self) -> dict[str, Any]:
        """The record as JSON: version 1 of the lines that ``--json`` prints."""
        line = {"v": RECORD_VERSION, "input": self.input, "output": self.output, "status": self.status}
        line |= {key: self.made[key] for key in SHOWN if key in self.made}
        line |= {"size": self.size and list(self.size), "device": self.device, "dtype": self.dtype}
        line |= {"seconds": round(self.seconds, 3)} | {name: json_score(score) for name, score in self.scores.items()}
        line |= {"beside": list(self.beside)} if self.beside else {}
        line |= {"warnings": list(self.warnings)}
        return line | ({"error": str(self.error)} if self.error else {})


def json_score(score: float) -> float | None:
    """Four decimals; None for the infinite PSNR of equal pictures, since JSON has no word for it."""
    return round(score, 4) if math.isfinite(score) else None


def as_restorer_error(error: Exception, name: str, device: str) -> RestorerError:
    """``error`` as a sentence that names the picture; the kind stays, and the cause is kept."""
    name = "standard input" if name == STREAM else name
    if isinstance(error, RestorerError):
        named = type(error)(str(error) if str(error).startswith(name) else f"{name}: {error}")
    elif is_out_of_memory(error):
        named = DeviceError(
            f"{name}: not enough memory on {device}; try a smaller --tile, a smaller picture, --dtype bf16 or another "
            "--device."
        )
    else:
        reason = f"{type(error).__name__}: {error}".strip().rstrip(".:")
        named = RestorerError(f"{name}: unexpected {reason}; see where with -vv, and report it.")
    named.__cause__ = error
    return named
