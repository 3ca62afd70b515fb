"""The processes that train one net together: this one alone, or many that accelerate brought together.

Precision, accumulation and clipping are the same arithmetic for both, in ``optimise.py``; accelerate finds the
processes and their devices, and sums their gradients. One device needs no accelerate.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from restorer.errors import UsageError

if TYPE_CHECKING:
    from accelerate import Accelerator


class Team(Protocol):
    """``index`` of ``count`` processes, this one's ``device``."""

    index: int
    count: int
    device: torch.device

    def joined(self, net: nn.Module) -> nn.Module:
        """The net as it is to be called in training: its gradients become the mean over the team."""

    def apart(self, net: nn.Module) -> AbstractContextManager:
        """Within, gradients of a joined net stay this process's own: more are to come before the step."""

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the team, on every process."""

    def shared(self, value: Tensor) -> Tensor:
        """The first process's value, on every process."""

    def wait(self) -> None:
        """Until all are here."""


class Alone:
    """One process, one device."""

    index, count = 0, 1

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def joined(self, net: nn.Module) -> nn.Module:
        """See ``Team``."""
        return net

    def apart(self, net: nn.Module) -> AbstractContextManager:
        """See ``Team``."""
        return nullcontext()

    def mean(self, value: Tensor) -> Tensor:
        """See ``Team``."""
        return value

    def shared(self, value: Tensor) -> Tensor:
        """See ``Team``."""
        return value

    def wait(self) -> None:
        """See ``Team``."""


class Launched:
    """One of the processes of ``accelerate launch``, or of torchrun."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.index, self.count = accelerator.process_index, accelerator.num_processes
        self.device = accelerator.device

    def joined(self, net: nn.Module) -> nn.Module:
        """See ``Team``."""
        return self.accelerator.prepare_model(net)

    def apart(self, net: nn.Module) -> AbstractContextManager:
        """See ``Team``."""
        return self.accelerator.no_sync(net)

    def mean(self, value: Tensor) -> Tensor:
        """See ``Team``."""
        return self.accelerator.reduce(value.detach().clone(), "mean")

    def shared(self, value: Tensor) -> Tensor:
        """See ``Team``."""
        from accelerate.utils import broadcast

        return broadcast(value.detach().clone())

    def wait(self) -> None:
        """See ``Team``."""
        self.accelerator.wait_for_everyone()


def launched() -> int:
    """How many processes a launcher started for this run; 1 without one."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def is_first() -> bool:
    """Whether this process is the one that tells, and writes, of those that were started for a run."""
    return int(os.environ.get("RANK") or 0) == 0


def leave() -> None:
    """Part with the other processes, at a program's end."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def gather(device: torch.device) -> Team:
    """The team that this process is of; alone, it works on ``device``.

    Raises ``UsageError`` where several processes were started without accelerate, or by a plan that splits the net.
    """
    if launched() == 1:
        return Alone(device)
    try:
        from accelerate import Accelerator
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{launched()} processes were started, and accelerate, which joins them, is not installed: "
            "pip install 'restorer[train]'."
        ) from error
    accelerator = Accelerator(mixed_precision="no", cpu=device.type == "cpu")
    kind = accelerator.distributed_type.value
    if not kind.startswith("MULTI_"):
        raise UsageError(
            f"accelerate: {kind} splits the net over devices, and restorer trains a whole one on each; use DDP."
        )
    return Launched(accelerator)
