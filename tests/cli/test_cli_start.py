"""How the program starts and ends: what it loads, how long that takes, signals, and the first screen."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

HEAVY = {"torch", "numpy", "PIL", "safetensors", "tifffile", "huggingface_hub"}
COMMANDS = ["restore", "derain", "deshadow", "generate", "degrade", "convert-ddim", "train", "tasks", "bench"]
COMMANDS += ["doctor", "models list", "models info", "models convert", "models publish"]


def run(started, timeout=60):
    out, err = started.communicate(timeout=timeout)
    return started.returncode, out, err


@pytest.mark.parametrize("words", ["--help", "--version", "restore --help", "bench --help", "models list", "photo.jpg"])
def test_nothing_heavy_is_loaded(here, process, words):
    _, _, told = run(process(*words.split(), options=["-X", "importtime"]))
    loaded = {match[1].split(".")[0] for match in re.finditer(r"\|\s+([\w.]+)$", told, re.MULTILINE)}
    assert "restorer" in loaded and not loaded & HEAVY


def test_help_comes_at_once(here, process):
    best = 60.0
    for _ in range(5):
        started = time.perf_counter()
        code, out, _ = run(process("--help"))
        best = min(best, time.perf_counter() - started)
        assert code == 0 and "derain" in out
    assert best < 0.3


COMPILERS = {"torch._dynamo", "torch._inductor", "sympy", "networkx"}
"""What torch loads for compiling nets: seconds that nobody asked for."""


def test_nothing_that_compiles_is_loaded_to_restore_a_picture(here, draw, toy):
    # So large that a window is measured first.
    draw("a.png", size=(520, 520))
    words = ["derain", "a.png", "-o", "b.png", "-m", str(toy), "--steps", "1", "-d", "cpu", "--dtype", "fp32"]
    code = f"""
import sys
from restorer.cli.app import app
try:
    app({words}, prog_name="restorer")
except SystemExit as left:
    assert not left.code
print(*{{*sys.modules}})
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded = {*done.stdout.splitlines()[-1].split()}
    assert "torch" in loaded and not loaded & COMPILERS


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for others")
def test_an_interrupt_drops_the_picture_in_hand(here, draw, process, toy):
    draw("in/a.png"), draw("in/b.png", size=(1500, 1500))
    words = ["restore", "in", "-m", toy, "--steps", "100", "-d", "cpu", "--dtype", "fp32"]
    started = process(*words)
    assert started.stdout.readline().strip() == "in_restored/a.png"
    started.send_signal(signal.SIGINT)
    code, _, told = run(started)
    assert code == 130 and "Interrupted" in told and "Traceback" not in told
    assert [path.name for path in (here / "in_restored").iterdir()] == ["a.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_reader_that_leaves_is_no_fault_of_ours(here, process):
    started = process("models", "list")
    started.stdout.close()
    started.stdout = None
    code, _, told = run(started)
    assert code == 1 and told == ""


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_the_first_screen(cli, word):
    result = cli(word)
    assert result.exit_code == 0
    for command in {words.split()[0] for words in COMMANDS}:
        assert re.search(rf"^  {command} ", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_screen_ends_with_examples(cli, words):
    result = cli(*words.split(), "--help", model=False)
    assert result.exit_code == 0
    _, _, examples = result.stdout.partition("\nExamples:\n")
    assert 2 <= len(examples.splitlines()) <= 3
    assert all(line.startswith(f"  restorer {words}") for line in examples.splitlines())


def test_options_stand_in_groups(cli):
    screen = cli("restore", "--help", model=False).stdout
    heads = re.findall(r"^([A-Z].*):$", screen, re.MULTILINE)
    assert heads == [
        *(
            "Arguments",
            "Input and output",
            "Restoration",
            "Zero-shot restoration",
            "File",
            "Compute",
            "Extra output",
            "Reporting",
            "Options",
            "Examples",
        )
    ]
    assert "--input" not in screen


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_version(cli, word):
    from restorer import __version__

    assert cli(word).stdout == f"restorer {__version__}\n"


def test_without_words_the_first_screen_is_shown_as_a_usage_error(cli):
    from typer.testing import CliRunner

    from restorer.cli.app import app

    result = CliRunner().invoke(app, [])
    assert result.exit_code == 2 and "Commands:" in result.output


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["photo.jpg"], "restorer restore photo.jpg"),
        (["photos/", "-r"], "restorer restore photos/ -r"),
        (["restor"], "'restore'"),
        (["restore", "a.png", "--max_pixels", "1"], "--max-pixels"),
    ],
)
def test_near_misses(here, cli, words, hint):
    result = cli(*words, model=False)
    assert result.exit_code == 2 and hint in result.stderr
