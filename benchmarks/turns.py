"""Several ways to do one thing, timed in turns, A B C A B C, after they were seen to do the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch
from speed_page import markdown
from torch import Tensor, nn


@dataclass(frozen=True)
class Turn:
    """One way. ``call`` is what is timed; ``shown`` makes what is compared to the first way's, None for nothing.

    ``exact``: full precision by the same steps, so that the two must agree. ``nets``: whose weights lie in memory.
    """

    name: str
    call: Callable[[], object]
    shown: Callable[[], Tensor] | None = None
    exact: bool = False
    nets: tuple[nn.Module, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Ways to do what ``heading`` says, the first being what the others are measured by.

    ``tolerance``: by which part of the largest value, or of 1, ways that must agree may differ. ``flops``: of one call,
    where they are known.
    """

    heading: str
    turns: Sequence[Turn]
    rounds: int
    tolerance: float = 1e-3
    flops: int = 0


@dataclass
class Taken:
    """What was measured of a turn: ``seconds`` of each round, ``peak`` in bytes, ``off``: the largest difference."""

    seconds: list[float] = field(default_factory=list)
    peak: int = 0
    off: float | None = None


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds until the device has done it."""
    started = time.perf_counter()
    call()
    return clock(device) - started


def clock(device: torch.device) -> float:
    """Seconds, told when the device has done all that it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


def take(comparison: Comparison, device: torch.device, warmup: int) -> list[Taken]:
    """Compare the ways, then time them in turns. Raises ``ValueError`` where two do not agree that must."""
    found = [Taken(off=off) for off in differences(comparison)]
    for done in range(warmup + comparison.rounds):
        for turn, taken in zip(comparison.turns, found, strict=True):
            others = _forget_peak(turn, device)
            seconds = timed(turn.call, device)
            if done >= warmup:
                taken.seconds.append(seconds)
                taken.peak = max(taken.peak, _peak(device) - others)
    return found


def differences(comparison: Comparison) -> list[float | None]:
    """By how much each way's result is off the first one's, at most; None where they are not to be compared."""
    first = None
    found: list[float | None] = []
    # TF32 would drown what there is to see.
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for turn in comparison.turns:
            shown = None if turn.shown is None else turn.shown().float().cpu()
            first = shown if first is None else first
            off = None if shown is None else float((shown - first).abs().max())
            found.append(off)
            if turn.exact and not off <= comparison.tolerance * max(1.0, float(first.abs().max())):
                raise ValueError(
                    f"{comparison.heading}: {turn.name} is off {comparison.turns[0].name} by {off:.2g}, which is more "
                    "than rounding; the two do not do the same, and their times say nothing."
                )
    return found


def table(comparison: Comparison, found: Sequence[Taken]) -> str:
    """As Markdown."""
    base = median(found[0].seconds)
    columns = {
        "": [turn.name for turn in comparison.turns],
        "median, s": [f"{median(taken.seconds):.4f}" for taken in found],
        "least, s": [f"{min(taken.seconds):.4f}" for taken in found],
        "most, s": [f"{max(taken.seconds):.4f}" for taken in found],
        "times as fast": [f"{base / median(taken.seconds):.2f}" for taken in found],
        "TFLOP/s": [_rate(comparison.flops, median(taken.seconds)) for taken in found],
        "largest difference": ["", *("" if one.off is None else f"{one.off:.1e}" for one in found[1:])],
        "peak memory, GiB": [f"{taken.peak / 2**30:.2f}" if taken.peak else "" for taken in found],
    }
    return markdown({head: cells for head, cells in columns.items() if any(cells)})


def _rate(flops: int, seconds: float) -> str:
    return f"{flops / seconds / 1e12:.3g}" if flops else ""


def _forget_peak(turn: Turn, device: torch.device) -> int:
    """Bytes on the device that are not this way's own: the weights of the others among them."""
    if device.type != "cuda":
        return 0
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device) - weights(turn.nets)


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def weights(nets: Iterable[nn.Module]) -> int:
    """Bytes."""
    return sum(tensor.nbytes for net in nets for tensor in net.state_dict().values())
