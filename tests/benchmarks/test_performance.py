"""benchmarks/performance.py: what it runs, with which words; the scripts have tests of their own."""

import pytest

SCRIPTS = ("official", "trainer", "cost", "startup", "folder")


@pytest.fixture
def performance(scripts):
    import performance

    return performance


@pytest.fixture
def ran(performance, monkeypatch):
    """What each script was given, instead of running it."""
    given = {}
    for name in SCRIPTS:
        monkeypatch.setattr(getattr(performance, name), "main", lambda words, name=name: given.update({name: words}))
    return given


def test_all_that_is_named_is_run_and_written(performance, ran):
    clones = [word for name in ("rddm", "irsde", "ddnm") for word in (f"--{name}", name)]
    performance.main(["--data", "photos", *clones, "--diffusers"])
    common = ["--device", "auto", "--write", str(performance.PAGE)]
    assert ran == {
        "official": [*clones, "--diffusers", *common],
        "trainer": ["rddm", *common],
        "cost": common,
        "startup": common,
        "folder": ["photos", "--side", "512", "--pictures", "64", *common],
    }


def test_what_is_not_named_is_left_out_with_a_sentence(performance, ran, capsys):
    performance.main(["--device", "cpu"])
    assert list(ran) == ["official", "cost", "startup"]
    told = capsys.readouterr().err
    assert "trainer.py is left out; to run it, add --rddm PATH" in told and "folder.py is left out" in told


def test_toy_numbers_go_into_no_page_but_a_named_one(performance, ran):
    performance.main(["--quick"])
    assert ran["cost"] == ["--device", "auto", "--quick"]
    performance.main(["--quick", "--page", "page.md"])
    assert ran["cost"] == ["--device", "auto", "--quick", "--write", "page.md"]


def test_a_part_that_fails_stops_no_other(performance, ran, monkeypatch, capsys):
    def fail(words):
        raise SystemExit("A sentence.")

    monkeypatch.setattr(performance.cost, "main", fail)
    with pytest.raises(SystemExit, match=r"Without a table: cost\.py\."):
        performance.main([])
    assert "startup" in ran and "A sentence." in capsys.readouterr().err


def test_scripts_know_the_words_that_they_are_given(performance):
    words = ["--quick", "--device", "cpu", "--write", "page.md"]
    for name, more in {"official": [], "trainer": ["rddm"], "cost": [], "startup": [], "folder": ["photos"]}.items():
        assert str(getattr(performance, name)._options([*more, *words]).write) == "page.md"
    # Toy sizes hold against the words that name the folder's real ones.
    options = performance.folder._options(["photos", *performance.FOLDER, "--quick"])
    assert (options.side, options.pictures) == (16, 3)
