"""``restorer tasks``: every task and every sampler has its line, and a picture is tried by every task's model."""

import json

import pytest
import torch
from PIL import Image
from toy import toy_model, toy_net

from restorer import images
from restorer.diffusion.samplers import SAMPLERS
from restorer.entry import TASKS
from restorer.pairs import COMPARISON

DUTIES = [
    {"task": "enhance", "label": 0},
    {"task": "upscale", "label": 1, "prepare": "enlarge-bicubic:2"},
    {"task": "upscale", "label": 2, "prepare": "enlarge-bicubic:4"},
]
MEASURED = {"set": "own", "metric": "psnr", "value": 30.5, "steps": 2}


def listed(cli):
    return [json.loads(line) for line in cli("tasks", "--json", model=False).stdout.splitlines()]


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """Toys in the place of what comes with restorer: of one task, of several, and two that need a mask."""
    place = tmp_path / "zoo"
    toy_model(place / "a-rain", name="a-rain")
    net = {"classes": 3}
    serves = [DUTIES[0], DUTIES[1] | {"expect": [MEASURED]}, DUTIES[2]]
    state = toy_net(**net).state_dict()
    toy_model(place / "b-several", name="b-several", state=state, net=net, task="enhance", serves=serves)
    shown = toy_net(in_channels=9).state_dict()
    words = {"name": "c-masked", "net": {"in_channels": 9}, "predict": {"input": ["x", "y", "mask"]}}
    toy_model(place / "c-masked", state=shown, task="deshadow", **words)
    toy_model(place / "d-holes", name="d-holes", task="inpaint", prepare="fill:1")
    monkeypatch.setattr("restorer.entry.models_folder", lambda: place)
    return place


def test_every_task_is_listed_with_the_model_that_serves_it(cli):
    lines = listed(cli)
    assert list(dict.fromkeys(line["task"] for line in lines)) == list(TASKS)
    trained = {line["task"]: line for line in lines if line["model"] and not line["how"]}
    assert trained["derain"]["model"] == "rddm-derain-tiny"
    assert trained["denoise"]["model"] == "irsde-denoise-tiny"
    assert trained["generate"]["model"] == "ddpm-natural-tiny"
    assert trained["derain"]["measured"] and trained["derain"]["size"] == "5.7 MB"
    left = {line["task"]: line["model"] for line in lines if line["how"] == "without training"}
    assert left == dict.fromkeys(("upscale", "inpaint", "colorize"), "ddpm-natural-tiny")
    assert "denoise" in cli("tasks", model=False).stdout


def test_a_model_of_several_tasks_has_a_line_for_each(cli, zoo):
    lines = [tuple(line[key] for key in ("task", "scale", "model", "measured")) for line in listed(cli)]
    toys = [line for line in lines if line[2] == "b-several"]
    assert toys == [
        ("enhance", None, "b-several", "20 psnr (toy, 3 steps)"),
        ("upscale", 2, "b-several", "30.5 psnr (own, 2 steps)"),
        ("upscale", 4, "b-several", None),  # what was measured of the first task says nothing of this one
    ]
    assert ("dehaze", None, None, None) in lines and not any(line["how"] for line in listed(cli))


def test_how_fast_a_model_was_in_its_own_steps_is_told(cli, tmp_path, monkeypatch):
    timed = MEASURED | {"seconds_per_megapixel": 1.5, "machine": "a CPU, fp32"}
    expect = [MEASURED, timed | {"steps": 9, "seconds_per_megapixel": 7.0}, timed | {"steps": 3}]
    toy_model(tmp_path / "zoo" / "a-rain", name="a-rain", expect=expect)
    toy_model(tmp_path / "zoo" / "b-haze", name="b-haze", task="dehaze", expect=[timed])
    monkeypatch.setattr("restorer.entry.models_folder", lambda: tmp_path / "zoo")
    told = {line["task"]: line["how_fast"] for line in listed(cli)}
    assert told["derain"] == "1.5 s a megapixel (a CPU, fp32)" and told["dehaze"] is None
    assert "how fast" in cli("tasks", model=False).stdout.splitlines()[0]


def test_a_picture_is_tried_by_every_task_that_needs_no_more(cli, zoo, here, draw):
    draw("my photo.png", size=(300, 280))
    answer = cli("tasks", "my photo.png", "--device", "cpu", model=False)
    assert answer.exit_code == 0, answer.stderr
    rows = [line.split("\t") for line in answer.stdout.splitlines()]
    assert [row[:2] for row in rows] == [
        ["task", "command"],
        ["derain", "restorer derain 'my photo.png'"],
        ["enhance", "restorer enhance 'my photo.png'"],
        ["upscale", "restorer upscale 'my photo.png' --scale 2"],
    ]
    assert all(float(row[2]) >= 0 for row in rows[1:])
    assert "my photo_tasks.jpg" in answer.stderr and "3 done" in answer.stderr
    sheet = here / "my photo_tasks.jpg"
    assert images.read_recipe(sheet) == COMPARISON
    assert images.read(sheet).size == (2 * 256 + 8, 2 * (256 + 22) + 8)
    assert sorted(path.name for path in here.iterdir() if path.is_file()) == ["my photo.png", "my photo_tasks.jpg"]
    # Again: its own sheet is written anew.
    assert cli("tasks", "my photo.png", model=False).exit_code == 0


def test_a_small_picture_is_tried_whole_and_told_in_json(cli, zoo, here, draw):
    draw("a.png", size=(20, 16), mode="L")
    answer = cli("tasks", "a.png", "-o", "out.png", "--json", model=False)
    assert answer.exit_code == 0, answer.stderr
    *lines, sheet, summary = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [(line["task"], line["scale"], line["model"]) for line in lines] == [
        ("derain", None, "a-rain"),
        ("enhance", None, "b-several"),
        ("upscale", 2, "b-several"),
    ]
    assert all(line["seconds"] > 0 and line["command"].startswith("restorer ") for line in lines)
    assert sheet == {"v": 1, "comparison": "out.png"} and summary["summary"]["done"] == 3
    assert images.read(here / "out.png").size[0] == 2 * 256 + 8


def test_a_task_whose_model_fails_is_named_and_left_out(cli, zoo, here, draw):
    weights = zoo / "a-rain" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"1234")
    draw("a.png", size=(20, 16))
    answer = cli("tasks", "a.png", model=False)
    assert answer.exit_code == 1
    assert "Error: derain: " in answer.stderr and "Failed: derain" in answer.stderr
    assert [line.split("\t")[0] for line in answer.stdout.splitlines()] == ["task", "enhance", "upscale"]
    assert (here / "a_tasks.jpg").exists()


def test_where_all_fail_there_is_no_sheet(cli, zoo, here, draw):
    draw("a.png", size=(1, 1))
    answer = cli("tasks", "a.png", "--json", model=False)
    assert answer.exit_code == 1 and not (here / "a_tasks.jpg").exists()
    assert all("too small" in json.loads(line)["error"] for line in answer.stdout.splitlines()[:-1])


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["missing.png"], 3, "missing.png does not exist"),
        (["text.png"], 3, "text.png"),
        (["a.png", "-o", "a.png"], 1, "would be written onto it"),
        (["a.png", "-o", "link.png"], 1, "would be written onto it"),
        (["a.png", "-o", "b.png"], 1, "b.png is there already and no comparison of restorer"),
        (["a.png", "-o", "sheet.txt"], 2, "name it .jpg or .png"),
        (["a.png", "--samplers"], 2, "leave out one of them"),
        (["a.png", "--steps-table", "b-several"], 2, "leave out one of them"),
        (["--samplers", "--steps-table", "b-several"], 2, "one at a time"),
        (["--steps-table", "b-severe"], 4, "did you mean 'b-several'?"),
        (["-o", "sheet.jpg"], 2, "name the picture too"),
        (["a.png", "--device", "abacus"], 2, "abacus"),
    ],
)
def test_words_that_are_off(cli, zoo, here, draw, words, code, sentence):
    draw("a.png", size=(20, 16)), draw("b.png", size=(20, 16))
    (here / "text.png").write_text("no picture")
    (here / "link.png").symlink_to("a.png")
    before = {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()}
    answer = cli("tasks", *words, model=False)
    assert answer.exit_code == code and sentence in answer.stderr, answer.stderr
    assert {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()} == before


def test_without_a_trained_model_there_is_nothing_to_try(cli, here, draw, monkeypatch):
    monkeypatch.setattr("restorer.entry.models_folder", lambda: here / "empty")
    draw("a.png")
    answer = cli("tasks", "a.png", model=False)
    assert answer.exit_code == 4 and "nothing to try" in answer.stderr
    assert {line["model"] for line in listed(cli)} == {None}


def test_a_sheet_may_go_into_a_folder_and_long_names_lose_their_middle(cli, zoo, here, draw):
    name = f"{'long ' * 20}name.png"
    draw(name, size=(20, 16)), (here / "sheets").mkdir()
    assert cli("tasks", name, "-o", "sheets", model=False).exit_code == 0
    with Image.open(here / "sheets" / f"{'long ' * 20}name_tasks.jpg") as sheet:
        assert sheet.size[0] == 2 * 256 + 8


def test_the_cells_of_a_sheet_are_the_pictures():
    from restorer.report.contact import GAP, STRIP, sheet

    shades = [torch.full((1, 3, 30, 300), k / 4) for k in range(5)]
    made = sheet([(shade, f"shade {k}") for k, shade in enumerate(shades)])
    assert made.shape == (1, 3, 2 * (STRIP + 30) + GAP, 3 * 300 + 2 * GAP)
    for k in range(5):
        row, column = divmod(k, 3)
        top, left = row * (STRIP + 30 + GAP) + STRIP, column * (300 + GAP)
        assert (made[..., top : top + 30, left : left + 300] - k / 4).abs().max() < 1 / 255
    assert made[..., STRIP + 30 : STRIP + 30 + GAP, :].min() == 1 and made[..., :STRIP, :300].min() < 0.5


def test_every_sampler_is_listed_with_a_sentence_and_its_eta(cli):
    lines = [json.loads(line) for line in cli("tasks", "--samplers", "--json", model=False).stdout.splitlines()]
    assert [line["sampler"] for line in lines] == list(SAMPLERS)
    assert all(len(line["what it does"]) > 20 for line in lines)
    assert {line["sampler"]: line["eta"] for line in lines}["sde-2"] == "1"


def test_the_table_of_steps_is_what_the_card_says_of_each_task(cli, zoo):
    expect = [MEASURED, MEASURED | {"steps": 5, "value": 31.0}, MEASURED | {"set": "other", "steps": 5, "value": 29.25}]
    serves = [DUTIES[0], DUTIES[1] | {"expect": expect}, DUTIES[2]]
    state = toy_net(classes=3).state_dict()
    toy_model(zoo / "b-several", name="b-several", state=state, net={"classes": 3}, task="enhance", serves=serves)
    answer = cli("tasks", "--steps-table", "b-several", model=False)
    assert answer.exit_code == 0 and answer.stderr == ""
    assert [line.split("\t") for line in answer.stdout.splitlines()] == [
        ["task", "scale", "set", "metric", "2 steps", "3 steps", "5 steps"],
        ["enhance", "", "toy", "psnr", "", "20", ""],
        ["upscale", "2", "own", "psnr", "30.5", "", "31"],
        ["upscale", "2", "other", "psnr", "", "", "29.25"],
    ]
    lines = [json.loads(line) for line in cli("tasks", "--steps-table", "b-several", "--json").stdout.splitlines()]
    assert lines[1] == {
        **{"task": "upscale", "scale": 2, "set": "own", "operator": None, "metric": "psnr"},
        "scores": {"2": 30.5, "5": 31.0},
    }


def test_a_card_of_one_number_of_steps_says_how_to_measure_more(cli, zoo):
    answer = cli("tasks", "--steps-table", "a-rain", model=False)
    assert answer.exit_code == 0 and len(answer.stdout.splitlines()) == 2
    assert "knows 3 steps only" in answer.stderr
    assert "benchmarks/scores.py DATA --models a-rain --steps 1 2 5" in answer.stderr
    toy_model(zoo / "a-rain", name="a-rain", expect=[])
    answer = cli("tasks", "--steps-table", str(zoo / "a-rain"), model=False)
    assert answer.exit_code == 4 and "says no score" in answer.stderr


def test_a_model_of_the_hub_has_its_table_without_its_weights(cli, hub, toy):
    hub.publish("owner/repo", toy)
    answer = cli("tasks", "--steps-table", "owner/repo", model=False)
    assert answer.exit_code == 0 and "toy\tpsnr\t20" in answer.stdout
    assert not any("model.safetensors" in path for path in hub.asked())
