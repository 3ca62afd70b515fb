"""How much memory there is, how much a net wants, and how a picture is made in less: with smaller windows."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from math import isqrt
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from restorer.compiling import plain
from restorer.device import is_out_of_memory
from restorer.diffusion.predict import Denoiser

Result = TypeVar("Result")

PROBE = 128
"""Side of the window by which a net's memory is measured."""
SMALL = 512 * 512
"""A picture of so many pixels is computed whole, without asking."""
LARGEST: dict[str, int] = {"cpu": 1024}
"""Windows need not be larger, kind of device -> pixels; nothing gets faster. See MOST for the others."""
MOST = 2048
SHARE = 0.5
"""Windows may take so much of the free memory,"""
SLACK = 1.5
"""and libraries use so many times what can be counted."""
LEAST = 64
"""Smaller windows than this are not tried, unless the net's own multiple asks for more."""


def free_bytes(device: torch.device) -> int | None:
    """Bytes of memory that a device has to give; None where it does not tell."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return available() if device.type == "cpu" else None


def available() -> int | None:
    """Bytes of main memory to be had without swapping, inside the limit of a container; None if the system is mute."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    known = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}
    limits = [known.get("MemAvailable"), _left_in_container()]
    return min((limit for limit in limits if limit is not None), default=None)


def _left_in_container(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        most, used = ((root / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return max(int(most) - int(used), 0)
    except (OSError, ValueError):  # none, or "max"
        return None


def auto_side(
    denoiser: Denoiser, size: tuple[int, int], multiple: int, device: torch.device, most: int | None = None
) -> int | None:
    """The side of the windows for a picture of (height, width), made from what the net wants; None: it fits whole.

    ``most``: larger ones are not wanted; None: nor are those of LARGEST and MOST.
    """
    height, width = size
    if height * width <= SMALL:
        return None
    most = most or LARGEST.get(device.type, MOST)
    room = most_pixels(denoiser, multiple, device)
    fits = most if room == math.inf else isqrt(int(room))
    if height * width <= min(fits, most) ** 2:
        return None
    return max(min(fits, most) // multiple, -(-LEAST // multiple)) * multiple


def most_pixels(denoiser: Denoiser, multiple: int, device: torch.device) -> float:
    """So many pixels may go through the net at once; infinite where the device does not tell what it has."""
    free = free_bytes(device)
    return math.inf if free is None else SHARE * free / (SLACK * window_bytes(denoiser, multiple, device))


def window_bytes(denoiser: Denoiser, multiple: int, device: torch.device) -> float:
    """Bytes a pixel that one call of the net takes at its fullest, counted on a small window."""
    side = -(-PROBE // multiple) * multiple
    blank = torch.zeros(1, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), _Live() as live:
        plain(denoiser)(blank, denoiser.schedule.T, blank, blank)
    return live.most / side**2


class _Counting:
    """Counts the bytes of the tensors that are alive, and remembers the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.seen: dict[int, weakref.finalize] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self.seen and self.seen[key].alive:
            return
        self.seen[key] = weakref.finalize(storage, self._drop, storage.nbytes())
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)

    def _drop(self, nbytes: int) -> None:
        self.now -= nbytes


class _Live(_Counting, TorchDispatchMode):
    """Counts while it is entered.

    The method is inherited, since torch loads its compiler, which takes seconds, at the first call of one that stands
    in a mode's own class.
    """


def within_memory(
    attempt: Callable[[int | None], Result], side: int | None, size: tuple[int, int], multiple: int
) -> tuple[Result, int | None, tuple[str, ...]]:
    """(what ``attempt(side)`` gives, the side it was given at last, what is to be told).

    Each time that memory runs out it is called again with windows of half the side, down to LEAST; then the error is
    left to the caller. ``size``: of the picture.
    """
    remarks: list[str] = []
    while True:
        try:
            return attempt(side), side, tuple(remarks)
        except (MemoryError, RuntimeError) as error:
            half = min(side or max(size), max(size)) // 2 // multiple * multiple
            if not is_out_of_memory(error) or half < max(LEAST, multiple):
                raise
        _release()  # not while the error still holds what it was computed from
        was = "the whole picture" if side is None else f"windows of {side} pixels"
        remarks.append(f"There is not enough memory for {was}; made with windows of {half}.")
        side = half


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
