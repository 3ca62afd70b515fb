"""Calls of nets that are launched as one on a GPU: which are, that they answer alike, and what falls back."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from restorer import Restorer, graphs
from restorer.compiling import plain
from restorer.graphs import LARGEST, SHAPES, UNTRIED, Captured, captured
from restorer.settings import Settings

HERE = torch.zeros(1, 3, 8, 8)


@pytest.fixture
def taken(monkeypatch):
    """No GPU is needed: a graph is a call like any other. Those that were made, with their inputs."""
    made = []

    def graph(net, given):
        made.append(given)
        # At first as the net; afterwards told apart from what the net itself says.
        answers = iter([net(*given)])
        return lambda *now: next(answers, net(*now) + 1)

    monkeypatch.setattr(graphs, "Graph", graph)
    return made


def doubled(x, time=None):
    return 2 * x


def ask(net, x):
    with torch.inference_mode():
        return float(net(x.clone()).flatten()[0])


def test_a_graph_is_taken_of_what_is_asked_again(taken):
    net = Captured(doubled)
    assert [ask(net, HERE) for _ in range(UNTRIED + 3)] == [0.0] * UNTRIED + [1.0] * 3
    assert len(taken) == 1


def test_each_kind_of_input_has_its_own_and_they_are_few(taken):
    net = Captured(doubled)
    for side in range(1, SHAPES + 3):
        for _ in range(UNTRIED + 1):
            last = ask(net, torch.zeros(1, 3, side, side))
        assert last == (1.0 if side <= SHAPES else 0.0)
    assert ask(net, torch.zeros(1, 3, 1, 1)) == 1.0
    assert len(taken) == SHAPES


@pytest.mark.parametrize("other", [HERE.half(), HERE.expand(2, -1, -1, -1), HERE.transpose(2, 3)])
def test_another_type_batch_or_layout_is_another_kind(taken, other):
    net = Captured(doubled)
    for _ in range(UNTRIED + 1):
        ask(net, HERE)
    with torch.inference_mode():
        assert float(net(other).flatten()[0]) == 0.0


def test_tensors_that_know_of_gradients_are_another_kind(taken):
    net = Captured(doubled)
    for _ in range(UNTRIED + 1):
        ask(net, HERE)
    with torch.no_grad():
        assert float(net(HERE).flatten()[0]) == 0.0


def test_large_inputs_and_gradients_are_left_to_the_net(taken):
    net = Captured(doubled)
    large = torch.zeros(1, 1, 1, LARGEST + 1)
    for _ in range(UNTRIED + 2):
        assert ask(net, large) == 0.0
        assert float(net(HERE).flatten()[0]) == 0.0
    assert taken == []


def test_what_cannot_be_a_graph_is_done_without(monkeypatch):
    tries = []

    def graph(net, given):
        tries.append(given)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "Graph", graph)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    net = Captured(doubled)
    for side in (2, 4):
        for _ in range(UNTRIED + 3):
            assert ask(net, torch.ones(1, 3, side, side)) == 2.0
    assert len(tries) == 1


@pytest.mark.parametrize(("said", "used"), [(2.0, True), (2.0 + 2**-22, False), (float("nan"), False)])
def test_a_graph_that_says_anything_else_is_not_used(monkeypatch, said, used):
    monkeypatch.setattr(graphs, "Graph", lambda net, given: lambda *now: torch.full_like(now[0], said))
    net = Captured(doubled)
    for _ in range(UNTRIED + 3):
        assert ask(net, torch.ones(1, 3, 4, 4)) == 2.0
    assert bool(net._graphs) == used


def test_what_is_no_number_is_the_same_as_itself(taken):
    net = Captured(doubled)
    for _ in range(UNTRIED + 1):
        ask(net, torch.full((1, 3, 4, 4), float("nan")))
    assert len(net._graphs) == 1


def test_only_cuda_has_graphs_and_plain_is_the_net_itself(toy):
    net = nn.Identity()
    assert captured(net, torch.device("cpu")) is net
    wrapped = captured(net, torch.device("cuda", 0))
    assert isinstance(wrapped, Captured) and wrapped.net is net
    denoiser = Restorer.from_pretrained(str(toy), device="cpu", dtype="fp32").denoiser
    assert isinstance(denoiser.net, nn.Module) and plain(denoiser).net is denoiser.net
    assert plain(replace(denoiser, net=Captured(denoiser.net))).net is denoiser.net


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_graphs_give_the_same_bits(toy, dtype, monkeypatch):
    y = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    settings = Settings(10, 1.0, seed=3)
    model = Restorer.from_pretrained(str(toy), device="cuda", dtype=dtype)
    first, again = model.restore(y, settings), model.restore(y, settings)
    assert len(model.denoiser.net._graphs) == 1
    monkeypatch.setattr(graphs, "LARGEST", 0)
    without = model.restore(y, settings)
    assert torch.equal(first, again) and torch.equal(first, without)
