"""Nets that are compiled: the same pictures, what is recorded and kept of them, and what is said where it fails."""

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from test_generate import PRIOR
from toy import toy_model, toy_net

from restorer import Restorer, compiling
from restorer.compiling import Compiled, plain
from restorer.errors import DeviceError
from restorer.images import read_recipe
from restorer.memory import window_bytes
from restorer.settings import Settings
from restorer.work import restoring

CPU = torch.device("cpu")
CACHES = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_FX_GRAPH_CACHE", "TORCHINDUCTOR_AUTOGRAD_CACHE")
needs_compiler = pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home of its own, and variables that are as before afterwards."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    for name in CACHES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path / "home" / "restorer"


@pytest.fixture
def asked(monkeypatch):
    """Nothing is compiled; what would have been is in the list."""
    calls = []

    def compiler(net, **words):
        def run(*given):
            calls.append(words)
            return net(*given)

        return run

    monkeypatch.setattr(torch, "compile", compiler)
    monkeypatch.setattr(compiling, "check_compiler", lambda: None)
    return calls


@pytest.fixture
def both(toy, asked):
    return [Restorer.from_pretrained(str(toy), device="cpu", dtype="fp32", compile=word) for word in (False, True)]


class Small(torch.nn.Module):
    """So little that compiling it takes no longer than it must."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(6, 3, 3, padding=1)
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.linspace(-0.2, 0.2, weight.numel()).view_as(weight))

    def forward(self, x, time):
        return torch.nn.functional.silu(self.conv(x) * (1 + time.view(-1, 1, 1, 1) / 100))


def picture(height, width):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what torch says of itself
def test_a_compiled_net_makes_the_same_picture_and_the_next_time_it_is_there_already(toy_restorer, home, monkeypatch):
    import torch._dynamo as dynamo
    from torch._dynamo.utils import counters

    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)  # which torch sets when its compiler is loaded
    net = Small().requires_grad_(False)
    found, own, device = toy_restorer.found, toy_restorer.denoiser, toy_restorer.device
    y = picture(16, 20)
    wanted = Restorer(found, replace(own, net=net), device).restore(y, Settings())
    for hits in (0, 1):
        dynamo.reset()
        counters.clear()
        made = Restorer(found, replace(own, net=Compiled(net, CPU)), device).make(y, Settings())[0]
        assert (made.pixels - wanted).abs().max() < 2e-6 and made.how == {"compiled": True}
        assert counters["aot_autograd"]["autograd_cache_hit"] == hits
        assert counters["stats"]["unique_graphs"] == 1
    dynamo.reset()
    assert any((home / "compiled").rglob("*.so"))


def test_only_what_was_asked_for_is_compiled(both, asked):
    plain_one, compiled = both
    plain_one.restore(picture(8, 8), Settings())
    assert asked == []
    compiled.restore(picture(8, 8), Settings())
    assert asked == [{"dynamic": False, "mode": None}] * 3
    asked.clear()
    # What is asked once: how much memory it takes, and how long it will.
    window_bytes(compiled.denoiser, 4, CPU)
    restoring(compiled, Settings()).cost()
    compiled.exact()(picture(8, 8), 1, picture(8, 8))
    assert asked == [] and plain(plain_one.denoiser) is plain_one.denoiser


def test_beyond_so_many_shapes_the_net_answers_itself_and_that_is_said(both, asked, monkeypatch):
    monkeypatch.setattr(compiling, "SHAPES", 2)
    compiled = both[1]
    made = [compiled.make(picture(8, side), Settings(1))[0] for side in (8, 12, 16, 8)]
    assert [one.how for one in made] == [{"compiled": True}] * 2 + [{}, {"compiled": True}]
    assert [len(one.remarks) for one in made] == [0, 0, 1, 0]
    assert "without compiling, which was done for 2 shapes already" in made[2].remarks[0]
    assert len(asked) == 3


def test_the_recipe_says_it_and_redo_does_it_again(here, draw, cli, toy, asked):
    draw("in/a.png")
    made = cli("restore", "in", "--compile", "--json")
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout.splitlines()[0])["compiled"] is True
    assert read_recipe(here / "in_restored/a.png")["compiled"] is True
    asked.clear()
    # To rounding it is the picture that was asked for.
    assert "1 skipped" in cli("restore", "in").stderr
    assert cli("restore", "in", "--compile", "--dry-run", "-y").exit_code == 0 and asked == []
    again = cli("redo", "in_restored/a.png", "-m", toy, "-d", "cpu", "--json", model=False)
    assert json.loads(again.stdout.splitlines()[0])["identical"] is True and len(asked) == 3
    cli("restore", "in", "-y")
    assert "compiled" not in read_recipe(here / "in_restored/a.png")
    asked.clear()
    assert cli("redo", "in_restored/a.png", "-m", toy, "-d", "cpu", "-y", model=False).exit_code == 0
    assert asked == []


def test_pictures_that_are_drawn_or_known_damage(here, draw, cli, tmp_path, asked):
    prior = toy_model(tmp_path / "prior", state=toy_net(in_channels=3).state_dict(), **PRIOR)
    words = ("-m", prior, "-d", "cpu", "--dtype", "fp32", "--steps", "2", "--compile")
    made = cli("generate", "out", "--size", "8", *words, model=False)
    assert made.exit_code == 0 and read_recipe(here / "out/0000.png")["compiled"] is True
    assert "1 skipped" in cli("generate", "out", "--size", "8", *words[:-1], model=False).stderr
    draw("a.png", size=(8, 8))
    made = cli("restore", "a.png", "--operator", "sr:2", *words, model=False)
    assert made.exit_code == 0, made.stderr
    assert read_recipe(here / "a_restored.png")["compiled"] is True and len(asked) > 2


def test_bench_tells_what_the_first_picture_takes(cli, toy, asked):
    words = ("bench", "-m", toy, "--size", 16, "--dtype", "fp32", "--rounds", 1, "-d", "cpu", "--compile")
    line = json.loads(cli(*words, "--json", model=False).stdout)
    assert line["first_seconds"] > 0
    head = cli(*words, model=False).stdout.splitlines()[1]
    assert head.endswith("\tfirst picture")


@pytest.mark.parametrize("words", [("restore", "a.png"), ("derain", "a.png"), ("generate", "out"), ("bench",)])
def test_without_a_compiler_a_sentence_says_what_to_do(here, draw, cli, monkeypatch, words):
    draw("a.png")
    monkeypatch.setenv("CXX", "no-such-compiler")
    result = cli(*words, "--compile", "-d", "cpu", model=False)
    assert result.exit_code == 5 and "Traceback" not in result.stderr
    assert "no 'no-such-compiler' on this machine; install one, or leave out --compile." in result.stderr.replace(
        "\n", " "
    )


def failing(error):
    def run(*given):
        raise error

    return run


def test_a_compiler_that_fails(asked, monkeypatch):
    import torch._dynamo as dynamo

    net, given = toy_net(), (torch.zeros(1, 6, 8, 8), torch.zeros(1))
    compiled = Compiled(net, CPU)
    monkeypatch.setattr(compiled, "_run", failing(dynamo.exc.TorchDynamoException("\n  it broke:\nat length")))
    with pytest.raises(DeviceError, match=r"cannot be compiled here \(it broke\); leave out --compile"):
        compiled(*given)
    full = dynamo.exc.TorchDynamoException()
    full.inner_exception = MemoryError()
    monkeypatch.setattr(compiled, "_run", failing(full))
    with pytest.raises(MemoryError):
        compiled(*given)
    # torch's own limit is not passed over in silence.
    monkeypatch.setattr(compiled, "_run", failing(dynamo.exc.FailOnRecompileLimitHit()))
    assert torch.equal(compiled(*given), net(*given)) and compiled.uncompiled == 1


def test_what_a_cuda_graph_gave_is_not_written_over(asked, monkeypatch):
    steps, out = [], torch.zeros(1)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: steps.append(1))
    compiled = Compiled(lambda x: out.add_(x), torch.device("cuda"))
    first, second = compiled(torch.ones(1)), compiled(torch.ones(1))
    assert (first.item(), second.item(), len(steps)) == (1, 2, 2)
    assert asked[0]["mode"] == "reduce-overhead"


@pytest.mark.gpu
def test_on_a_gpu_graphs_make_the_same_picture(toy):
    pictures = [
        Restorer.from_pretrained(str(toy), dtype="fp32", compile=word).restore(picture(32, 32), Settings(3))
        for word in (False, True)
    ]
    assert (pictures[0] - pictures[1]).abs().max() < 1e-5


def test_the_cache_is_ours_unless_the_user_has_named_one(home, asked, monkeypatch):
    Compiled(toy_net(), CPU)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(home / "compiled") and (home / "compiled").is_dir()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    Compiled(toy_net(), CPU)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/elsewhere"


def test_where_nothing_can_be_kept_torch_takes_its_own_place(home, asked):
    home.parent.mkdir()
    home.write_text("no folder")
    Compiled(toy_net(), CPU)
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ and "TRITON_CACHE_DIR" not in os.environ
