"""Checkpoints of strangers: nothing in them runs, none takes the memory, and each is refused in one sentence."""

import argparse
import ast
import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import restorer
from restorer.convert.checkpoints import Inert, read_checkpoint
from restorer.errors import ModelError

PACKAGE = Path(restorer.__file__).parent


class Calls:
    """Pickles as a call of ``function(*words)``."""

    def __init__(self, function, *words):
        self.call = function, words

    def __reduce__(self):
        return self.call


def touch(mark):
    return f"touch {mark}"


HOSTILE = {
    "os.system": lambda mark: Calls(os.system, touch(mark)),
    "eval": lambda mark: Calls(eval, f"open({str(mark)!r}, 'w')"),
    "exec": lambda mark: Calls(exec, f"open({str(mark)!r}, 'w')"),
    "Popen": lambda mark: Calls(subprocess.Popen, ["touch", str(mark)]),
    "open": lambda mark: Calls(open, str(mark), "w"),
    "getattr": lambda mark: Calls(getattr, "a", "upper"),
    "nested": lambda mark: {"model": {"a.weight": torch.ones(2), "b": [Calls(os.system, touch(mark))]}},
    "in a reduce": lambda mark: Calls(list, Calls(os.system, touch(mark))),
    "in inert state": lambda mark: argparse.Namespace(a=Calls(os.system, touch(mark))),
}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_runs(tmp_path, name, old):
    mark, file = tmp_path / "ran", tmp_path / "bad.pt"
    torch.save(HOSTILE[name](mark), file, _use_new_zipfile_serialization=not old)
    with pytest.raises(ModelError, match=r"bad\.pt: asks for the code ") as error:
        read_checkpoint(file)
    assert not mark.exists() and "\n" not in str(error.value) and "weights_only" not in str(error.value)


def test_all_that_is_asked_for_is_named(tmp_path):
    torch.save([Calls(os.system, "a"), Calls(eval, "1"), Calls(open, "x")], tmp_path / "bad.pt")
    with pytest.raises(ModelError, match=r"asks for the code builtins\.eval, .*open, posix\.system, which was not run"):
        read_checkpoint(tmp_path / "bad.pt")


def test_the_command_leaves_nothing(tmp_path, cli):
    mark, file = tmp_path / "ran", tmp_path / "bad.pt"
    torch.save(HOSTILE["nested"](mark), file)
    for source in ("rddm", "irsde", "ddim"):
        told = cli("models", "convert", file, "--from", source, "-o", tmp_path / "out")
        assert told.exit_code == 4 and told.stderr.count("\n") == 1 and "asks for the code posix.system" in told.stderr
    assert not mark.exists() and [path.name for path in tmp_path.iterdir()] == ["bad.pt"]


def raw_pickle():
    return pickle.dumps({"a": 1}, protocol=4)


def packed():
    """A zip bomb in the form of a checkpoint."""
    plain, bomb = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.zeros(4_000_000)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as target:
        for record in source.infolist():
            target.writestr(record.filename, source.read(record))
    return bomb.getvalue()


def cut():
    whole = io.BytesIO()
    torch.save({"a": torch.zeros(1000)}, whole)
    return whole.getvalue()[:-200]


def script():
    whole = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), whole)
    return whole.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: b"", "an empty file"),
        (raw_pickle, "no checkpoint that torch.save wrote"),
        (lambda: b"<!DOCTYPE html><html>Not found</html>", "is it another kind of file?"),
        (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "is it another kind of file?"),
        (packed, "a packed zip file"),
        (cut, "damaged or cut short"),
        (lambda: b"PK\x03\x04 and then nothing", "damaged or cut short"),
        (script, ""),
    ],
    ids=["empty", "raw", "html", "lfs", "bomb", "cut", "head", "script"],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_what_is_no_checkpoint(tmp_path, content, words):
    file = tmp_path / "bad.pt"
    file.write_bytes(content())
    with pytest.raises(ModelError) as error:
        read_checkpoint(file)
    told = str(error.value)
    assert told.startswith(f"{file}: ") and words in told and "\n" not in told and "\x1b" not in told


@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
def test_a_claim_of_ten_gigabytes_takes_none(tmp_path, old):
    """The size of a storage is a number in the pickle; here it says 2.1 billion floats."""
    file, whole = tmp_path / "claim.pt", io.BytesIO()
    torch.save({"a": torch.zeros(70_000)}, whole, _use_new_zipfile_serialization=not old)
    # 70,000 is written in the pickle as J and four bytes, 2,100,000,000 too.
    content = whole.getvalue().replace(
        b"J" + (70_000).to_bytes(4, "little"), b"J" + (2_100_000_000).to_bytes(4, "little")
    )
    assert content != whole.getvalue()
    file.write_bytes(content)
    code = f"""
import resource
from pathlib import Path
from restorer.convert.checkpoints import read_checkpoint
from restorer.errors import ModelError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_checkpoint(Path({str(file)!r}))
except ModelError as error:
    assert "\\n" not in str(error)
    print("refused", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, timeout=60)
    word, grown = told.stdout.split()
    assert word == "refused" and int(grown) < 200_000, told  # kilobytes


def test_what_trainers_keep_beside_weights_is_harmless(tmp_path):
    import types

    kept = {
        "args": argparse.Namespace(lr=1e-4, path=Path("/data")),
        "config": types.SimpleNamespace(a=1),
        "folder": Path("/runs"),
        "best": np.float64(31.5),
        "step": np.int64(7),
        "model": {"a": torch.ones(3)},
    }
    torch.save(kept, tmp_path / "good.pt")
    got = read_checkpoint(tmp_path / "good.pt")
    assert torch.equal(got["model"]["a"], torch.ones(3)) and (got["best"], got["step"]) == (31.5, 7)
    assert all(type(got[key]) is Inert for key in ("args", "config", "folder"))
    assert got["args"].state["lr"] == 1e-4


def test_pickles_are_read_in_one_place():
    found = set()
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not {"pickle", "dill", "joblib", "cloudpickle"} & set(names), file
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                words = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert words.get("weights_only") == "True", file
                found.add(file.relative_to(PACKAGE).as_posix())
    assert found <= {"convert/checkpoints.py", "train/checkpoint.py"} and "convert/checkpoints.py" in found
