"""Cards: what is written is read back, and what is wrong is named."""

import dataclasses
import json

import pytest
from toy import card_data

from restorer import entry as module
from restorer.entry import TASKS, Entry, card, default_model, embedded, parse_entry, read_entry
from restorer.errors import ModelError, UsageError

WEIGHTS = {"file": "model.safetensors", "sha256": "0" * 64, "bytes": 10, "dtype": "fp32"}
SCORE = {"set": "a", "metric": "psnr", "value": 30.5, "steps": 5, "seed": 3}
TIMED = {"seconds_per_megapixel": 1.5, "machine": "a CPU, fp32"}


def without(data, *keys):
    """``data`` less the key at the path ``keys``."""
    head, *rest = keys
    return {k: without(v, *rest) if k == head else v for k, v in data.items() if k != head or rest}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weights": WEIGHTS},
        {"size": {"trained": 128}},
        {"predict": {"input": ["x"], "range": [0.0, 1.0], "clip": "official", "output": "res_eps"}},
        {"expect": []},
        {"sample": {"start": 0.1}},
        {"expect": [{"set": "a", "metric": "psnr", "value": 30.5, "steps": 5, "seed": 3}] * 2},
        {"expect": [SCORE | TIMED]},
        {"net": {"nested": {"a": [1, 2]}}},
    ],
)
def test_a_card_is_read_back_as_it_was_written(changes):
    entry = parse_entry(card_data(**changes), "here")
    assert parse_entry(card(entry), "here") == entry
    assert parse_entry(json.loads(json.dumps(card(entry))), "here") == entry


def test_json_says_in_a_card_what_the_entry_holds():
    entry = parse_entry(card_data(weights=WEIGHTS, size={"trained": 128}), "here")
    assert json.loads(json.dumps(card(entry))) == card_data(weights=WEIGHTS, size={"trained": 128})


def test_what_a_card_leaves_out_has_a_default():
    data = card_data()
    for path in (["predict", key] for key in ("input", "time", "range", "clip")):
        data = without(data, *path)
    data = without(without(without(data, "sample", "eta"), "expect"), "restorer")
    entry = parse_entry({**data, "size": {}}, "here")
    predict = entry.predict
    assert (predict.input, predict.time, predict.range, predict.clip) == (("x", "y"), "index", (-1.0, 1.0), "range")
    assert (entry.sample.eta, entry.expect, entry.weights, entry.restorer) == (0.0, (), None, 1)
    assert (entry.size.multiple, entry.size.minimum, entry.size.trained) == (1, 8, None)
    assert "weights" not in card(entry)
    assert "trained" not in card(entry)["size"]


def test_a_whole_number_serves_where_a_number_is_wanted():
    entry = parse_entry(card_data(sample={"eta": 1}, predict={"range": [0, 1]}), "here")
    assert isinstance(entry.sample.eta, float)
    assert entry.predict.range == (0.0, 1.0)
    assert all(isinstance(bound, float) for bound in entry.predict.range)


def test_an_entry_cannot_be_changed():
    entry = parse_entry(card_data(), "here")
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.name = "other"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"licence": "MIT"}, "here: Unknown key 'licence'; did you mean 'license'?"),
        ({"zzz": 1}, "here: Unknown key 'zzz'; known: "),
        ({"sample": {"step": 3}}, "here: sample: Unknown key 'step'; did you mean 'steps'?"),
        ({"size": {"multiples": 8}}, "here: size: Unknown key 'multiples'; did you mean 'multiple'?"),
        ({"expect": [{"sets": "a"}]}, "here: expect: Unknown key 'sets'; did you mean 'set'?"),
        ({"weights": {"file": "a"}}, "here: weights: 'sha256' is missing."),
        ({"expect": [{"set": "a", "metric": "psnr"}]}, "here: expect: 'value' is missing."),
        ({"expect": [SCORE | {"seconds_per_megapixel": 1.5}]}, "expect: seconds_per_megapixel and machine go together"),
        ({"expect": [SCORE | {"machine": "a CPU"}]}, "expect: seconds_per_megapixel and machine go together"),
        ({"expect": [SCORE | TIMED | {"seconds_per_megapixel": 0}]}, "must be a number above 0, not 0.0"),
        ({"expect": [SCORE | TIMED | {"seconds_per_megapixel": "1"}]}, "seconds_per_megapixel: '1' is not a number"),
        ({"name": 3}, "here: name: 3 is not a text."),
        ({"name": None}, "here: name: None is not a text."),
        ({"net": "plain_unet"}, "here: net: 'plain_unet' is not a table."),
        ({"sample": "ddim"}, "here: sample: expected a table of keys, found str."),
        ({"sample": {"steps": 3.0}}, "here: sample: steps: 3.0 is not a whole number."),
        ({"sample": {"steps": True}}, "here: sample: steps: True is not a whole number."),
        ({"sample": {"eta": False}}, "here: sample: eta: False is not a number."),
        ({"sample": {"eta": "0"}}, "here: sample: eta: '0' is not a number."),
        ({"predict": {"range": [0.0]}}, "here: predict: range: [0.0] is not a list of the right length."),
        ({"predict": {"input": "x"}}, "here: predict: input: 'x' is not a list"),
        ({"predict": {"input": [1]}}, "here: predict: input: 1 is not a text."),
        ({"task": "derian"}, "Unknown task 'derian'; did you mean 'derain'?"),
        ({"predict": {"range": [1.0, 1.0]}}, "predict: range must rise, not go from 1.0 to 1.0."),
        ({"predict": {"range": [float("nan"), 1.0]}}, "predict: range must rise, not go from nan to 1.0."),
        ({"sample": {"steps": 0}}, "sample: steps must be 1 or more and eta from 0 to 1, not 0 and 0.0."),
        ({"sample": {"eta": 1.5}}, "sample: steps must be 1 or more and eta from 0 to 1, not 3 and 1.5."),
        ({"sample": {"start": 0.0}}, "sample: start must be above 0, not 0.0."),
        ({"size": {"multiple": 0}}, "size: multiple and minimum must be 1 or more, not 0 and 4."),
        ({"size": {"minimum": -1}}, "size: multiple and minimum must be 1 or more, not 4 and -1."),
    ],
)
def test_a_wrong_card_is_told_what_is_wrong(changes, words):
    with pytest.raises(ModelError) as error:
        parse_entry(card_data(**changes), "here")
    assert words in str(error.value)


@pytest.mark.parametrize(
    "key", [f.name for f in dataclasses.fields(Entry) if f.default is f.default_factory is dataclasses.MISSING]
)
def test_a_missing_key_is_named(key):
    with pytest.raises(ModelError, match=f"here: '{key}' is missing"):
        parse_entry(without(card_data(), key), "here")


@pytest.mark.parametrize("version", [0, 2])
def test_a_card_of_another_version_is_told_so_before_its_keys_are_read(version):
    with pytest.raises(ModelError, match=f"here: a card of version {version}; this restorer reads 1"):
        parse_entry(card_data(restorer=version, key_of_the_future=1), "here")


@pytest.mark.parametrize("data", [None, 3, "text", [card_data()]])
def test_a_card_is_a_table(data):
    with pytest.raises(ModelError, match="here: expected a table of keys, found"):
        parse_entry(data, "here")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read the model's card: No such file"),
        (b"{", "the model's card is no JSON: "),
        (b"\xff\xfe", "the model's card is no JSON: "),
        (b"[]", "expected a table of keys, found list"),
    ],
)
def test_an_unreadable_card_is_named(tmp_path, content, words):
    file = tmp_path / "config.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelError) as error:
        read_entry(file)
    assert str(file) in str(error.value)
    assert words in str(error.value)


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "models_folder", lambda: tmp_path)
    for name in ("b-model", "a-model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(card_data(name=name)), encoding="utf-8")
    (tmp_path / "catalog").mkdir()
    return tmp_path


def test_models_that_come_with_restorer_are_listed_by_name(models):
    assert list(embedded()) == ["a-model", "b-model"]
    assert read_entry(embedded()["b-model"] / "config.json").name == "b-model"


@pytest.mark.parametrize("task", TASKS)
def test_the_default_model_is_the_first_that_serves_the_task(models, task):
    for folder in embedded().values():
        (folder / "config.json").write_text(json.dumps(card_data(task=task)), encoding="utf-8")
    assert default_model(task) == "a-model"


def test_no_model_for_a_task_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "models_folder", lambda: tmp_path)
    with pytest.raises(ModelError, match="serves the task 'derain'; name one with --model"):
        default_model("derain")
    with pytest.raises(UsageError, match="Unknown task 'derian'; did you mean 'derain'"):
        default_model("derian")
