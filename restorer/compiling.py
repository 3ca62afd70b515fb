"""A net that torch's compiler makes faster, on request; and what became of its calls.

Compiled is for one shape of input at a time: so a picture has the same bits whatever was restored before it. What was
compiled is kept for the next process. Nothing of torch's compiler is loaded unless a net is to be compiled.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from restorer.device import is_out_of_memory
from restorer.diffusion.predict import Denoiser
from restorer.errors import DeviceError
from restorer.graphs import Captured
from restorer.hub.home import kept

SHAPES = 8
"""So many shapes of input are compiled for, each of which takes long; what has another is left to the net itself."""
ENOUGH = 1024
"""Above what torch would compile of its own accord: nets of one class share its count, and ours is SHAPES a net."""


class Compiled:
    """A net as ``Net`` says, which answers as ``net`` does, to rounding; the first call of each shape compiles.

    ``uncompiled`` counts the calls that ``net`` itself has answered, those of shapes beyond SHAPES. Raises
    ``DeviceError`` when there is no compiler on this machine or, once called, when it fails.
    """

    def __init__(self, net: nn.Module, device: torch.device) -> None:
        check_compiler()
        _keep()
        self.net, self.uncompiled = net, 0
        # Full precision is meant where it was asked for.
        warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")
        self._graphs = device.type == "cuda"
        self._run = torch.compile(net, dynamic=False, mode="reduce-overhead" if self._graphs else None)
        self._shapes: set[tuple[torch.Size, ...]] = set()

    def __call__(self, *given: Tensor) -> Tensor:
        """See the class."""
        import torch._dynamo as dynamo

        shapes = tuple(one.shape for one in given)
        if shapes not in self._shapes and len(self._shapes) >= SHAPES:
            self.uncompiled += 1
            return self.net(*given)
        # Here, since what is set belongs to the thread that sets it.
        limits = {"recompile_limit": ENOUGH, "accumulated_recompile_limit": ENOUGH, "fail_on_recompile_limit_hit": True}
        try:
            with dynamo.config.patch(limits):
                out = self._called(given)
        except dynamo.exc.FailOnRecompileLimitHit:
            self.uncompiled += 1
            return self.net(*given)
        except dynamo.exc.TorchDynamoException as error:
            raise _fault(error) from error
        self._shapes.add(shapes)
        return out

    def _called(self, given: tuple[Tensor, ...]) -> Tensor:
        if not self._graphs:
            return self._run(*given)
        torch.compiler.cudagraph_mark_step_begin()
        return self._run(*given).clone()  # the next run of a CUDA graph writes over what the last one gave


class Since:
    """What has become of a denoiser's calls since this was made."""

    def __init__(self, denoiser: Denoiser) -> None:
        self._net = denoiser.net if isinstance(denoiser.net, Compiled) else None
        self._before = self._uncompiled

    @property
    def how(self) -> Mapping[str, Any]:
        """For a recipe: that all of them were compiled, or nothing."""
        return {} if self._net is None or self._uncompiled > self._before else {"compiled": True}

    @property
    def remarks(self) -> tuple[str, ...]:
        """For the user: that some were not."""
        if self._uncompiled == self._before:
            return ()
        return (f"Computed without compiling, which was done for {SHAPES} shapes already; use one --tile for all.",)

    @property
    def _uncompiled(self) -> int:
        return 0 if self._net is None else self._net.uncompiled


def plain(denoiser: Denoiser) -> Denoiser:
    """The denoiser with the net itself, neither compiled nor as a graph: for what is asked once."""
    return replace(denoiser, net=denoiser.net.net) if isinstance(denoiser.net, Compiled | Captured) else denoiser


def check_compiler() -> None:
    """Raises ``DeviceError`` where there is no C++ compiler of the name that torch calls."""
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    name = os.environ.get("CXX") or usual
    if shutil.which(name) is None:
        raise DeviceError(
            f"Compiling a model needs a C++ compiler, and there is no {name!r} on this machine; install one, or leave "
            "out --compile."
        )


def _keep() -> None:
    """Let torch keep what it compiles in a folder of ours, unless the user has named others; or in its temporary one.

    Both caches are asked for, since older versions of torch do without unless they are.
    """
    for name in ("TORCHINDUCTOR_FX_GRAPH_CACHE", "TORCHINDUCTOR_AUTOGRAD_CACHE"):
        os.environ.setdefault(name, "1")
    folder = kept("compiled")
    with suppress(OSError):
        (folder / "triton").mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
            os.environ.setdefault("TRITON_CACHE_DIR", str(folder / "triton"))


def _fault(error: BaseException) -> BaseException:
    """What is to be raised: memory that ran out within the compiler is still that."""
    inner = getattr(error, "inner_exception", None) or error
    if is_out_of_memory(inner):
        return inner
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    told = lines[0].rstrip(".:") if lines else type(inner).__name__
    return DeviceError(f"The model cannot be compiled here ({told}); leave out --compile, or mend the C++ compiler.")
