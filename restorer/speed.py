"""How fast a model is on this machine, for ``restorer bench``; what is in ``bench.py`` is a picture's work bench.

trials(restorers, sizes)        ->  Trial, Trial, ...   what is to be measured, small pictures first
measure(trial, settings)        ->  Speed               a call of the net, a whole restoration, and memory
timed(restorer, sides)          ->  Timed, Timed, ...   windows, one and several at once; see ``restorer.tuned``
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from restorer.compiling import Compiled, plain
from restorer.device import dtype_name, is_out_of_memory
from restorer.entry import GENERATE
from restorer.errors import UsageError
from restorer.graphs import UNTRIED
from restorer.memory import auto_side, most_pixels
from restorer.restore import Restorer
from restorer.sampling import encoded
from restorer.settings import Settings
from restorer.tiling import Tiling
from restorer.tuned import CLOSE, Timed

SIZES = (256, 512, 1024)
"""Sides in pixels, unless told otherwise."""
ROUNDS = 5
PATIENCE = 2.0
"""Seconds: what has taken so long is not measured once more, nor, on a CPU, warmed up first."""
NOISE = 0.1
"""Of the picture that is restored: models that guess it find some."""
COUNTING = ("cuda", "xpu")
"""Kinds of device on which torch counts the memory that it takes."""
SIDES = (512, 768, 1024, 1536)
"""Sides of windows in pixels that are timed, unless told otherwise,"""
BATCHES = (1, 2, 4, 8)
"""and so many at once."""


class Trial(NamedTuple):
    """A model in one precision, and the side of the square pictures that it is to make."""

    restorer: Restorer
    size: int

    @property
    def dtype(self) -> str:
        """A word of ``restorer.device.DTYPES``."""
        return dtype_name(self.restorer.denoiser.dtype)

    @property
    def name(self) -> str:
        """What a progress bar says."""
        return f"{self.size}x{self.size} in {self.dtype}"


@dataclass(frozen=True)
class Speed:
    """Medians, in seconds, of a picture whose sides have ``size`` pixels.

    ``net``: of one call of the net; None where the picture does not fit into memory whole, so that it is made in
    windows. ``whole``: of the picture from pixels to pixels, with all ``steps``. ``memory``: the most bytes it took, on
    a CPU those of the program and its libraries among them; None where the system does not tell. ``first``: of the
    first picture, where the net was compiled for it.
    """

    size: int
    dtype: str
    steps: int
    net: float | None
    whole: float
    memory: int | None
    first: float | None = None

    @property
    def per_minute(self) -> float:
        """Pictures, one after the other."""
        return 60 / self.whole

    def line(self) -> dict[str, Any]:
        """As JSON."""
        net = self.net and round(self.net, 6)
        known = {"size": self.size, "dtype": self.dtype, "steps": self.steps, "net_seconds": net}
        known |= {} if self.first is None else {"first_seconds": round(self.first, 6)}
        return known | {
            "seconds": round(self.whole, 6),
            "pictures_per_minute": round(self.per_minute, 3),
            "bytes": self.memory,
        }


def trials(restorers: Sequence[Restorer], sizes: Sequence[int]) -> list[Trial]:
    """One model in several precisions, at several sizes: the smallest pictures first."""
    return [Trial(restorer, size) for size in sorted(set(sizes)) for restorer in restorers]


def measure(trial: Trial, settings: Settings, rounds: int = ROUNDS) -> Speed:
    """Time a trial. Raises as ``Restorer.restore`` and ``Restorer.generate``, for sizes too small or too large."""
    restorer = trial.restorer
    steps = restorer.settled(settings).steps
    call = _whole(trial, settings)
    first = _timed(call, restorer.device) if isinstance(restorer.denoiser.net, Compiled) else None
    with _Memory(restorer) as memory:
        whole = seconds(call, rounds, restorer.device)
    return Speed(trial.size, trial.dtype, steps, _net(trial, rounds), whole, memory.most, first)


def foreseen(trial: Trial, known: Sequence[Speed]) -> float:
    """Seconds that a trial may take at least, from the smaller ones that are ``known``; 0 where there are none."""
    same = [speed for speed in known if speed.dtype == trial.dtype]
    return max(((one.whole + (one.net or 0)) * (trial.size / one.size) ** 2 for one in same[-1:]), default=0.0)


def seconds(call: Callable[[], object], rounds: int, device: torch.device) -> float:
    """The median of a call's time, after those that warm up, until the device has done it.

    On a CPU a call that takes longer than PATIENCE counts at once; elsewhere the first may have kernels to fetch.
    Nothing is begun once they have taken that together.
    """
    first = _timed(call, device)
    if device.type == "cpu" and first > PATIENCE:
        return first
    for _ in range(UNTRIED if device.type == "cuda" else 0):  # until graphs are taken
        call()
    took: list[float] = []
    while len(took) < rounds and sum(took) < PATIENCE:
        took.append(_timed(call, device))
    return median(took)


def _timed(call: Callable[[], object], device: torch.device) -> float:
    started = perf_counter()
    call()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return perf_counter() - started


def timed(restorer: Restorer, sides: Sequence[int] = SIDES, rounds: int = ROUNDS) -> Iterator[Timed]:
    """Windows that fit into memory, the smallest first; of a side no larger batch once one is no faster than the last.

    Raises ``UsageError`` for a model that is never computed in windows, or when none fits.
    """
    if restorer.entry.task == GENERATE or restorer.denoiser.codec is not None:
        raise UsageError(f"Model {restorer.entry.name!r} is not computed in windows of any side; leave out --tune.")
    multiple = restorer.entry.size.multiple
    room = most_pixels(restorer.denoiser, multiple, restorer.device)
    fitting = [side for side in sorted({-(-side // multiple) * multiple for side in sides}) if side**2 <= room]
    if not fitting:
        raise UsageError("There is not enough memory for any of these windows; name a smaller --size.")
    for side in fitting:
        last = float("inf")
        for batch in BATCHES:
            took = _per_megapixel(restorer, side, batch, rounds) if batch * side**2 <= room else None
            if took is None:
                break
            yield Timed(side, batch, took)
            if took > (1 - CLOSE) * last:
                break
            last = took


def _per_megapixel(restorer: Restorer, side: int, batch: int, rounds: int) -> float | None:
    """Seconds, of what is new of a window; None where memory runs out."""
    denoiser, multiple = restorer.denoiser, restorer.entry.size.multiple
    # A mask is like the picture.
    y = torch.zeros(batch, 3, side, side, device=restorer.device).contiguous(memory_format=torch.channels_last)

    def call() -> object:
        return denoiser(y, denoiser.schedule.T, y, y)

    try:
        with torch.inference_mode():
            if isinstance(denoiser.net, Compiled):
                call()
            took = seconds(call, rounds, restorer.device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    fresh = side - -(-Tiling().shared(side) // multiple) * multiple
    return 1e6 * took / (batch * max(fresh, multiple) ** 2)


def _whole(trial: Trial, settings: Settings) -> Callable[[], object]:
    """Makes a picture of the size once."""
    restorer, size = trial.restorer, trial.size
    if restorer.entry.task == GENERATE:
        told = {"steps": settings.steps, "size": (size, size)}
        return lambda: next(restorer.generate(1, **told))
    y = picture(-(-size // restorer.scale))
    mask = torch.zeros_like(y) if restorer.takes_mask else None
    if mask is not None:
        mask[..., : y.shape[-1] // 4] = 1
    return lambda: restorer.restore(y, settings, mask=mask)


def picture(side: int) -> Tensor:
    """A ramp with noise on it, (1, 3, side, side) in [0, 1]; what is in it makes nothing faster or slower."""
    rng = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0.2, 0.8, side).expand(1, 3, side, side)
    return (ramp + NOISE * torch.randn(ramp.shape, generator=rng)).clamp(0, 1)


def _net(trial: Trial, rounds: int) -> float | None:
    """Seconds of one call, without the time that a batch of more would save."""
    restorer, size = trial.restorer, trial.size
    denoiser, multiple = restorer.denoiser, restorer.entry.size.multiple
    side = -(-size // multiple) * multiple
    if denoiser.codec is None and auto_side(denoiser, (side, side), multiple, restorer.device):
        return None
    # y is 0, since guided models want it so.
    y = torch.zeros(1, 3, side, side, device=restorer.device).contiguous(memory_format=torch.channels_last)
    if denoiser.codec is not None:
        y, _ = encoded(denoiser, y)
    with torch.inference_mode():
        return seconds(lambda: denoiser(y, denoiser.schedule.T, y, y), rounds, restorer.device)


class _Memory:
    """The most bytes that are taken within: ``most``."""

    def __init__(self, restorer: Restorer) -> None:
        self.device = restorer.device
        # What else is on the device, such as the same model in another precision, is not this one's.
        self.others = -sum(weight.nbytes for weight in plain(restorer.denoiser).net.state_dict().values())
        self.most: int | None = None

    def __enter__(self) -> _Memory:
        if self.device.type in COUNTING:
            module = torch.get_device_module(self.device)
            module.reset_peak_memory_stats(self.device)
            self.others += module.memory_allocated(self.device)
        self.begun = self.device.type == "cpu" and _forget_peak()
        return self

    def __exit__(self, *fault: object) -> None:
        if self.device.type in COUNTING:
            module = torch.get_device_module(self.device)
            self.most = module.max_memory_allocated(self.device) - self.others
        elif self.begun:
            self.most = next(_peaks(), None)


def _forget_peak() -> bool:
    """Whether the system, which is Linux then, begins to watch for the program's peak anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _peaks() -> Iterator[int]:
    """The program's peak since then, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            yield int(line.split()[1]) * 1024
