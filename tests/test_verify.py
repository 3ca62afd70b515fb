"""``models verify``: what is whole passes, and one flipped byte in any file does not."""

import json
import shutil

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from restorer.entry import embedded, hash_file
from restorer.errors import ModelError
from restorer.sums import SUMS, read_sums, sums_text
from restorer.verify import verify

MODEL = "rddm-derain-tiny"
FILES = ["model.safetensors", "config.json", "README.md", "test/clean.png", "test/damaged.png", "train.toml", SUMS]


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(embedded()[MODEL], tmp_path / "copy")


def flip(file, at=-2):
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def renew(folder):
    """Card and sums say again what is there: only the score can tell."""
    file = folder / "config.json"
    card = json.loads(file.read_text(encoding="utf-8"))
    weights = folder / "model.safetensors"
    card["weights"] |= {"sha256": hash_file(weights), "bytes": weights.stat().st_size}
    file.write_text(json.dumps(card), encoding="utf-8")
    (folder / SUMS).write_text(sums_text(folder), encoding="utf-8")


@pytest.mark.parametrize("name", sorted(embedded()))
def test_every_embedded_model_passes(name):
    found = verify(name)
    assert found.notes == () and abs(found.score - found.expected) < 0.01
    assert found.files == len(read_sums(embedded()[name] / SUMS)) >= 6


@pytest.mark.parametrize("file", FILES)
def test_one_flipped_byte_is_found(copy, file):
    flip(copy / file)
    with pytest.raises(ModelError) as error:
        verify(str(copy))
    assert "\n" not in str(error.value)
    assert (SUMS if file == SUMS else file) in str(error.value)


def test_missing_and_additional_files_are_named_together(copy):
    (copy / "README.md").unlink()
    (copy / "more.txt").write_text("more", encoding="utf-8")
    (copy / ".hidden").write_text("not looked at", encoding="utf-8")
    with pytest.raises(ModelError, match=r"README\.md is missing; more\.txt is not in SHA256SUMS\. Get the"):
        verify(str(copy))


def test_a_model_that_does_something_else_is_found_by_its_score(copy):
    state = load_file(copy / "model.safetensors")
    key = next(key for key, value in state.items() if value.ndim == 4)
    state[key] = state[key] * 1.5
    save_file(state, copy / "model.safetensors")
    renew(copy)
    with pytest.raises(ModelError, match=r"the test picture comes out at .* dB, the card says 24\.88; the"):
        verify(str(copy))


def test_another_test_picture_is_another_score(copy):
    picture = Image.open(copy / "test" / "damaged.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture.save(copy / "test" / "damaged.png")
    renew(copy)
    with pytest.raises(ModelError, match="the test picture comes out at"):
        verify(str(copy))


def test_what_cannot_be_checked_is_said(copy):
    (copy / SUMS).unlink()
    shutil.rmtree(copy / "test")
    found = verify(str(copy))
    assert (found.files, found.score) == (1, None)
    assert found.notes == (
        "there is no SHA256SUMS, so only the weights were compared",
        "there is no test picture, so no score was measured",
    )


@pytest.mark.parametrize("line", ["abc  a", f"{'a' * 64}  ../b", f"{'a' * 64}  /b", f"{'a' * 64} b", ""])
def test_sums_that_are_none_are_refused(tmp_path, line):
    (tmp_path / SUMS).write_text(f"{'0' * 64}  a\n{line}\n", encoding="utf-8")
    with pytest.raises(ModelError, match="SHA256SUMS, line 2: no checksum and name of a file in the folder"):
        read_sums(tmp_path / SUMS)


def test_the_command(cli, copy):
    told = cli("models", "verify", copy)
    assert told.exit_code == 0 and "OK" in told.stdout and "24.88 dB, expected 24.88" in told.stdout
    flip(copy / "model.safetensors")
    told = cli("models", "verify", copy, MODEL, "--json")
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert told.exit_code == 4 and [line["ok"] for line in lines] == [False, True]
    assert told.stderr.count("Error: ") == 1 and "sha256" in told.stderr
