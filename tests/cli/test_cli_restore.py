"""``restore``, its aliases and ``degrade``, from words to files, streams and exit codes."""

import hashlib
import json
import shutil
import threading
from pathlib import Path

import pytest
from PIL import Image
from toy import toy_model, toy_net

from restorer import images
from restorer.cli.restore import HELP
from restorer.entry import TASKS
from restorer.restore import Restorer

FIELDS = {
    "v": int,
    "input": str,
    "output": str,
    "status": str,
    "task": str,
    "model": str,
    "sampler": str,
    "steps": int,
    "eta": float,
    "seed": int,
    "size": list,
    "device": str,
    "dtype": str,
    "seconds": float,
    "warnings": list,
}


def names(folder="."):
    return sorted(path.name for path in Path(folder).rglob("*") if path.is_file())


def errors(result):
    return [line for line in result.stderr.splitlines() if line.startswith("Error: ")]


def json_lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


# ------------------------------------------------------------------------------------------------ bad inputs


def text(path):
    path.write_text("not a picture")


def empty(path):
    path.touch()


def cut(path):
    Image.linear_gradient("L").save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:300])


def missing(path):
    pass


def folder(path):
    path.mkdir()


def tiny(path):
    Image.new("RGB", (1, 1)).save(path, "PNG")


BAD = [(text, 3), (empty, 3), (cut, 3), (missing, 3), (folder, 3), (tiny, 1)]


@pytest.mark.parametrize(("make", "code"), BAD, ids=lambda value: getattr(value, "__name__", value))
def test_a_bad_input_is_one_sentence_and_nothing_else(here, draw, cli, make, code):
    make(here / "bad.png")
    before = names()
    result = cli("restore", "bad.png")
    assert result.exit_code == code
    [sentence] = errors(result)
    assert "bad.png" in sentence and sentence.endswith(".") and "Traceback" not in result.stderr
    assert result.stdout == "" and names() == before


@pytest.mark.parametrize(("make", "code"), BAD, ids=lambda value: getattr(value, "__name__", value))
def test_a_bad_input_does_not_stop_the_others(here, draw, cli, make, code):
    draw("a.png"), draw("z.png")
    make(here / "bad.png")
    result = cli("restore", "a.png", "bad.png", "z.png")
    assert result.exit_code == 1
    assert len(errors(result)) == 1
    assert result.stdout.split() == ["a_restored.png", "z_restored.png"]
    assert "2 done, 1 failed" in result.stderr and "Failed: bad.png" in result.stderr


def test_two_bad_inputs_of_which_one_was_read(here, cli):
    text(here / "a.png"), tiny(here / "b.png")
    assert cli("restore", "a.png", "b.png").exit_code == 1


def test_fail_fast(here, draw, cli):
    draw("z.png")
    text(here / "a.png")
    result = cli("restore", "a.png", "z.png", "--fail-fast")
    assert result.exit_code == 1 and names() == ["a.png", "z.png"]
    # What was begun on the next picture is over, though the result still holds the frames that asked for it.
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(("read", "compute", "write"))]
    result = cli("restore", "nothing.png", "z.png", "--fail-fast")
    assert result.exit_code == 1 and names() == ["a.png", "z.png"]


# ------------------------------------------------------------------------------------------------ exit codes

CODES = [
    (0, ["a.png"]),
    (0, ["a.png", "-n"]),
    (1, ["a.png", "-o", "a.png"]),
    (2, []),
    (2, ["a.png", "--steps", "0"]),
    (2, ["a.png", "--steps", "1000"]),
    (2, ["a.png", "--eta", "2"]),
    (2, ["a.png", "--seed", "-2"]),
    (2, ["a.png", "--no-such-option"]),
    (2, ["a.png", "--task", "dehase"]),
    (2, ["a.png", "--max-pixels", "many"]),
    (2, ["a.png", "-y", "--exists", "rename"]),
    (2, ["a.png", "-o", "-", "--json"]),
    (2, ["a.png", "--format", "gif"]),
    (2, ["a.png", "-f", "jpg", "--bits", "16"]),
    (2, ["a.png", "--device", "gpu"]),
    (4, ["a.png", "-m", "nothing"]),
    (4, ["a.png", "-m", "damaged"]),
    (5, ["a.png", "--device", "cuda:99"]),
]


@pytest.mark.parametrize(("code", "words"), CODES, ids=[" ".join(["restore", *words]) for _, words in CODES])
def test_exit_codes(here, draw, cli, toy, code, words):
    draw("a.png")
    shutil.copytree(toy, "damaged")
    with Path("damaged/model.safetensors").open("ab") as weights:
        weights.write(b"more")
    # What is given last wins, and the toy comes first here.
    result = cli("restore", "-m", toy, "-d", "cpu", *words, model=False)
    assert result.exit_code == code, result.stderr
    assert "Traceback" not in result.output
    if code > 1:
        assert "Error: " in result.stderr and names(".") == ["a.png", "config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("fault", "code", "words"), [(MemoryError(), 5, "not enough memory"), (ValueError("odd"), 1, "ValueError: odd")]
)
def test_faults_in_the_middle(here, draw, cli, monkeypatch, fault, code, words):
    def fail(*args):
        raise fault

    monkeypatch.setattr(Restorer, "make", fail)
    draw("a.png")
    result = cli("restore", "a.png")
    assert result.exit_code == code and names() == ["a.png"]
    [sentence] = errors(result)
    assert "a.png" in sentence and words in sentence
    assert "Traceback" not in result.stderr
    assert "Traceback" not in cli("restore", "a.png", "-v").stderr
    assert "Traceback" in cli("restore", "a.png", "-vv").stderr


def test_an_interruption_keeps_what_is_written(here, draw, cli, monkeypatch):
    draw("a.png"), draw("b.png", size=(20, 20))
    whole = Restorer.make

    def interrupted(self, y, *rest):
        if y.shape[-1] == 20:
            raise KeyboardInterrupt
        return whole(self, y, *rest)

    monkeypatch.setattr(Restorer, "make", interrupted)
    result = cli("restore", "a.png", "b.png")
    assert result.exit_code == 130 and "Interrupted" in result.stderr and "1 done" in result.stderr
    assert names() == ["a.png", "a_restored.png", "b.png"]


# ------------------------------------------------------------------------------------------------ streams


def test_output_paths_go_to_standard_output(here, draw, cli):
    draw("in/a.png"), draw("in/b.png")
    result = cli("restore", "in")
    assert result.stdout.splitlines() == [str(Path("in_restored/a.png")), str(Path("in_restored/b.png"))]
    assert "2 done in " in result.stderr


def test_quiet_leaves_paths_and_errors(here, draw, cli):
    draw("in/a.png"), text(here / "in" / "b.png")
    result = cli("restore", "in", "-q")
    assert result.stdout.splitlines() == [str(Path("in_restored/a.png"))]
    assert result.stderr.splitlines() == errors(result) and len(errors(result)) == 1


def test_json(here, draw, cli):
    draw("in/a.png", size=(12, 10)), text(here / "in" / "b.png")
    result = cli("restore", "in", "nothing", "--json")
    missing, done, failed, summary = json_lines(result)
    assert list(done) == list(FIELDS)
    assert {key: type(value) for key, value in done.items()} == FIELDS
    assert (done["v"], done["status"], done["task"], done["model"], done["seed"]) == (1, "done", "derain", "toy", 0)
    assert (done["size"], done["device"], done["dtype"], done["warnings"]) == ([12, 10], "cpu", "fp32", [])
    assert (failed["status"], failed["output"]) == ("failed", None) and "b.png" in failed["error"]
    assert missing["status"] == "failed" and "nothing" in missing["error"]
    assert summary["v"] == 1
    assert {**summary["summary"], "seconds": 0} == {"done": 1, "skipped": 0, "other": 0, "failed": 2, "seconds": 0}


def test_json_without_any_input(here, cli):
    result = cli("restore", "nothing", "--json")
    assert result.exit_code == 3
    assert [line.get("status", "summary") for line in json_lines(result)] == ["failed", "summary"]


def test_a_picture_through_standard_streams(here, draw, cli):
    data = draw("a.png").read_bytes()
    piped = cli("restore", "-", stdin=data)
    assert piped.exit_code == 0
    assert images.decode(piped.stdout_bytes, "out").size == (12, 10)
    cli("restore", "a.png", "-o", "x.png")
    assert (images.read(Path("x.png")).pixels == images.decode(piped.stdout_bytes, "out").pixels).all()
    named = cli("restore", "a.png", "-o", "-", "-f", "jpg")
    assert named.stdout_bytes[:3] == b"\xff\xd8\xff"
    assert cli("restore", "-", "-o", "y.png", stdin=data).stdout == "y.png\n"
    assert cli("restore", "-", stdin=b"text").exit_code == 3


def test_a_dry_run_touches_nothing(here, draw, cli):
    draw("in/a.png"), draw("in/b.png")
    cli("restore", "in/a.png", "-o", "in_restored/")
    before = names()
    result = cli("restore", "in", "-n", "--steps", "2")
    assert result.exit_code == 0 and names() == before
    assert "steps 2 (given)" in result.stderr and "eta 0 (from the model)" in result.stderr
    assert "1 would be written, 1 skipped (made with other settings" in result.stderr
    [_, planned, summary] = json_lines(cli("restore", "in", "-n", "--json"))
    assert planned["status"] == "planned" and summary["summary"]["planned"] == 1


# ------------------------------------------------------------------------------------------------ settings


def test_settings_reach_the_picture_and_its_recipe(here, draw, cli):
    draw("a.png")
    words = ["--steps", "2", "--eta", "0.5", "--seed", "7"]
    assert cli("restore", "a.png", *words, "-o", "x.png", "-T", "derain").exit_code == 0
    recipe = images.read_recipe(Path("x.png"))
    assert [recipe[key] for key in ("task", "model", "steps", "eta", "seed", "dtype")] == [
        *("derain", "toy", 2, 0.5, 7, "fp32")
    ]
    assert recipe["input"] == hashlib.sha256(Path("a.png").read_bytes()).hexdigest()


def test_a_drawn_seed_is_recorded(here, draw, cli):
    draw("a.png")
    [line, _] = json_lines(cli("restore", "a.png", "--seed", "-1", "--json"))
    assert line["seed"] == images.read_recipe(Path("a_restored.png"))["seed"] != -1


def test_a_task_that_is_not_the_models(here, draw, cli, monkeypatch):
    monkeypatch.setitem(TASKS, "dehaze", "dehazed")
    draw("a.png")
    result = cli("restore", "a.png", "-T", "dehaze")
    assert result.exit_code == 2 and "'toy' is for derain, not dehaze" in result.stderr


def test_skip_other_overwrite_rename_error(here, draw, cli):
    draw("a.png")

    def status(*words):
        result = cli("restore", "a.png", "--json", *words)
        return json_lines(result)[0]["status"], result.exit_code

    assert status() == ("done", 0)
    assert status() == ("skipped", 0)
    assert status("--seed", "1") == ("other", 0)
    assert status("--exists", "error") == ("failed", 1)
    assert status("--exists", "rename") == ("done", 0)
    assert status("-y", "--seed", "1") == ("done", 0)
    assert status("--seed", "1") == ("skipped", 0)
    assert names() == ["a.png", "a_restored.png", "a_restored_2.png"]
    assert "1 skipped (made with other settings: use --overwrite)" in cli("restore", "a.png", "--seed", "2").stderr


def test_names_formats_and_metadata(here, draw, cli):
    draw("in/a.jpg", dpi=(300, 300)), draw("in/sub/b.png")
    options = ["-r", "-f", "png", "--bits", "16", "--suffix", "_x", "--metadata", "strip", "--record", "sidecar"]
    assert cli("restore", "in", "-o", "out", *options, "-Q", "90").exit_code == 0
    assert names("out") == ["a_x.png", "a_x.png.json", "b_x.png", "b_x.png.json"]
    picture = images.read(Path("out/a_x.png"))
    assert (picture.bits, picture.dpi) == (16, None)
    assert (Path("out") / "sub" / "b_x.png").exists()


def test_max_pixels(here, draw, cli):
    draw("a.png", size=(20, 20))
    assert cli("restore", "a.png", "--max-pixels", "0.0001M").exit_code == 3
    assert cli("restore", "a.png", "--max-pixels", "1k").exit_code == 0


def test_real_esrgan_habits(here, draw, cli):
    draw("a.png")
    assert cli("restore", "-i", "a.png", "-o", "x.png").stdout == "x.png\n"


@pytest.mark.parametrize("task", HELP)
def test_aliases_are_restore_with_the_task_fixed(here, draw, cli, task):
    draw("a.png"), draw("in/b.png")
    toy_model(here / "model", task=task)
    with_model = ["-m", "model", "--device", "cpu", "--dtype", "fp32"]
    told = cli(task, "a.png", "in", *with_model, model=False).stdout
    assert told.split() == [f"a_{TASKS[task]}.png", f"in_{TASKS[task]}/b.png"]
    assert cli(task, "a.png", "--task", task, model=False).exit_code == 2
    same = cli("restore", "a.png", "-T", task, *with_model, model=False)
    assert same.stdout == "a_restored.png\n"
    assert Path("a_restored.png").read_bytes() == Path(f"a_{TASKS[task]}.png").read_bytes()


def test_an_alias_without_a_model_that_comes_with_restorer_says_so(here, draw, cli, monkeypatch):
    monkeypatch.setattr("restorer.entry.embedded", dict)
    draw("a.png")
    result = cli("dejpeg", "a.png", model=False)
    assert result.exit_code == 4 and names() == ["a.png"]
    assert errors(result) == [
        "Error: No model that comes with restorer serves the task 'dejpeg'; name one with --model."
    ]


@pytest.mark.parametrize("task", HELP)
def test_an_alias_has_the_options_its_models_use(cli, task):
    assert ("--mask" in cli(task, "--help", model=False).stdout) == (task in ("deshadow", "inpaint"))


# ------------------------------------------------------------------------------------------------ masks


@pytest.fixture
def masked(here):
    """A model that is shown a mask."""
    toy_model(here / "m", task="deshadow", state=toy_net(in_channels=9).state_dict(), **MASKED)
    return ["-m", "m", "-d", "cpu", "--dtype", "fp32", "-y"]


MASKED = {"net": {"in_channels": 9}, "predict": {"input": ["x", "y", "mask"]}}


def test_a_mask_reaches_the_picture_and_its_recipe(here, draw, cli, masked):
    draw("a.png")
    for name, grey in (("white.png", 255), ("black.png", 0)):
        Image.new("L", (12, 10), grey).save(name)
    results = {}
    for mask in ("white.png", "black.png"):
        assert cli("deshadow", "a.png", "--mask", mask, *masked, model=False).exit_code == 0
        results[mask] = images.read(Path("a_deshadowed.png")).pixels
        recipe = images.read_recipe(Path("a_deshadowed.png"))
        assert recipe["mask"] == hashlib.sha256(Path(mask).read_bytes()).hexdigest()
    assert (results["white.png"] != results["black.png"]).any()
    other = cli("deshadow", "a.png", "--mask", "white.png", *masked[:-1], "--json", model=False)
    assert json_lines(other)[0]["status"] == "other"


def test_masks_are_found_by_name(here, draw, cli, masked):
    draw("in/a.png"), draw("in/sub/b.jpg"), draw("in/c.png"), draw("in/d.png")
    for name in ("a.png", "sub/b.png", "d.png", "d.tif"):
        (here / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (12, 10), (255, 255, 255, 128)).save(here / "masks" / name)
    Path("masks/d.png").rename("masks/d.bmp")
    result = cli("restore", "in", "-r", "--mask", "masks", *masked, model=False)
    assert result.exit_code == 1 and names("in_restored") == ["a.png", "b.jpg"]
    first, second = errors(result)
    assert "in/c.png: no mask c.* in masks" in first and "in/d.png: several masks: d.bmp and d.tif" in second


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["-m", "m"], 2, "'toy' needs a mask"),
        (["-m", "t", "--mask", "mask.png"], 2, "'toy' takes no mask"),
        (["-m", "m", "--mask", "nothing.png"], 3, "nothing.png: no such mask"),
        (["-m", "m", "--mask", "large.png"], 1, "large.png: a mask of 13x10 pixels, the picture has 12x10"),
        (["-m", "m", "--mask", "text.png"], 1, "text.png is not a picture"),
        (["-m", "m", "--mask", "mask.png", "-o", "mask.png", "-y"], 1, "would be written onto mask.png"),
        (["-m", "g"], 2, "'toy' draws new pictures"),
    ],
)
def test_masks_that_do_not_fit(here, draw, cli, masked, words, code, sentence):
    toy_model(here / "t"), toy_model(here / "g", task="generate")
    draw("a.png"), draw("large.png", size=(13, 10)), draw("mask.png")
    text(here / "text.png")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    result = cli("restore", "a.png", "-d", "cpu", *words, model=False)
    assert result.exit_code == code
    [told] = errors(result)
    assert sentence in told
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_a_mask_is_turned_upright_like_its_picture(here, draw, cli, masked):
    turned = Image.Exif()
    turned[0x0112] = 6
    draw("a.jpg", size=(12, 10), exif=turned), draw("mask.png", size=(10, 12))
    assert cli("restore", "a.jpg", "--mask", "mask.png", *masked, model=False).exit_code == 0


# ------------------------------------------------------------------------------------------------ larger, and filled


def model_that(here, prepare, task):
    toy_model(here / "m", task=task, prepare=prepare)
    return ["-m", "m", "-d", "cpu", "--dtype", "fp32", "-y"]


def test_upscale_writes_a_larger_picture(here, draw, cli):
    model = model_that(here, "enlarge-nearest:4", "upscale")
    draw("in/a.png", size=(9, 7), mode="RGBA"), draw("gt/a.png", size=(36, 28)), draw("small/a.png", size=(9, 7))
    result = cli("upscale", "in", *model, "--scale", 4, "--gt", "gt", "--trace", "gif", "--json", model=False)
    line = json_lines(result)[0]
    assert (line["status"], line["size"], line["warnings"]) == ("done", [36, 28], []) and line["psnr"] > 0
    with Image.open("in_upscaled/a.png") as made, Image.open("in_upscaled/a.gif") as trace:
        assert (made.size, made.mode, trace.size) == ((36, 28), "RGBA", (36, 28))
    result = cli("upscale", "in", *model, "--trace", "plot", "--gt", "gt", "-o", "plot", model=False)
    assert result.exit_code == 0 and names("plot") == ["a.png", "a_trace.png"]
    line = json_lines(cli("upscale", "in", *model, "--gt", "small", "-o", "o", "--json", model=False))[0]
    assert "of 9x7 pixels, the picture has 36x28" in line["warnings"][0] and "psnr" not in line


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--scale", "2"], 2, "'toy' enlarges 4 times, not 2"),
        (["--max-pixels", "1007"], 1, "a.png: enlarged 4 times it is 36 x 28 pixels, more than the limit of 1,007"),
        (["--max-pixels", "1008"], 0, ""),
    ],
)
def test_enlargement_has_its_limits(here, draw, cli, words, code, sentence):
    draw("a.png", size=(9, 7))
    result = cli("upscale", "a.png", *model_that(here, "enlarge-bicubic:4", "upscale"), *words, model=False)
    assert result.exit_code == code and sentence in result.stderr
    assert Path("a_upscaled.png").exists() == (code == 0)


def test_a_scale_is_refused_by_a_model_that_has_none(here, draw, cli):
    draw("a.png")
    assert "keeps the size of a picture" in cli("restore", "a.png", "--scale", "2").stderr
    assert "No such option" in cli("derain", "a.png", "--scale", "2").stderr


def test_inpaint_fills_what_is_marked_and_says_when_nothing_is(here, draw, cli):
    model = model_that(here, "fill:1", "inpaint")
    draw("a.png")
    Image.new("L", (12, 10), 255).save("all.png"), Image.new("RGB", (12, 10), "white").save("white.png")
    line = json_lines(cli("inpaint", "a.png", *model, "--mask", "all.png", "--json", model=False))[0]
    assert (line["status"], line["warnings"]) == ("done", [])
    result = cli("inpaint", "white.png", "a.png", *model, "-o", "unmarked", "--json", model=False)
    assert result.exit_code == 0
    for told in json_lines(result)[:2]:
        [warning] = told["warnings"]
        assert warning.startswith(f"{told['input']}: no --mask was given") and "painted already" in warning
    filled, painted = (images.read(Path(name)).pixels for name in ("a_inpainted.png", "unmarked/white.png"))
    assert filled.equal(painted) and not filled.equal(images.read(Path("unmarked/a.png")).pixels)


# ------------------------------------------------------------------------------------------------ degrade


def test_degrade(here, draw, cli):
    draw("clean/a.png", size=(48, 40)), draw("clean/b.png", size=(48, 40), seed=1)
    result = cli("degrade", "clean")
    assert result.exit_code == 0 and names("clean_degraded") == ["a.png", "b.png"]
    cli("degrade", "clean/b.png", "-o", "alone.png")
    assert Path("alone.png").read_bytes() == Path("clean_degraded/b.png").read_bytes()
    assert images.read_recipe(Path("alone.png"))["degrade"] == "mix"
    cli("degrade", "clean/b.png", "--seed", "1", "--strength", "0.9", "-R", "rain+drops", "-q")
    assert Path("clean/b_degraded.png").read_bytes() != Path("alone.png").read_bytes()


def test_degrade_at_strength_nought_keeps_the_picture(here, draw, cli):
    draw("a.png")
    cli("degrade", "a.png", "--strength", "0")
    assert (images.read(Path("a_degraded.png")).pixels == images.read(Path("a.png")).pixels).all()


def test_degrade_tells_what_it_did(here, draw, cli):
    draw("a.png", size=(48, 40))
    text(here / "b.png")
    done, failed, summary = json_lines(cli("degrade", "a.png", "b.png", "--json"))
    assert (done["degrade"], done["strength"], done["seed"], done["status"]) == ("mix", 0.5, 0, "done")
    assert failed["status"] == "failed" and summary["summary"]["done"] == 1


KINDS = """
[[damage]]
recipe = "rain"
strength = [0.2, 0.8]
[[damage]]
recipe = "motion+noise:0.1"
weight = 2
strength = [0.3, 0.3]
"""


def test_degrade_draws_one_damage_of_a_file_for_each_picture(here, draw, cli):
    (here / "damage.toml").write_text(KINDS)
    for i in range(6):
        draw(f"clean/{i}.png", size=(48, 40), seed=i)
    *told, summary = json_lines(cli("degrade", "clean", "-R", "damage.toml", "--json"))
    assert summary["summary"]["done"] == 6
    drawn = [record["drawn"] for record in told]
    assert {each["recipe"] for each in drawn} == {"rain", "motion+noise:0.1"}
    assert all(0.2 <= each["strength"] <= 0.8 for each in drawn)

    *_, summary = json_lines(cli("degrade", "clean", "-R", "damage.toml", "--json"))
    assert summary["summary"]["skipped"] == 6
    same = drawn[0]["recipe"], str(drawn[0]["strength"])
    cli("degrade", "clean/0.png", "-o", "by_hand.png", "-R", same[0], "--strength", same[1])
    [by_file, by_hand] = [images.read(Path(name)).pixels for name in ("clean_degraded/0.png", "by_hand.png")]
    assert by_file.equal(by_hand)


def test_degrade_by_a_file_is_redone_without_it(here, draw, cli):
    (here / "damage.toml").write_text(KINDS)
    draw("a.png", size=(48, 40))
    cli("degrade", "a.png", "-R", "damage.toml", "--strength", "0.4")
    assert images.read_recipe(Path("a_degraded.png"))["drawn"]["strength"] == 0.4
    (here / "damage.toml").unlink()
    assert cli("redo", "a_degraded.png", model=False).exit_code == 0
    assert images.read(Path("a_degraded_redone.png")).pixels.equal(images.read(Path("a_degraded.png")).pixels)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["b.png"], 3),
        (["a.png", "-R", "none.toml"], 3),
        (["a.png", "-R", "rian"], 2),
        (["a.png", "--strength", "2"], 2),
        ([], 2),
    ],
)
def test_degrade_exit_codes(here, draw, cli, words, code):
    draw("a.png")
    assert cli("degrade", *words).exit_code == code
