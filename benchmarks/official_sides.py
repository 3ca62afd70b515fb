"""The two sides of official.py: nets, pictures and models that are in memory only."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pytest import MonkeyPatch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from turns import Comparison, Turn

from restorer import Restorer
from restorer.compiling import Compiled
from restorer.device import DTYPES
from restorer.entry import GENERATE, Entry, Predict, Sample, Size
from restorer.graphs import captured
from restorer.load import Found, answering, build_schedule, denoiser

SEED = 0
FEWER = 3
"""Whole pictures are timed in so many times fewer rounds than nets."""


def nets(
    name: str,
    official: nn.Module,
    own: nn.Module,
    x: Tensor,
    options: argparse.Namespace,
    ask: Callable[[nn.Module, Tensor, Tensor], Tensor],
    time: float,
    own_ask: Callable[[nn.Module, Tensor, Tensor], Tensor] = lambda net, x, t: net(x, t),
) -> Comparison:
    """One evaluation: of ``x`` and the times (N,), by ``ask`` of the official net and ``own_ask`` of ours."""
    device, side = options.device, x.shape[-1]
    t = torch.full((len(x),), time, device=device)
    theirs, there = deepcopy(official).to(device).eval(), x.to(device)
    call = no_grad(lambda: ask(theirs, there, t))
    turns = [Turn("official, fp32", call, call, nets=(theirs,))]
    for dtype in options.dtype:
        net = answering(deepcopy(own).to(device, DTYPES[dtype]), torch.device(device), DTYPES[dtype])
        shown = x.to(device, DTYPES[dtype], memory_format=torch.channels_last)
        asked = {f"ours, {dtype}": captured(net, device)}
        if options.compile:
            asked[f"ours, {dtype}, compiled"] = Compiled(net, device)
        for words, called in asked.items():
            call = no_grad(lambda called=called, shown=shown: own_ask(called, shown, t))
            turns.append(Turn(words, call, call, exact=dtype == "fp32", nets=(net,)))
    heading = f"{name}, one call, {len(x)} x {side} x {side}, dim {options.dim}"
    return Comparison(heading, turns, options.rounds, flops=flops(turns[0].call))


def flops(call: Callable[[], object]) -> int:
    """Of convolutions and matrix products, as official nets do them; a product and a sum are two."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def whole(heading: str, turns: list[Turn], options: argparse.Namespace) -> Comparison:
    """Of whole pictures. The first steps from noise divide the net's rounding by what is left of x0, 1/100 and less."""
    return Comparison(f"{heading}, dim {options.dim}", turns, -(-options.rounds // FEWER), tolerance=1e-2)


def no_grad(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """As nets are asked when they restore."""
    return torch.inference_mode()(call)


def noise(count: int, channels: int, side: int) -> Tensor:
    """Of unit variance, drawn on the CPU."""
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(1))


def picture(side: int) -> Tensor:
    """(1, 3, side, side) in [0, 1]; what is in it makes nothing slower."""
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(2))


def drawn_alike(call: Callable[[], Tensor]) -> Tensor:
    """What it makes where its noise is drawn as ours is: on the CPU, from the seed."""
    rng = torch.Generator().manual_seed(SEED)
    with MonkeyPatch.context() as patches:
        patches.setattr(torch, "randn_like", lambda x: torch.randn(x.shape, generator=rng).to(x.device))
        return call()


def card(task: str, net: Mapping[str, Any], schedule: Mapping[str, Any], predict: Predict, sample: Sample) -> Entry:
    """Of a model that is in memory only."""
    told = {"license": "none", "source": "random weights", "data": "none"}
    method = "ddpm" if task == GENERATE else task
    task = task if task == GENERATE else "derain"
    return Entry("random", task, method, net, schedule, predict, sample, Size(), **told)


def in_memory(entry: Entry, net: nn.Module, options: argparse.Namespace, dtype: str) -> Restorer:
    """The model in a precision; and in full, for what half precision cannot hold."""
    schedule = build_schedule(entry.schedule)
    made = []
    for word in dict.fromkeys((dtype, "fp32")):
        copy = answering(deepcopy(net).to(options.device, DTYPES[word]), torch.device(options.device), DTYPES[word])
        made.append(denoiser(copy, schedule, entry, DTYPES[word]))
    made = [replace(each, net=captured(each.net, options.device)) for each in made]
    return Restorer(Found(entry, Path(), ""), made[0], options.device, made[-1])
