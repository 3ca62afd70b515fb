"""A run over many pictures: samples, batches, redo, resuming after a kill, estimates."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from restorer import images
from restorer.images.peek import size_of
from restorer.spread import Spread, heat


def test_samples_have_seeds_of_their_own_a_mean_and_a_map(here, draw, cli):
    draw("a.png", size=(20, 16))
    assert cli("restore", "a.png", "-o", "out/", "--samples", "3", "--eta", "1", "--seed", "7").exit_code == 0
    assert sorted(path.name for path in Path("out").iterdir()) == [
        *("a_mean.png", "a_s1.png", "a_s2.png", "a_s3.png", "a_uncertainty.png")
    ]
    for i in range(3):
        cli("restore", "a.png", "-o", f"alone{i}.png", "--eta", "1", "--seed", str(7 + i))
        assert Path(f"alone{i}.png").read_bytes() == Path(f"out/a_s{i + 1}.png").read_bytes()
    samples = torch.cat([images.read(f"out/a_s{i}.png").pixels for i in (1, 2, 3)])
    mean = images.read("out/a_mean.png").pixels
    assert (mean - samples.mean(dim=0)).abs().max() < 0.51 / 255 + 1e-6
    recipe = images.read_recipe(Path("out/a_uncertainty.png"))
    most = float(samples.std(dim=0).mean(dim=0).max())
    assert (
        recipe["of"] == "uncertainty"
        and recipe["samples"] == 3
        and recipe["white"] == pytest.approx(255 * most, abs=0.02)
    )
    # Again: nothing is done, nothing is lost; and what is missing is made from what is there.
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    again = ["restore", "a.png", "-o", "out/", "--samples", "3", "--eta", "1", "--seed", "7"]
    assert "3 skipped" in cli(*again).stderr
    Path("out/a_mean.png").unlink()
    Path("out/a_s2.png").unlink()
    assert "1 done, 2 skipped" in cli(*again).stderr
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before
    assert cli("restore", "a.png", "-o", "-", "--samples", "2").exit_code == 2


def test_spread_is_the_standard_deviation():
    pictures = torch.rand(5, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    spread = Spread()
    for one in pictures.split(1):
        spread.add(one)
    assert torch.allclose(spread.mean[0], pictures.mean(0), atol=1e-6)
    assert torch.allclose(spread.std[0, 0], pictures.std(0).mean(0), atol=1e-6)
    drawn, most = spread.map()
    assert drawn.shape == (1, 3, 6, 7) and most == pytest.approx(float(spread.std.max()))
    ramp = heat(torch.linspace(0, 1, 50).view(1, 1, 1, 50))
    assert ((0.299 * ramp[0, 0] + 0.587 * ramp[0, 1] + 0.114 * ramp[0, 2]).diff() > 0).all()


def test_equal_sizes_go_together_and_come_out_as_alone(here, draw, cli, monkeypatch):
    from restorer.restore import Restorer

    for i in range(7):
        draw(f"in/{i}.png", size=(20, 16) if i != 3 else (24, 16), seed=i)
    counts, whole = [], Restorer.make
    monkeypatch.setattr(Restorer, "make", lambda self, y, *rest: counts.append(len(y)) or whole(self, y, *rest))
    assert cli("restore", "in", "-o", "many", "-b", "3", "--eta", "1").exit_code == 0
    assert counts == [3, 1, 3]
    assert cli("restore", "in", "-o", "one", "--eta", "1").exit_code == 0
    for i in range(7):
        pictures = [images.read(f"{folder}/{i}.png").pixels for folder in ("many", "one")]
        assert (pictures[0] - pictures[1]).abs().max() <= 1.01 / 255


def test_one_of_a_batch_that_fails_does_not_fail_the_others(here, draw, cli, monkeypatch):
    from restorer.restore import Restorer

    for i in range(3):
        draw(f"in/{i}.png", seed=i)
    bad, whole = images.read("in/1.png").pixels, Restorer.make

    def make(self, y, *rest):
        if any(torch.equal(one, bad) for one in y.split(1)):
            raise ValueError("odd")
        return whole(self, y, *rest)

    monkeypatch.setattr(Restorer, "make", make)
    result = cli("restore", "in", "-b", "3")
    assert result.exit_code == 1 and sorted(os.listdir("in_restored")) == ["0.png", "2.png"]  # noqa: PTH208
    assert "in/1.png: unexpected ValueError: odd" in result.stderr


def test_redo_makes_the_same_pixels(here, draw, cli, toy):
    draw("in/a.jpg", size=(40, 30), quality=90), draw("in/sub/b.png", size=(30, 30))
    words = ["--steps", "2", "--eta", "1", "--seed", "9", "-Q", "70"]
    assert cli("restore", "in", "-r", *words).exit_code == 0
    result = cli("redo", "in_restored/a.jpg", "in_restored/sub/b.png", "-m", toy, "--json", model=False)
    assert result.exit_code == 0, result.stderr
    *lines, _ = map(json.loads, result.stdout.splitlines())
    assert [line["identical"] for line in lines] == [True, True]
    assert Path("in_restored/a_redone.jpg").exists()
    elsewhere = cli("redo", "in_restored/a.jpg", "-m", toy, "-o", "x.jpg", "--input", "in", model=False)
    assert elsewhere.exit_code == 0 and "the same pixels" in elsewhere.stderr
    Path("in/a.jpg").write_bytes(b"changed")
    gone = cli("redo", "in_restored/a.jpg", "-m", toy, "-o", "y.jpg", model=False)
    assert gone.exit_code == 3 and "--input PATH" in gone.stderr and not Path("y.jpg").exists()
    other = cli("redo", "in_restored/sub/b.png", "-o", "z.png", "-m", "rddm-derain-tiny", model=False)
    assert other.exit_code == 4 or "name the right model with --model" in other.stderr
    assert cli("redo", "in/sub/b.png", model=False).exit_code == 3


def test_redo_of_damage(here, draw, cli):
    draw("a.png", size=(40, 30))
    assert cli("degrade", "a.png", "-R", "rain", "--seed", "4").exit_code == 0
    result = cli("redo", "a_degraded.png", model=False)
    assert result.exit_code == 0 and "the same pixels" in result.stderr


def test_info(here, draw, cli):
    draw("a.png")
    cli("restore", "a.png", "--steps", "2")
    told = cli("info", "a_restored.png", model=False)
    assert told.exit_code == 0 and "steps     2" in told.stdout and str(here) not in told.stdout
    recipe = json.loads(cli("info", "a_restored.png", "--json", model=False).stdout)["recipe"]
    assert {"restorer", "torch", "model", "weights", "task", "steps", "eta", "sampler", "seed", "input"} <= set(recipe)
    assert cli("info", "a.png", model=False).exit_code == 3
    assert cli("info", "a.png", "a_restored.png", "gone.png", model=False).exit_code == 1


@pytest.mark.parametrize(
    "words", [["--steps", "2"], ["-f", "jpg", "-Q", "50"], ["--bits", "16"], ["--metadata", "strip"]]
)
def test_changed_settings_are_noticed(here, draw, cli, words):
    draw("a.png")
    base = ["-f", "jpg"] if "-f" in words else []
    assert cli("restore", "a.png", "-o", "out/", *base).exit_code == 0
    assert "1 skipped in" in cli("restore", "a.png", "-o", "out/", *base).stderr
    assert "made with other settings" in cli("restore", "a.png", "-o", "out/", *words).stderr
    assert cli("restore", "a.png", "-o", "out/", "-y", *words).exit_code == 0
    assert "1 skipped in" in cli("restore", "a.png", "-o", "out/", *words).stderr


def test_a_dry_run_tells_what_it_will_take(here, draw, cli):
    draw("in/a.png", size=(200, 100)), draw("in/b.png", size=(100, 100)), draw("in/c.png", size=(10, 10))
    cli("restore", "in/c.png", "-o", "out/")
    result = cli("restore", "in", "-o", "out", "-n", "--json")
    summary = json.loads(result.stdout.splitlines()[-1])["summary"]
    assert (summary["planned"], summary["skipped"]) == (2, 1)
    assert summary["estimate"]["pixels"] == 30_000 and summary["estimate"]["bytes"] > 5e8
    assert 0 <= summary["estimate"]["seconds"] < 60 and os.listdir("out") == ["c.png"]  # noqa: PTH208
    assert "megapixels, about" in cli("restore", "in", "-o", "out", "-n").stderr


def test_a_dry_run_fetches_no_model(here, draw, cli, hub, toy):
    hub.publish("acme/rain", toy)
    draw("a.png")
    result = cli("restore", "a.png", "-m", "acme/rain", "-n", model=False)
    assert result.exit_code == 0 and "MB to fetch" in result.stderr and "1 would be written" in result.stderr
    assert not list((here / "cache").rglob("*.safetensors"))


def test_sizes_come_from_headers(here, draw):
    for name in ("a.png", "a.jpg", "a.tif", "a.webp", "a.bmp", "a.ppm", "a.avif"):
        assert size_of(draw(name, size=(31, 17))) == (31, 17)
    Path("b.png").write_bytes(b"none")
    assert size_of(Path("b.png")) is None and size_of(Path("gone.png")) is None and size_of(here) is None


def test_killed_in_the_middle_and_started_again(here, draw, process, toy):
    """No half file, nothing done twice, every picture done once."""
    for i in range(60):
        draw(f"in/{i:02d}.png", size=(30 + i % 7, 24), seed=i)
    words = ["restore", "in", "-m", toy, "-d", "cpu", "--dtype", "fp32", "--steps", "20"]
    started = process(*words)
    for _ in range(10):
        started.stdout.readline()
    started.send_signal(signal.SIGKILL)
    started.communicate()
    there = {path.name: path.stat().st_mtime_ns for path in Path("in_restored").glob("[0-9]*.png")}
    assert 10 <= len(there) < 60
    for name in there:
        images.read(f"in_restored/{name}")
    time.sleep(0.01)
    again = process(*words)
    out, told = again.communicate(timeout=120)
    assert again.returncode == 0 and f"{60 - len(there)} done, {len(there)} skipped" in told, told
    written = {path.name: path.stat().st_mtime_ns for path in Path("in_restored").glob("[0-9]*.png")}
    assert len(written) == 60 and {name: written[name] for name in there} == there
    assert len(out.splitlines()) == 60
