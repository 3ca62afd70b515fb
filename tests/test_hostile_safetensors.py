"""Damaged and hostile model files: one sentence each, no crash, and never other weights than the card proves."""

import hashlib
import json
import shutil
import struct

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save
from toy import card_data, toy_model, toy_net

from restorer.errors import ModelError, RestorerError
from restorer.load import find, load

CPU = torch.device("cpu")
CARD = json.dumps(card_data())


def written(header, data=b"", *, length=None):
    """A file of this header, which may be a table or bytes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(begin, end, *, dtype="F32", shape=None):
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


META = {"__metadata__": {"config.json": CARD}}
WHOLE = save(toy_net().state_dict(), {"config.json": CARD})
HEADER = struct.unpack("<Q", WHOLE[:8])[0]

FILES = {
    "empty": b"",
    "five bytes": b"12345",
    "header cut": WHOLE[:200],
    "header longer than the file": written(META, length=10_000_000),
    "header above 100 MB": written(META, length=200_000_000),
    "html": b"<!DOCTYPE html><html><body>Not found</body></html>",
    "lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    "renamed zip": b"PK\x03\x04" + bytes(100),
    "data cut": WHOLE[:-10],
    "extra bytes": WHOLE + b"more",
    "bad utf-8": written(b'{"\xff\xfe": 1}'),
    "bad json": written(b'{"a": '),
    "a list": written([1, 2]),
    "unknown dtype": written({**META, "a": tensor(0, 4, dtype="F99")}, bytes(4)),
    "negative shape": written({**META, "a": tensor(0, 4, shape=[-1])}, bytes(4)),
    "shape other than offsets": written({**META, "a": tensor(0, 4, shape=[7])}, bytes(4)),
    "overlap": written({**META, "a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)),
    "hole": written({**META, "a": tensor(0, 4), "b": tensor(8, 12)}, bytes(12)),
    "reversed": written({**META, "a": tensor(4, 0, shape=[1])}, bytes(4)),
    "overflow": written({**META, "a": tensor(0, 4, shape=[2**40, 2**40])}, bytes(4)),
    "ten gigabytes": written({**META, "a": tensor(0, 10_000_000_000)}, bytes(4)),
    "metadata no texts": written({"__metadata__": {"config.json": 3}, "a": tensor(0, 4)}, bytes(4)),
    "no tensors": written(META),
    "duplicate keys": written(
        json.dumps(META)[:-1].encode() + b', "a": %s, "a": %s}' % ((json.dumps(tensor(0, 4)).encode(),) * 2), bytes(4)
    ),
}  # fmt: skip


def folder_of(path, content):
    """A model folder whose card proves exactly these bytes, so that reading them is what must refuse."""
    path.mkdir(exist_ok=True)
    (path / "model.safetensors").write_bytes(content)
    proof = {"file": "model.safetensors", "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (path / "config.json").write_text(json.dumps({**card_data(), "weights": {**proof, "dtype": "fp32"}}))
    return path


def loaded(model):
    return load(find(str(model)), CPU, torch.float32)


@pytest.mark.parametrize("alone", [False, True], ids=["folder", "file"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_told_in_a_sentence(tmp_path, name, alone):
    folder = folder_of(tmp_path / "bad", FILES[name])
    with pytest.raises(ModelError) as error:
        loaded(folder / "model.safetensors" if alone else folder)
    told = str(error.value)
    assert ("\n" not in told and told.endswith((".", "?"))) or "no safetensors file: " in told
    assert "model.safetensors" in told or "do not fit the net" in told


@pytest.mark.parametrize("alone", [False, True], ids=["folder", "file"])
def test_what_is_not_there(tmp_path, alone):
    folder = folder_of(tmp_path / "bad", b"")
    (folder / "model.safetensors").unlink()
    for make in (lambda: None, (folder / "model.safetensors").mkdir):
        make()
        with pytest.raises(ModelError, match=r"model\.safetensors: "):
            loaded(folder / "model.safetensors" if alone else folder)


def test_every_key_and_shape_must_match(tmp_path):
    state = toy_net().state_dict()
    keys = list(state)
    wrong = {key: value for key, value in state.items() if key not in keys[:7]}
    wrong |= {"other.a": torch.ones(1), keys[8]: torch.ones(3, 2)}
    folder = toy_model(tmp_path / "toy", state=wrong)
    with pytest.raises(ModelError) as error:
        loaded(folder)
    told = str(error.value)
    assert (
        f"7 missing: {', '.join(keys[:5])}, ...; 1 unexpected: other.a; 1 of another shape: {keys[8]} 3x2 for " in told
    )
    assert "\n" not in told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data | {"stpes": 3}, "Unknown key 'stpes'; did you mean 'steps'"),
        (lambda data: data | {"licence": "MIT"}, "Unknown key 'licence'; did you mean 'license'"),
        (lambda data: data | {"name": 3}, "name: 3 is not a text"),
        (lambda data: data | {"net": []}, "net: [] is not a table"),
        (lambda data: data | {"schedule": {"kind": "vp", "T": float("nan")}}, ""),
        (lambda data: data | {"schedule": {"kind": "vp", "T": 10**30}}, ""),
        (lambda data: data | {"net": {"arch": "plain_unet", "widths": [10**9], "depths": [1]}}, ""),
        (lambda data: data | {"net": {"arch": "__import__"}}, "Unknown net arch '__import__'"),
        (lambda data: {"restorer": 99}, "a card of version 99"),
    ],
)
def test_cards_that_say_nonsense(tmp_path, change, words):
    folder = toy_model(tmp_path / "toy")
    data = change(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    if "stpes" in data:
        data["sample"]["stpes"] = data.pop("stpes")
    (folder / "config.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(RestorerError) as error:
        loaded(folder)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_card_of_brackets(tmp_path):
    folder = toy_model(tmp_path / "toy")
    (folder / "config.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ModelError, match="is no JSON"):
        find(str(folder))


# any byte

edits = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "insert", "swap"]), st.floats(0, 1), st.integers(1, 255)),
    min_size=1,
    max_size=3,
)


def edited(content, changes):
    content = bytearray(content)
    for kind, where, byte in changes:
        # Half of the edits hit the header, where a change may mean something else.
        at = int(where * 2 * (HEADER + 8)) if where < 0.5 else int((where - 0.5) * 2 * (len(content) - 1))
        at = min(at, max(len(content) - 1, 0))
        if kind == "flip" and content:
            content[at] ^= byte
        elif kind == "cut":
            del content[at : at + byte]
        elif kind == "insert":
            content[at:at] = bytes([byte]) * (byte % 9 + 1)
        elif len(content) > at + 16:
            content[at : at + 8], content[at + 8 : at + 16] = content[at + 8 : at + 16], content[at : at + 8]
    return bytes(content)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A model folder, and one that is written anew for each example."""
    folder = tmp_path_factory.mktemp("models")
    return toy_model(folder / "whole"), toy_model(folder / "other")


quick = settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


@quick
@given(changes=edits, renewed=st.booleans())
@example(changes=[("flip", 1.0, 1)], renewed=True)
def test_no_edit_of_the_weights_passes_unseen(places, changes, renewed):
    whole, other = places
    content = (whole / "model.safetensors").read_bytes()
    mutated = edited(content, changes)
    shutil.copy(whole / "config.json", other / "config.json")
    (other / "model.safetensors").write_bytes(mutated)
    if renewed:  # the card proves the damaged file: what is left to refuse is the reading
        folder_of(other, mutated)
    try:
        state = loaded(other).net.state_dict()
    except RestorerError as error:
        assert "\n" not in str(error)
        return
    true = load_file(whole / "model.safetensors")
    assert state.keys() == true.keys() and all(state[key].shape == true[key].shape for key in true)
    if not renewed:
        assert all(torch.equal(state[key], true[key]) for key in true)


@quick
@given(changes=edits)
def test_no_edit_of_the_card_crashes(places, changes):
    whole, other = places
    content = (whole / "config.json").read_bytes()
    shutil.copy(whole / "model.safetensors", other / "model.safetensors")
    (other / "config.json").write_bytes(
        edited(content, [(kind, where % 0.5 + 0.5, byte) for kind, where, byte in changes])
    )
    try:
        loaded(other)
    except RestorerError as error:
        assert "\n" not in str(error)


def test_a_whole_folder_loads(tmp_path):
    folder = folder_of(tmp_path / "good", WHOLE)
    assert loaded(folder).net.state_dict().keys() == toy_net().state_dict().keys()
