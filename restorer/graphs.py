"""Calls of a net on a GPU that are launched as one: CUDA graphs of small inputs.

A call is a hundred kernels and more; where the input is small, the GPU is done with each sooner than the CPU launches
the next. A graph of them, taken from a call as it is, is launched at once. It gives the same bits, or is not used.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import torch
from torch import Tensor, nn

LARGEST = 2**18
"""Pixels of a call, all its pictures together: in more there is work enough for each kernel, and much memory in use."""
SHAPES = 4
"""So many kinds of input have a graph, since each keeps its own memory."""
UNTRIED = 2
"""Calls of a kind before a graph is taken of it, which takes as long as some: a picture in one step needs none."""


class Captured:
    """A net as ``Net`` says, on CUDA, which answers as ``net`` does, to the bit: small inputs by graphs."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self._calls: Counter = Counter()
        self._graphs: dict[tuple, Graph] = {}
        self._able = True

    def __call__(self, *given: Tensor) -> Tensor:
        """See the class."""
        pixels = given[0].shape[0] * given[0].shape[-2:].numel()
        if not self._able or torch.is_grad_enabled() or pixels > LARGEST:
            return self.net(*given)
        # Whether tensors know of gradients at all is part of it: those of one kind may not be written in the other.
        kind = (torch.is_inference_mode_enabled(), *((one.shape, one.stride(), one.dtype) for one in given))
        if kind not in self._graphs and not self._taken(kind, given):
            return self.net(*given)
        return self._graphs[kind](*given)

    def _taken(self, kind: tuple, given: tuple[Tensor, ...]) -> bool:
        """Whether there is now a graph of that kind of input."""
        self._calls[kind] += 1
        if self._calls[kind] <= UNTRIED or len(self._graphs) >= SHAPES:
            return False
        try:
            graph = Graph(self.net, given)
            self._able = _alike(graph(*given), self.net(*given))
        except RuntimeError:
            # It does what a graph cannot hold, or memory is short; by itself it may do it all the same.
            self._able = False
            with suppress(RuntimeError):
                torch.cuda.synchronize()
        if self._able:
            self._graphs[kind] = graph
        return self._able


class Graph:
    """A net's call with inputs of these shapes. Raises RuntimeError where it cannot be a graph."""

    def __init__(self, net: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._given = tuple(one.clone() for one in given)
        aside = torch.cuda.Stream(given[0].device)
        aside.wait_stream(torch.cuda.current_stream(given[0].device))
        with torch.cuda.stream(aside):
            net(*self._given)  # what libraries set up at their first call on a stream is no part of a graph
        torch.cuda.current_stream(given[0].device).wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads read and write pictures meanwhile, and may use the device.
        with torch.cuda.graph(self._graph, stream=aside, capture_error_mode="thread_local"):
            self._made = net(*self._given)

    def __call__(self, *given: Tensor) -> Tensor:
        """What the net says of ``given``."""
        for kept, now in zip(self._given, given, strict=True):
            kept.copy_(now)
        self._graph.replay()
        return self._made.clone()  # the next replay writes over it


def _alike(a: Tensor, b: Tensor) -> bool:
    """To the bit; what is no number too."""
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def captured(net: nn.Module, device: torch.device) -> nn.Module | Captured:
    """The net as it is best called on ``device``."""
    return Captured(net) if device.type == "cuda" else net
