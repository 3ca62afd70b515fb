"""How the program starts and ends: what it loads, how long that takes, signals, and the first screen."""

import gc
import os
import re
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from restorer.cli.loading import loading

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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows tells no processor time of children")
def test_help_comes_at_once(here, process):
    """By the processor's time, which other work on the machine does not lengthen much."""
    best = 60.0
    for _ in range(5):
        before = spent()
        code, out, _ = run(process("--help"))
        best = min(best, spent() - before)
        assert code == 0 and "derain" in out
    assert best < 0.3


def spent():
    """Seconds of the processor that children which have ended took."""
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


COMPILERS = {"torch._dynamo", "torch._inductor", "sympy", "networkx"}
"""What torch loads for compiling nets: seconds that nobody asked for."""
OTHERS = {
    *("tifffile", "xml.etree.ElementTree", "PIL.ImageCms", "PIL.ImageDraw", "PIL.ImageFont", "rich", "statistics"),
    *("huggingface_hub", "jinja2", "fsspec", "restorer.images.tiff", "restorer.report", "restorer.plot"),
    *("restorer.convert", "restorer.degrade", "restorer.generate", "restorer.publish", "restorer.train"),
    *("restorer.verify", "restorer.zeroshot", "restorer.cluster", "restorer.hub.fetching", "restorer.cli.train"),
    *("restorer.cli.models", "restorer.cli.compare", "restorer.cli.score", "restorer.cli.generate"),
}
"""What other commands, formats and models load."""
TOLD = """
import gc, sys
from restorer.cli.app import app
try:
    app({words}, prog_name="restorer")
except SystemExit as left:
    assert not left.code
assert gc.isenabled() and ("torch" in sys.modules) == (gc.get_freeze_count() > 0)
print(*{{*sys.modules}})
"""


def loaded_by(*words):
    """The modules of a process that has run a command."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TOLD.format(words=[*map(str, words)])]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    return {*done.stdout.splitlines()[-1].split()}


def test_what_is_loaded_to_restore_a_picture(here, draw, toy):
    # So large that a window is measured first.
    draw("a.png", size=(520, 520))
    words = ["derain", "a.png", "-o", "b.png", "-m", toy, "--steps", "1", "-d", "cpu", "--dtype", "fp32"]
    loaded = loaded_by(*words)
    assert "torch" in loaded and not loaded & (COMPILERS | OTHERS)


@pytest.mark.parametrize(
    ("words", "wanted"), [("--version", set()), ("doctor --help", {"doctor"}), ("models list", {"models"})]
)
def test_no_other_command_is_loaded(here, words, wanted):
    others = {f"restorer.cli.{name}" for name in ("doctor", "models", "generate", "train", "download", "publish")}
    assert loaded_by(*words.split()) & others == {f"restorer.cli.{name}" for name in wanted}


def test_modules_that_are_loaded_are_no_garbage():
    code = """
import gc
from restorer.cli.loading import loading
usual = gc.get_threshold()
with loading():
    assert not gc.isenabled()
    import json
assert gc.isenabled() and gc.get_freeze_count() and gc.get_threshold() == usual
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60)


def test_where_torch_is_loaded_garbage_is_looked_for_as_ever():
    kept = gc.get_freeze_count()
    with loading():
        assert gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count() == kept


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for others")
def test_an_interrupt_drops_the_picture_in_hand(here, draw, process, toy):
    draw("in/a.png"), draw("in/b.png", size=(1500, 1500))
    words = ["restore", "in", "-m", toy, "--steps", "100", "-d", "cpu", "--dtype", "fp32"]
    # A process that begins in the background ignores interrupts, and so do its children unless it hears them again.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        started = process(*words)
    finally:
        signal.signal(signal.SIGINT, usual)
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
