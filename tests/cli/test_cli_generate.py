"""``restorer generate``, from words to files and exit codes."""

import json

import pytest
from test_generate import PRIOR
from test_guide import loaded
from toy import toy_model, toy_net

from restorer.images import read_recipe


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "prior"
    return str(toy_model(folder, state=toy_net(in_channels=3).state_dict(), **PRIOR))


@pytest.fixture
def generate(cli, prior):
    def run(*words, model=None):
        return cli(
            "generate", *words, "-m", model or prior, "-d", "cpu", "--dtype", "fp32", "--steps", "2", model=False
        )

    return run


def test_pictures_a_sheet_and_their_paths(here, generate):
    result = generate("--samples", "3", "-b", "2", "--grid", "--trace", "gif", "--size", "8x12")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.split() == [f"generated/000{i}.png" for i in range(3)]
    assert "The sheet: generated/sheet.png" in result.stderr and "3 done" in result.stderr
    again = generate("--samples", "3", "--grid", "--trace", "gif", "--size", "8x12")
    assert again.exit_code == 0 and "3 skipped" in again.stderr and again.stdout == result.stdout


def test_json(here, generate):
    result = generate("out", "--samples", "2", "--seed", "5", "--eta", "1", "--times", "leading", "--json")
    first, second, summary = map(json.loads, result.stdout.splitlines())
    assert (first["output"], first["seed"], second["seed"]) == ("out/0000.png", 5, 6)
    assert first["status"] == "done" and first["size"] == [16, 16] and first["eta"] == 1.0
    assert summary["summary"]["done"] == 2


def test_quiet(here, generate):
    result = generate("one.png", "-q")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "one.png\n", "")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--size", "big"], 2, "'big' is no size; write WIDTHxHEIGHT, as 64x48."),
        (["--size", "9"], 2, "multiples of 4 from 4 up, not 9x9."),
        (["--samples", "0"], 2, "--samples"),
        (["a.png", "--samples", "2"], 2, "a.png is one file and cannot hold 2 pictures"),
        (["--eta", "2"], 2, "--eta"),
    ],
)
def test_words_that_cannot_be(here, generate, words, code, sentence):
    result = generate(*words)
    assert result.exit_code == code and sentence in result.stderr and not list(here.iterdir())


def test_other_settings_need_overwrite(here, generate):
    generate("out")
    result = generate("out", "--seed", "1")
    assert result.exit_code == 1 and "made with other settings; use --overwrite" in result.stderr
    assert generate("out", "--seed", "1", "-y").exit_code == 0


def test_models_that_do_the_other_thing(here, draw, cli, generate, prior, toy):
    result = generate(model=str(toy))
    assert result.exit_code == 2 and "is for derain, not for new pictures; use restorer restore" in result.stderr
    draw("a.png")
    result = cli("restore", "a.png", "-m", prior, model=False)
    assert result.exit_code == 2 and "draws new pictures; use restorer generate, or name the damage" in result.stderr


def test_an_interrupt_closes_the_run(here, generate, monkeypatch):
    def stop(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("restorer.generate.draw", stop)
    result = generate()
    assert result.exit_code == 130 and "Interrupted" in result.stderr


def test_a_class(here, generate, tmp_path_factory):
    result = generate("--class", "3")
    assert result.exit_code == 2 and "Model 'toy' knows no classes; leave out --class." in result.stderr
    folder = tmp_path_factory.mktemp("models") / "classes"
    loaded(folder, classes=True)
    for number in "02":
        assert generate(f"{number}.png", "--class", number, model=str(folder)).exit_code == 0
    assert (here / "0.png").read_bytes() != (here / "2.png").read_bytes()
    assert read_recipe(here / "2.png")["class"] == 2
    result = generate("x.png", "--class", "3", model=str(folder))
    assert result.exit_code == 2 and "class must be from 0 to 2, those of toy; not 3." in result.stderr
