"""A folder full of what is no picture: one sentence each, the rest done, nothing half-written, no traceback."""

import ctypes
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from broken_inputs import BYTES, fill

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes, limits and rights as Linux has them")


def finish(started, timeout=120):
    out, err = started.communicate(timeout=timeout)
    return started.returncode, out.splitlines(), err


def errors(told):
    return [line for line in told.splitlines() if line.startswith("Error: ")]


def test_every_kind_is_one_sentence_and_the_rest_is_done(here, draw, process, toy):
    (here / "in").mkdir()
    broken = fill(here / "in")
    good = ["good.png", "-dash.png", "with space.png", "zürich 写真.png", "'quote\".png", "a\nb.png", "upper.PNG"]
    for i, name in enumerate(good):
        draw(f"in/{name}", size=(20 + i, 16))
    draw("in/x.png", size=(30, 16)).rename(os.fsdecode(b"in/\xff\xfe.png"))
    (here / "in" / "folder.png").mkdir()  # a folder is looked into only with -r, and nothing is in it
    assert len(broken) >= 40
    code, _, told = finish(process("restore", "in", "-m", toy, "-d", "cpu", "--dtype", "fp32", errors="replace"))
    assert code == 1 and "Traceback" not in told and "unexpected" not in told, told
    named = errors(told)
    assert len(named) == len(broken), "\n".join(sorted(named))
    for name in broken:
        assert sum(f"in/{name}" in line for line in named) == 1, (name, told)
    written = sorted(os.listdir(os.fsencode(here / "in_restored")))  # noqa: PTH208 - as bytes
    assert written == sorted([*map(os.fsencode, good), b"\xff\xfe.png"])
    assert f"{len(good) + 1} done, {len(broken)} failed" in told


def test_alone_each_leaves_with_a_code_and_a_sentence(here, cli):
    for name, data in BYTES.items():
        Path(name).write_bytes(data)
        result = cli("restore", name)
        assert result.exit_code == 3 and len(errors(result.stderr)) == 1, (name, result.output)
        Path(name).unlink()
    assert list(here.iterdir()) == []


def without_override():
    """Modes bind this process too, if it is root's."""
    for right in (1, 2):  # to write, and to read, what the mode forbids
        if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, right, 0, 0, 0):
            raise OSError("root's rights stay")


def test_what_may_not_be_read_or_written(here, draw, process, toy):
    draw("in/closed.png"), draw("in/open.png"), draw("other/a.png")
    (here / "in" / "closed.png").chmod(0)
    (here / "locked").mkdir(mode=0o555)
    words = ["-m", toy, "-d", "cpu", "--dtype", "fp32"]
    try:
        code, _, told = finish(process("restore", "in", *words, preexec_fn=without_override))
    except subprocess.SubprocessError:
        pytest.skip("root's rights cannot be dropped here")
    assert code == 1 and errors(told) == ["Error: in/closed.png may not be read; change its permissions."]
    assert os.listdir("in_restored") == ["open.png"]  # noqa: PTH208
    code, _, told = finish(process("restore", "other", "-o", "locked", *words, preexec_fn=without_override))
    assert code == 1 and len(errors(told)) == 1 and "locked/a.png cannot be written (Permission denied)" in told
    code, _, told = finish(process("restore", "other", "-o", "locked/deeper", *words, preexec_fn=without_override))
    assert code == 1 and len(errors(told)) == 1 and "cannot make this folder: Permission denied" in told
    assert list((here / "locked").iterdir()) == []


def test_a_full_disk(here, draw, process, toy):
    draw("in/large.png", size=(400, 300)), draw("in/small.png", size=(8, 8))

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    words = ["restore", "in", "-m", toy, "-d", "cpu", "--dtype", "fp32"]
    code, _, told = finish(process(*words, preexec_fn=limit))
    assert code == 1 and len(errors(told)) == 1 and "in_restored/large.png cannot be written (File too large)" in told
    assert "Traceback" not in told and os.listdir("in_restored") == ["small.png"]  # noqa: PTH208


def test_names_that_become_too_long(here, draw, cli):
    longest, fits = "a" * 251 + ".png", "b" * 242 + ".png"
    draw(longest), draw(fits)
    result = cli("restore", longest, fits)
    assert result.exit_code == 1 and len(errors(result.stderr)) == 1
    assert "the name of its output has more than 255 bytes; name it: -o FILE" in result.stderr
    assert (here / f"{'b' * 242}_restored.png").exists()
    assert cli("restore", longest, "-o", "x.png").exit_code == 0
    assert cli("restore", longest, "-o", "folder/").exit_code == 0 and (here / "folder" / longest).exists()
