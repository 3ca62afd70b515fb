"""The fastest windows: which are chosen, how they are kept, and that they are used."""

import json

import pytest
import torch

from restorer import memory, speed
from restorer.errors import UsageError
from restorer.settings import Settings
from restorer.tiling import Tiling
from restorer.tuned import Timed, best, fewer, keep, recalled
from restorer.work import restoring


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "restorer" / "tuned.json"


@pytest.fixture
def small(monkeypatch):
    """Pictures over 100 pixels are worth windows."""
    monkeypatch.setattr(memory, "SMALL", 100)


def picture(height, width):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ([(512, 1, 1.0)], 0),
        ([(512, 1, 1.0), (768, 1, 0.9), (1024, 1, 1.1)], 1),
        ([(512, 1, 1.0), (768, 1, 1.02), (1024, 1, 1.04)], 1),  # as good, and larger
        ([(512, 1, 1.0), (512, 2, 0.98), (512, 4, 0.9), (512, 8, 0.89)], 2),  # as good, and fewer
        ([(512, 4, 0.9), (768, 1, 0.92), (768, 2, 0.91)], 1),
    ],
)
def test_the_choice(found, chosen):
    found = [Timed(*one) for one in found]
    assert best(found) is found[chosen]


def test_what_is_kept_is_of_one_model_and_precision(toy_restorer, file):
    assert recalled(toy_restorer) == (None, ())
    assert keep(toy_restorer, Timed(64, 2, 0.5)) and recalled(toy_restorer) == (Timed(64, 2, 0.5), ())
    other = toy_restorer.found._replace(sha256="0" * 64)
    neighbour = type(toy_restorer)(other, toy_restorer.denoiser, toy_restorer.device)
    assert recalled(neighbour) == (None, ())
    assert keep(neighbour, Timed(32, 1, 0.1)) and recalled(toy_restorer)[0].side == 64
    (about, _) = json.loads(file.read_text()).values()
    assert about["device"] == "cpu" and about["threads"] == torch.get_num_threads() and about["dtype"] == "fp32"
    assert about["torch"] == torch.__version__ and about["weights"] == toy_restorer.found.sha256
    assert [one.name for one in file.parent.iterdir()] == [file.name]


def test_windows_that_nobody_has_chosen_are_those(toy_restorer, small):
    y = picture(72, 100)
    assert toy_restorer.make(y, Settings())[0].how == {}
    keep(toy_restorer, Timed(64, 2, 0.5))
    made = toy_restorer.make(y, Settings())[0]
    assert made.how == {"tile": 64, "overlap": 24} and made.remarks == ()
    chosen = toy_restorer.make(y, Settings(tiling=Tiling(64, 24, 2)))[0]
    assert torch.equal(made.pixels, chosen.pixels)
    assert toy_restorer.make(y, Settings(tiling=Tiling(0)))[0].how == {}
    assert toy_restorer.make(y, Settings(tiling=Tiling(40)))[0].how["tile"] == 40
    assert restoring(toy_restorer, Settings()).cost().window == 2 * 64**2


def test_memory_still_rules(toy_restorer, small, monkeypatch):
    wanted = memory.window_bytes(toy_restorer.denoiser, 4, toy_restorer.device)
    room = 3 * wanted * 80**2  # of one window of 80 pixels
    monkeypatch.setattr(memory, "free_bytes", lambda device: int(room))
    assert fewer(toy_restorer, 8, 40) in (3, 4) and fewer(toy_restorer, 8, 400) == 1
    keep(toy_restorer, Timed(400, 8, 0.5))
    assert toy_restorer.make(picture(8, 2000), Settings())[0].how["tile"] in (76, 80)


@pytest.mark.parametrize("text", ["no JSON", "[1]", "{", b"\xff", "nested"])
def test_a_damaged_file_is_told_of_and_changes_nothing(toy_restorer, file, small, text):
    keep(toy_restorer, Timed(32, 1, 0.5))
    if text == "nested":
        lines = json.loads(file.read_text())
        text = json.dumps({key: {**line, "side": "wide"} for key, line in lines.items()})
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    made = toy_restorer.make(picture(72, 100), Settings())[0]
    assert made.how == {} and "tuned.json cannot be used" in made.remarks[0]
    assert keep(toy_restorer, Timed(16, 1, 0.5)) and recalled(toy_restorer)[0].side == 16


def test_a_file_that_cannot_be_written_is_no_failure(toy_restorer, file):
    file.mkdir(parents=True)
    assert not keep(toy_restorer, Timed(32, 1, 0.5)) and "cannot be used" in recalled(toy_restorer)[1][0]


def test_windows_are_timed_one_and_several_at_once(toy_restorer, monkeypatch):
    # A device on which two at once take a tenth more than one, and four take twice as long as two.
    takes = {1: 1.0, 2: 1.1, 4: 2.2}
    seen = []

    def seconds(call, rounds, device):
        seen.append(call().x0.shape)
        return takes[seen[-1][0]]

    monkeypatch.setattr(speed, "seconds", seconds)
    found = list(speed.timed(toy_restorer, [32, 30, 16]))
    assert [(one.side, one.batch) for one in found] == [(side, batch) for side in (16, 32) for batch in (1, 2, 4)]
    assert found[3].seconds == pytest.approx(1e6 / (32 - 12) ** 2) and seen[3] == (1, 3, 32, 32)
    assert best(found) == found[4]
    monkeypatch.setattr(memory, "free_bytes", lambda device: 0)
    with pytest.raises(UsageError, match="a smaller --size"):
        list(speed.timed(toy_restorer, [32]))


def test_what_runs_out_of_memory_ends_a_side(toy_restorer, monkeypatch):
    def seconds(call, rounds, device):
        if len(call().x0) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 1.0

    monkeypatch.setattr(speed, "seconds", seconds)
    assert [one[:2] for one in speed.timed(toy_restorer, [16, 32])] == [(16, 1), (32, 1)]


def test_bench_keeps_what_restore_takes(here, draw, cli, toy, toy_restorer, small):
    words = ("bench", "--tune", "-m", toy, "-d", "cpu", "--dtype", "fp32", "--rounds", 1, "--size", 32, "--size", 16)
    lines = [json.loads(line) for line in cli(*words, "--json", model=False).stdout.splitlines()]
    (chosen,) = [line for line in lines if line["best"]]
    assert recalled(toy_restorer)[0][:2] == (chosen["side"], chosen["batch"])
    table = cli(*words, model=False).stdout.splitlines()
    assert table[1].split("\t")[:4] == ["window", "at once", "dtype", "a megapixel"] and len(table) > 3
    draw("a.png", size=(100, 72))
    keep(toy_restorer, Timed(64, 2, 0.5))
    made = json.loads(cli("restore", "a.png", "--json").stdout.splitlines()[0])
    assert made["tile"] == 64 and made["warnings"] == []


@pytest.mark.parametrize(
    ("words", "sentence"), [(["--steps", "2"], "leave out --steps"), (["-T", "generate"], "leave out --tune")]
)
def test_tuning_that_cannot_be(cli, toy, words, sentence):
    model = [] if "-T" in words else ["-m", toy]
    result = cli("bench", "--tune", *model, *words, "-d", "cpu", "--dtype", "fp32", model=False)
    assert result.exit_code == 2 and sentence in result.stderr
