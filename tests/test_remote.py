"""Pictures elsewhere: brought, done and sent, named as the user names them."""

import json
from pathlib import Path

import fsspec
import pytest


@pytest.fixture
def bucket(draw):
    """memory://photos with two pictures, one below another folder, and what is none."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    for name in ("a.png", "sub/b.jpg"):
        store.pipe(f"/photos/{name}", draw(f"made/{Path(name).name}", size=(20, 16)).read_bytes())
    store.pipe("/photos/notes.txt", b"none")
    store.pipe("/photos/broken.png", b"none")
    return store


def pictures(store):
    return sorted(name for name in store.find("/") if "/photos/" not in name)


def test_a_folder_elsewhere(here, bucket, cli):
    result = cli("restore", "memory://photos", "-r", "-o", "memory://clean", "--json")
    assert result.exit_code == 1
    *lines, summary = map(json.loads, result.stdout.splitlines())
    assert {line["input"]: line["status"] for line in lines} == {
        "memory://photos/a.png": "done",
        "memory://photos/broken.png": "failed",
        "memory://photos/sub/b.jpg": "done",
    }
    assert [line["output"] for line in lines if line["output"]] == ["memory://clean/a.png", "memory://clean/sub/b.jpg"]
    assert "memory://photos/broken.png is not a picture" in result.stderr and "/tmp" not in result.output
    assert pictures(bucket) == ["/clean/a.png", "/clean/sub/b.jpg"] and summary["summary"]["done"] == 2
    # The very bytes that are written on this machine.
    assert cli("restore", "made", "-o", "here").exit_code == 0
    assert bucket.cat("/clean/a.png") == Path("here/a.png").read_bytes()
    again = cli("restore", "memory://photos/a.png", "-o", "memory://clean/a.png")
    assert "1 skipped" in again.stderr
    other = cli("restore", "memory://photos/a.png", "-o", "memory://clean/a.png", "--steps", "2")
    assert "made with other settings" in other.stderr and other.exit_code == 0


def test_names_without_an_output(here, bucket, cli):
    assert cli("restore", "memory://photos/a.png").exit_code == 0
    assert cli("restore", "memory://photos/sub").exit_code == 0
    assert bucket.exists("/photos/a_restored.png") and bucket.exists("/photos/sub_restored/b.jpg")


def test_from_here_to_elsewhere_with_samples(here, bucket, cli):
    assert cli("restore", "made/a.png", "-o", "memory://there/", "--samples", "2").exit_code == 0
    made = ["a_mean.png", "a_s1.png", "a_s2.png", "a_uncertainty.png"]
    assert pictures(bucket) == [f"/there/{name}" for name in made]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["memory://photos/gone.png"], 3, "does not exist"),
        (["memory://photos", "--mask", "made"], 2, "--mask is for pictures on this machine"),
        (["memory://photos/a.png", "--exists", "rename"], 2, "nothing is renamed"),
        (["nowhere://photos"], 3, "cannot be listed"),
        (["memory://photos/a.png", "-o", "memory://photos/a.png"], 2, "would be written onto"),
    ],
)
def test_what_cannot_be(here, bucket, cli, words, code, sentence):
    result = cli("restore", *words)
    assert (result.exit_code, sentence in " ".join(result.stderr.split())) == (code, True), result.stderr


def test_a_dry_run_fetches_nothing(here, bucket, cli, monkeypatch):
    monkeypatch.setattr("restorer.remote.staged", lambda *words: pytest.fail("something was done"))
    result = cli("restore", "memory://photos/a.png", "-n")
    assert result.exit_code == 0 and "1 would be written" in result.stderr
