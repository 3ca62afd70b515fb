"""benchmarks/official.py: it runs from end to end on toy sizes, and its tables go where they belong.

With clones in RESTORER_RDDM_REPO, RESTORER_IRSDE_REPO or RESTORER_DDNM_REPO their parts run, too.
"""

import os

import pytest
import torch
from speed_pages import PAGE_TEXT

CLONES = {name: os.environ.get(f"RESTORER_{name.upper()}_REPO") for name in ("rddm", "irsde", "ddnm")}
QUICK = ("--quick", "--device", "cpu")
CPU = torch.device("cpu")


@pytest.fixture
def official(scripts):
    import official

    return official


@pytest.fixture
def turns(official):
    import turns

    return turns


def test_diffusers_and_ours_do_the_same_and_take_turns(official, page, capsys):
    official.main(["--diffusers", *QUICK, "--write", str(page)])
    out, err = capsys.readouterr()
    assert out.count("### diffusers") == 2 and out.count("| ours, bf16 |") == 2
    assert "rddm is left out; to compare with it, add --rddm PATH, a clone of nachifur/RDDM." in err
    text = page.read_text()
    before, _, rest = text.partition("<!-- speed -->")
    inside, _, after = rest.partition("<!-- /speed -->")
    assert (before, after) == ("# Speed\n\n", "\n\nThe end.\n")
    assert inside.count("### ") == 2 and all(line in out for line in inside.splitlines())
    lines = [line for line in inside.splitlines() if line.startswith("| ours, fp32")]
    assert all(float(line.split("|")[-2]) < 1e-4 for line in lines) and len(lines) == 2
    assert inside.count("| TFLOP/s |") == 1 and float(lines[0].split("|")[6]) > 0  # of calls, not of whole pictures


@pytest.mark.parametrize("name", CLONES)
def test_a_folder_that_is_no_clone_is_told(official, tmp_path, name):
    with pytest.raises(SystemExit, match="no clone of"):
        official.main([f"--{name}", str(tmp_path), *QUICK])


def test_a_page_without_marks_stays_as_it_is(official, tmp_path, monkeypatch):
    (tmp_path / "page.md").write_text("# Speed\n")
    monkeypatch.setattr(official, "_wanted", lambda options: iter([("rddm", tmp_path)]))
    monkeypatch.setitem(official.PARTS, "rddm", (lambda *words: iter([two(1.0)]), ""))
    with pytest.raises(SystemExit, match="must stand in it once"):
        official.main([*QUICK, "--write", str(tmp_path / "page.md")])
    assert (tmp_path / "page.md").read_text() == "# Speed\n"


def two(value, exact=True):
    from turns import Comparison, Turn

    first = Turn("theirs", list, lambda: torch.ones(2))
    return Comparison("a thing", [first, Turn("ours", list, lambda: torch.full((2,), value), exact)], 3)


def test_sides_that_differ_are_not_timed(turns):
    with pytest.raises(ValueError, match="a thing: ours is off theirs by"):
        turns.take(two(1.1), CPU, 0)
    with pytest.raises(ValueError, match="by nan"):
        turns.take(two(float("nan")), CPU, 0)
    found = turns.take(two(1.1, exact=False), CPU, 0)
    assert [len(taken.seconds) for taken in found] == [3, 3] and found[1].off == pytest.approx(0.1)


def test_turns_alternate_after_those_that_warm_up(turns):
    done = []
    comparison = turns.Comparison("x", [turns.Turn(name, lambda name=name: done.append(name)) for name in "AB"], 2)
    table = turns.table(comparison, turns.take(comparison, CPU, 1))
    assert "".join(done) == "ABABAB"
    head, _, first, second = table.splitlines()
    assert head == "|  | median, s | least, s | most, s | times as fast |"  # nothing was compared, no memory counted
    assert first.endswith("| 1.00 |") and second.startswith("| B |")


def test_tables_replace_those_of_their_heading_and_leave_the_others(official):
    from speed_page import put

    once = put(PAGE_TEXT, {"a, cpu": "| 1 |", "b, cpu": "| 2 |"})
    twice = put(once, {"a, cpu": "| 3 |", "a, gpu": "| 4 |"})
    assert twice == PAGE_TEXT.replace(
        "<!-- speed -->\n", "<!-- speed -->\n\n### a, cpu\n\n| 3 |\n\n### b, cpu\n\n| 2 |\n\n### a, gpu\n\n| 4 |\n\n"
    )
    assert put(twice, {"a, cpu": "| 3 |"}) == twice and put(PAGE_TEXT, {}) == PAGE_TEXT
    for odd in ("", "<!-- /speed --><!-- speed -->", PAGE_TEXT * 2):
        with pytest.raises(ValueError, match="once, in this order"):
            put(odd, {"a": "b"})


def test_the_page_of_the_project_takes_tables(official):
    from speed_page import PAGE, put

    assert "### a\n\nb" in put(PAGE.read_text(encoding="utf-8"), {"a": "b"})


if any(CLONES.values()):

    @pytest.mark.parametrize("name", [name for name, path in CLONES.items() if path])
    def test_the_official_code_and_ours_do_the_same(official, capsys, name, recwarn):
        official.main([f"--{name}", CLONES[name], *QUICK])
        assert "| ours, fp32 |" in capsys.readouterr().out
