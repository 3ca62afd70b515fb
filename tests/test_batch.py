"""Plans: what is read and where it goes. Runs: what becomes of each picture."""

import hashlib
import io
import os
import sys
from pathlib import Path

import pytest
import torch

from restorer import images
from restorer.batch import (
    Files,
    Job,
    Work,
    degrading,
    plan,
    restoring,
    run,
    run_paths,
)
from restorer.device import is_out_of_memory
from restorer.errors import DeviceError, ImageError, InputError, RestorerError, UsageError
from restorer.images.recipe import same_recipe
from restorer.restore import Made
from restorer.settings import Settings

NOTHING = Work(lambda pixels, told: [Made(pixels)], {"restorer": "1", "seed": 0})


def touch(*names):
    """Files that are there; a plan does not look inside."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)


def names(folder="."):
    return sorted(path.name for path in Path(folder).iterdir())


def outputs(*inputs, output=None, **files):
    todo = plan(inputs, output, Files(**files))
    assert not todo.problems
    return {job.name: str(job.target) for job in todo.jobs}


# ------------------------------------------------------------------------------------------------ names

NAMES = [
    # inputs, output, options, input -> output
    (["a.jpg"], None, {}, {"a.jpg": "a_restored.jpg"}),
    (["a.jpg"], None, {"participle": "derained"}, {"a.jpg": "a_derained.jpg"}),
    (["a.jpg"], None, {"suffix": "-clean"}, {"a.jpg": "a-clean.jpg"}),
    (["a.jpg"], None, {"format": "png"}, {"a.jpg": "a_restored.png"}),
    (["d/e.jpeg"], None, {"format": "jpg"}, {"d/e.jpeg": "d/e_restored.jpeg"}),
    (["a.jpg", "d/c.png"], None, {}, {"a.jpg": "a_restored.jpg", "d/c.png": "d/c_restored.png"}),
    (["d"], None, {}, {"d/c.png": "d_restored/c.png", "d/e.jpeg": "d_restored/e.jpeg"}),
    (["d/"], None, {"participle": "derained"}, {"d/c.png": "d_derained/c.png", "d/e.jpeg": "d_derained/e.jpeg"}),
    (["d"], None, {"suffix": "_x"}, {"d/c.png": "d_restored/c_x.png", "d/e.jpeg": "d_restored/e_x.jpeg"}),
    (["a.jpg"], "x.png", {}, {"a.jpg": "x.png"}),
    (["a.jpg"], "x.png", {"format": "jpg"}, {"a.jpg": "x.png"}),
    (["a.jpg"], "there", {}, {"a.jpg": "there/a.jpg"}),
    (["a.jpg"], "new/", {}, {"a.jpg": "new/a.jpg"}),
    (["a.jpg"], "new", {}, {"a.jpg": "new/a.jpg"}),
    (["a.jpg", "d/c.png"], "new", {}, {"a.jpg": "new/a.jpg", "d/c.png": "new/c.png"}),
    (["a.jpg"], "there", {"suffix": "_x", "format": "webp"}, {"a.jpg": "there/a_x.webp"}),
    (["d"], "new", {"format": "png"}, {"d/c.png": "new/c.png", "d/e.jpeg": "new/e.png"}),
    (["tree"], "new", {}, {"tree/f.png": "new/f.png"}),
    (["tree"], "new", {"recursive": True}, {"tree/f.png": "new/f.png", "tree/g/h.tif": "new/g/h.tif"}),
    (["a.jpg"], "-", {}, {"a.jpg": "None"}),
    (["-"], None, {}, {"-": "None"}),
    (["-"], "-", {}, {"-": "None"}),
    (["-"], "x.png", {}, {"-": "x.png"}),
]


@pytest.mark.parametrize(("inputs", "output", "files", "wanted"), NAMES)
def test_where_the_output_goes(here, inputs, output, files, wanted):
    touch("a.jpg", "d/c.png", "d/e.jpeg", "d/notes.txt", "d/.hidden.png", "tree/f.png", "tree/g/h.tif")
    (here / "there").mkdir()
    assert outputs(*inputs, output=output, **files) == wanted


def test_folders_without_a_name_of_their_own(here, monkeypatch):
    touch("d/a.png")
    monkeypatch.chdir(here / "d")
    assert outputs(".") == {"a.png": f"{here}/d_restored/a.png"}


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (["*.png"], ["a.png", "b.png"]),
        (["**/c.*"], ["d/c.png"]),
        (["@list.txt"], ["b.png", "d/c.png"]),
        (["a.png", "./a.png", "*.png"], ["a.png", "b.png"]),
        (["odd[1].jpg"], ["odd[1].jpg"]),
        (["d/*"], ["d/c.png"]),
        (["notes.txt"], ["notes.txt"]),
    ],
)
def test_patterns_lists_and_names(here, inputs, names):
    touch("a.png", "b.png", "odd[1].jpg", "notes.txt", "d/c.png", "d/notes.txt")
    (here / "list.txt").write_text("b.png\n\n  d/c.png  \n", encoding="utf-8")
    assert [job.name for job in plan(inputs, None, Files()).jobs] == names


@pytest.mark.parametrize(
    "word", ["nothing.png", "nothing*.png", "*.txt", "@nothing.txt", "@empty.list", "@nested.list", "empty", "deep"]
)
def test_an_input_on_which_there_is_nothing_to_do_is_a_problem(here, word):
    touch("a.png", "notes.txt", "deep/er/b.png")
    (here / "empty").mkdir()
    (here / "empty.list").write_text("\n")
    (here / "nested.list").write_text("@empty.list\n")
    todo = plan([word, "a.png"], None, Files())
    assert [job.name for job in todo.jobs] == ["a.png"]
    [problem] = todo.problems
    assert isinstance(problem.error, InputError)
    assert str(problem.error).endswith(".") and "\n" not in str(problem.error)


def test_two_inputs_never_share_an_output(here):
    touch("a.jpg", "a.webp", "d/a.jpg", "e/a.jpg")
    todo = plan(["a.jpg", "a.webp", "d/a.jpg", "e/a.jpg"], "out", Files(format="png"))
    assert [job.target.name for job in todo.jobs] == ["a.png", "a.webp.png", "a.jpg.png", "a.jpg_2.png"]
    assert [len(job.warnings) for job in todo.jobs] == [0, 1, 1, 1]
    assert "a.webp.png" in todo.jobs[1].warnings[0]


@pytest.mark.parametrize("output", ["in/out", "in/out/", "./in/out"])
def test_an_output_folder_inside_the_input_is_not_read_again(here, output):
    touch("in/a.png", "in/out/a.png", "in/other/b.png")
    assert list(outputs("in", output=output, recursive=True)) == ["in/a.png", "in/other/b.png"]


@pytest.mark.parametrize(
    ("inputs", "output", "files"),
    [
        (["a.jpg"], "a.jpg", {}),
        (["a.jpg"], "link.jpg", {}),
        (["a.jpg"], "hard.jpg", {}),
        (["a.jpg"], None, {"suffix": ""}),
        (["a.jpg"], ".", {}),
        (["."], ".", {"recursive": True}),
        (["a.jpg", "b.jpg"], None, {"suffix": ""}),
    ],
)
def test_nothing_is_written_onto_an_input(here, inputs, output, files):
    touch("a.jpg", "b.jpg")
    (here / "link.jpg").symlink_to(here / "a.jpg")
    Path("hard.jpg").hardlink_to("a.jpg")
    todo = plan(inputs, output, Files(**files))
    assert todo.jobs == () and todo.problems
    assert all("an input" in str(problem.error) for problem in todo.problems)


def test_an_output_that_is_another_input_is_refused(here):
    touch("a.jpg", "a.png")
    todo = plan(["a.jpg", "a.png"], ".", Files(format="png"))
    assert [problem.input for problem in todo.problems] == ["a.jpg"]
    assert [(job.name, str(job.target)) for job in todo.jobs] == [("a.png", "a.png.png")]


def test_an_input_is_not_reached_through_a_folder_that_is_made_on_the_way(here, draw):
    before = draw("a.png").read_bytes()
    [record] = do(["a.png"], "new/../", exists="overwrite")
    assert record.status == "failed" and (here / "a.png").read_bytes() == before


@pytest.mark.parametrize(
    ("inputs", "output", "files", "words"),
    [
        ([], None, {}, "No input"),
        (["-", "a.jpg"], None, {}, "cannot be mixed"),
        (["a.jpg", "b.jpg"], "-", {}, "one picture"),
        (["a.jpg", "b.jpg"], "x.png", {}, "several inputs"),
        (["a.jpg", "b.jpg"], "b.jpg", {}, "several inputs"),
        (["a.jpg"], "x.gif", {}, ".gif"),
        (["a.jpg"], "x.png", {"suffix": "_x"}, "--suffix"),
        (["a.jpg"], None, {"suffix": "x/y"}, "holds a folder"),
        (["a.jpg"], None, {"format": "jpeg"}, "Unknown format"),
        (["a.jpg"], None, {"format": "jpg", "bits": 16}, "8 bits"),
        (["a.jpg"], "x.jpg", {"bits": 16}, "8 bits"),
        (["a.jpg"], "-", {"record": "sidecar"}, "beside"),
        (["-"], None, {"record": "sidecar"}, "beside"),
    ],
)
def test_words_that_disagree(here, inputs, output, files, words):
    touch("a.jpg", "b.jpg")
    with pytest.raises(UsageError, match=words):
        plan(inputs, output, Files(**files))


# ------------------------------------------------------------------------------------------------ runs


def do(inputs, output=None, work=NOTHING, **files):
    files = Files(**files)
    return list(run(work, plan(inputs, output, files).jobs, files))


def test_a_picture_is_written_with_its_recipe(here, draw):
    source = draw("sub/a.png")
    [record] = do(["sub/a.png"], "out/x.png")
    assert (record.status, record.input, record.output, record.size) == ("done", "sub/a.png", "out/x.png", (12, 10))
    assert (images.read("out/x.png").pixels == images.read("sub/a.png").pixels).all()
    proof = hashlib.sha256(source.read_bytes()).hexdigest()
    assert images.read_recipe("out/x.png") == {**NOTHING.recipe, "input": proof}


def test_one_failure_does_not_stop_the_others(here, draw):
    draw("a.png"), draw("b.png", size=(20, 20)), draw("c.png")

    def fail(pixels, told):
        if pixels.shape[-1] == 20:
            raise ValueError("odd")
        return [Made(pixels)]

    records = do(["a.png", "b.png", "c.png"], "out", Work(fail, {}))
    assert [r.status for r in records] == ["done", "failed", "done"]
    assert names("out") == ["a.png", "c.png"]
    error = records[1].error
    assert "b.png" in str(error) and "ValueError: odd" in str(error) and isinstance(error.__cause__, ValueError)


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (ImageError("too small"), ImageError, "a.png: too small"),
        (ImageError("a.png is odd"), ImageError, "a.png is odd"),
        (MemoryError(), DeviceError, "a.png: not enough memory on cpu"),
        (torch.OutOfMemoryError("x"), DeviceError, "not enough memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough"), DeviceError, "memory"),
        (RuntimeError("other"), RestorerError, "RuntimeError: other"),
    ],
)
def test_errors_name_the_picture_and_keep_their_kind(here, draw, fault, kind, words):
    draw("a.png")

    def fail(pixels, told):
        raise fault

    [record] = do(["a.png"], work=Work(fail, {}))
    assert type(record.error) is kind and words in str(record.error)
    assert str(record.error).count("a.png") == 1
    assert names() == ["a.png"]


def test_out_of_memory_is_told_from_other_faults():
    assert not is_out_of_memory(RuntimeError("shape"))


@pytest.mark.parametrize("fault", [KeyboardInterrupt, BrokenPipeError])
def test_what_is_no_failure_of_a_picture_stops_the_run(here, draw, fault):
    draw("a.png")

    def stop(pixels, told):
        raise fault

    with pytest.raises(fault):
        do(["a.png"], work=Work(stop, {}))
    assert names() == ["a.png"]


def test_exists(here, draw):
    draw("a.png")
    other = Work(NOTHING.apply, {**NOTHING.recipe, "seed": 1})

    def status(work=NOTHING, **files):
        [record] = do(["a.png"], "x.png", work, **files)
        return record.status

    assert status() == "done"
    first = Path("x.png").stat().st_mtime_ns
    assert status() == "skipped"
    assert status(Work(NOTHING.apply, {**NOTHING.recipe, "restorer": "another version"})) == "skipped"
    assert status(other) == "other"
    assert Path("x.png").stat().st_mtime_ns == first
    draw("a.png", seed=1)
    assert status() == "other"
    assert status(exists="error") == "failed"
    assert status(exists="rename") == "done"
    assert status(exists="rename") == "done"
    assert {"x_2.png", "x_3.png"} <= set(names())
    assert status(exists="overwrite") == "done"
    assert status() == "skipped"


def test_a_foreign_file_is_never_taken_for_done(here, draw):
    draw("a.png"), draw("x.png")
    [record] = do(["a.png"], "x.png")
    assert record.status == "other"


def test_outputs_of_the_same_words_are_not_read_again(here, draw):
    draw("a.png")
    do(["*.png"])
    draw("b.png")
    assert [(r.input, r.status) for r in do(["*.png"])] == [("a.png", "skipped"), ("b.png", "done")]


@pytest.mark.parametrize("record", ["embed", "sidecar", "none"])
def test_where_the_recipe_goes(here, draw, record):
    draw("a.png")
    [first] = do(["a.png"], "x.png", record=record)
    assert (b"restorer" in (here / "x.png").read_bytes()) == (record == "embed")
    assert ("x.png.json" in names()) == (record == "sidecar")
    assert (images.read_recipe(here / "x.png") is not None) == (record != "none")
    [second] = do(["a.png"], "x.png", record=record)
    assert (first.status, second.status) == ("done", "other" if record == "none" else "skipped")


def test_a_recipe_beside_does_not_speak_for_another_picture(here, draw):
    draw("a.png")
    do(["a.png"], "x.png", record="sidecar")
    draw("x.png", seed=1)
    assert images.read_recipe(here / "x.png") is None


def test_same_recipe_ignores_versions():
    made = {"restorer": "1", "seed": 0, "input": "1"}
    assert same_recipe(made, {"restorer": "2", "seed": 0.0, "input": "1"})
    assert not same_recipe(made, {**made, "input": "2"})
    assert not same_recipe(made, {**made, "seed": 1})
    assert not same_recipe({"input": "odd"}, made)
    assert not same_recipe(None, made)


def test_auto_goes_to_png_where_the_named_format_would_lose_something(here, draw):
    draw("a.png", mode="RGBA")
    Path("a.png").rename("a.jpg")  # a PNG, whatever it is called
    [record] = do(["a.jpg"])
    assert record.output == "a_restored.png" and images.read("a_restored.png").alpha is not None
    assert record.warnings == (
        "a.jpg: transparency would be lost as jpg; writing a_restored.png instead (use --format jpg to force).",
    )
    [again] = do(["a.jpg"])
    assert again.status == "skipped"


def test_a_changed_ending_does_not_land_on_another_output(here, draw):
    draw("a.png", mode="RGBA")
    Path("a.png").rename("a.jpg")
    draw("a.png")
    for status in ("done", "skipped"):
        records = do(["a.jpg", "a.png"], "out")
        assert [(r.output, r.status) for r in records] == [("out/a.jpg.png", status), ("out/a.png", status)]


def test_a_changed_ending_does_not_land_on_an_input(here, draw):
    draw("a.png", mode="RGBA")
    Path("a.png").rename("a_x.jpg")
    before = draw("a_x_restored.png").read_bytes()
    records = do(["a_x.jpg", "a_x_restored.png"], exists="overwrite")
    assert [r.status for r in records] == ["failed", "done"]
    assert (here / "a_x_restored.png").read_bytes() == before


@pytest.mark.parametrize("options", [{"format": "jpg"}, {"output": "x.jpg"}])
def test_a_format_that_is_asked_for_stands_with_a_warning(here, draw, options):
    draw("a.png", mode="RGBA")
    [record] = do(["a.png"], **options)
    assert record.output.endswith(".jpg") and images.read(record.output).format == "jpg"
    assert "transparency" in record.warnings[0]


def test_more_bits_than_the_format_holds(here, draw):
    draw("a.jpg")
    [record] = do(["a.jpg"], bits=16)
    assert record.output == "a_restored.png" and images.read(record.output).bits == 16
    assert "16 bits a channel would be lost as jpg" in record.warnings[0]


def test_a_named_file_of_another_ending_is_tried(here, draw):
    draw("a.png")
    Path("a.png").rename("a.dat")
    [record] = do(["a.dat"])
    assert (record.status, record.output, record.warnings) == ("done", "a_restored.png", ())


def test_metadata_and_limits(here, draw):
    draw("a.png", dpi=(300, 300))
    do(["a.png"], "kept.png"), do(["a.png"], "stripped.png", metadata=False)
    assert images.read("kept.png").dpi and not images.read("stripped.png").dpi
    [record] = do(["a.png"], "big.png", max_pixels=100)
    assert isinstance(record.error, InputError) and "--max-pixels" in str(record.error)


def test_streams(here, draw):
    data = draw("a.png").read_bytes()
    out = io.BytesIO()
    [record] = run(NOTHING, [Job(None, None)], Files(), stdin=io.BytesIO(data), stdout=out)
    assert (record.input, record.output, record.status) == ("-", "-", "done")
    assert (images.decode(out.getvalue(), "out").pixels == images.read("a.png").pixels).all()
    [record] = run(NOTHING, [Job(None, None)], Files(), stdin=io.BytesIO(b"text"), stdout=out)
    assert str(record.error).startswith("standard input is not a picture")


def test_a_folder_that_cannot_be_made_is_known_before_the_work(here, draw):
    draw("a.png")
    (here / "out").write_text("a file")

    def never(pixels, told):
        raise AssertionError

    [record] = run(Work(never, {}), [Job(here / "a.png", here / "out" / "b" / "a.png")], Files())
    assert isinstance(record.error, ImageError) and "cannot make this folder" in str(record.error)


def test_progress_is_told_from_nought_for_every_picture(here, draw):
    draw("a.png"), draw("b.png")
    told = []
    work = Work(lambda pixels, told: [told(1), told(2), [Made(pixels)]][-1], {}, steps=2)
    todo = plan(["a.png", "b.png"], "out", Files())
    list(run(work, todo.jobs, Files(), progress=lambda job, steps: told.append((job.name, steps))))
    assert told == [(name, steps) for name in ("a.png", "b.png") for steps in (0, 1, 2)]


# ------------------------------------------------------------------------------------------------ the two works


@pytest.mark.parametrize("make", ["restore", "degrade"])
def test_the_same_seed_is_the_same_file_alone_and_among_ten(here, draw, toy_restorer, make):
    for i in range(10):
        draw(f"in/{i}.png", size=(8 + i, 12), seed=i)
    work = restoring(toy_restorer, Settings(eta=1.0)) if make == "restore" else degrading("rain", 0.5, 0)
    do(["in"], "ten", work), do(["in/7.png"], "alone/", work), do(["in/7.png"], "again/", work)
    files = [(here / folder / "7.png").read_bytes() for folder in ("ten", "alone", "again")]
    assert files[0] == files[1] == files[2]
    assert len(names("ten")) == 10


def test_seeds(here, draw, toy_restorer):
    draw("a.png")
    one, two = degrading("rain", 0.5, 1), degrading("rain", 0.5, 2)
    do(["a.png"], "1.png", one), do(["a.png"], "2.png", two)
    assert (images.read("1.png").pixels != images.read("2.png").pixels).any()
    for work in (degrading("rain", 0.5, -1), restoring(toy_restorer, Settings(seed=-1))):
        assert 0 <= work.recipe["seed"] < 2**32


def test_unknown_words_are_known_before_the_work(toy_restorer):
    with pytest.raises(UsageError, match="did you mean 'rain'"):
        degrading("rian", 0.5, 0)
    with pytest.raises(UsageError, match="steps"):
        restoring(toy_restorer, Settings(steps=1000))


def test_the_python_way(here, draw, toy_restorer):
    draw("a.png")
    records = list(run_paths(toy_restorer, ["a.png", "nothing.png"], "out", Settings(steps=1), Files(exists="skip")))
    assert [(r.input, r.status) for r in records] == [("nothing.png", "failed"), ("a.png", "done")]
    assert images.read_recipe("out/a.png")["steps"] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file names are bytes")
def test_a_file_name_that_is_no_text(here, draw):
    name = os.fsdecode(b"caf\xe9.png")
    draw("a.png")
    Path("a.png").rename(name)
    [record] = do([name])
    assert record.status == "done"
