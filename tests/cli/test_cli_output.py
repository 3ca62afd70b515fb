"""What is printed where: a person at a terminal and a program at a pipe want different things."""

import io
import json
from pathlib import Path

import pytest

from restorer.batch import Job, Plan, Record
from restorer.cli import output
from restorer.cli.output import Output
from restorer.cli.report import Report
from restorer.cli.work import check_stream
from restorer.errors import UsageError
from restorer.train.progress import Progress

RECORDS = {
    "done": Record("a.png", "b.png", "done", size=(3, 2), seconds=1.25),
    "skipped": Record("a.png", "b.png", "skipped"),
    "other": Record("a.png", "b.png", "other"),
    "planned": Record("a.png", "b.png", "planned"),
}


@pytest.mark.parametrize(("number", "told"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps")])
def test_one_is_singular(number, told):
    assert output.counted(number, "step") == told


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch):
    """Both streams as one sees them at a terminal; called in a test, since pytest sets its own before that."""
    streams = Terminal(), Terminal()
    for name, stream in zip(("stdout", "stderr"), streams, strict=True):
        monkeypatch.setattr("sys." + name, stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return streams


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("done", "a.png -> b.png  3x2  1.2 s\n"),
        ("skipped", "a.png: b.png is there already.\n"),
        ("other", "a.png: b.png is there, made with other settings; use --overwrite.\n"),
        ("planned", "a.png -> b.png\n"),
    ],
)
def test_a_person_is_told_on_standard_error(monkeypatch, status, words):
    out, err = terminal(monkeypatch)
    Output().record(RECORDS[status])
    assert (out.getvalue(), err.getvalue()) == ("", words)


@pytest.mark.parametrize(("status", "words"), [("done", "b.png\n"), ("skipped", "b.png\n"), ("other", "")])
def test_a_program_reads_the_paths_that_hold_what_was_asked_for(capsys, status, words):
    Output().record(RECORDS[status])
    assert capsys.readouterr() == (words, "")


@pytest.mark.parametrize(("quiet", "words"), [(False, "Warning: odd\n"), (True, "")])
def test_warnings(capsys, quiet, words):
    Output(quiet=quiet).record(Record("a.png", "b.png", "done", warnings=("odd",)))
    assert capsys.readouterr() == ("b.png\n", words)


def test_the_bar_shows_the_picture_and_its_step(monkeypatch):
    out, err = terminal(monkeypatch)
    told = Output()
    with told.bar(2, 5) as tell:
        tell(Job(Path("a.png"), Path("b.png")), 0)
        tell(Job(Path("a.png"), Path("b.png")), 3)
        output.result("b.png")
    assert "1/2 a.png" in err.getvalue() and "step 3/5" in err.getvalue()
    assert out.getvalue() == "b.png\n"


@pytest.mark.parametrize("words", [{"quiet": True}, {"json": True}])
def test_no_bar_where_it_would_be_in_the_way(monkeypatch, words):
    out, err = terminal(monkeypatch)
    with Output(**words).bar(1, 1) as tell:
        tell(Job(Path("a.png"), Path("b.png")), 0)
    assert (out.getvalue(), err.getvalue()) == ("", "")


def test_no_bar_where_nobody_sees_it(capsys):
    with Output().bar(1, 1) as tell:
        tell(Job(Path("a.png"), Path("b.png")), 0)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_tables_at_a_terminal(monkeypatch, variables, coloured):
    out, _ = terminal(monkeypatch)
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    output.table(["name", "licence"], [["one", "[MIT]"]])
    told = out.getvalue()
    assert "one" in told and "[MIT]" in told and "\t" not in told
    assert ("\x1b[3" in told) is False  # bold at most: no colours to lose
    assert "\x1b[" in told or not coloured


def test_picture_bytes_do_not_go_to_a_terminal_or_among_json(monkeypatch):
    terminal(monkeypatch)
    todo = Plan((Job(None, None),))
    with pytest.raises(UsageError, match="terminal"):
        check_stream(todo, Output())
    with pytest.raises(UsageError, match="--json"):
        check_stream(todo, Output(json=True))
    check_stream(Plan((Job(None, Path("a.png")),)), Output(json=True))


def test_a_name_that_the_stream_cannot_carry(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    output.result("é\udce9.png")
    assert stream.buffer.getvalue() == b"\\xe9\\udce9.png\n"


def test_the_closing_words_name_what_failed_up_to_a_limit():
    report = Report(14)
    for i in range(12):
        report.add(Record(f"{i}.png", None, "failed", error=UsageError("odd")))
    report.add(RECORDS["done"]), report.add(RECORDS["other"])
    counts, failed = report.sentences()
    assert counts.startswith("1 done, 1 skipped (made with other settings: use --overwrite), 12 failed in ")
    assert failed == "Failed: 0.png, 1.png, 2.png, 3.png, 4.png, 5.png, 6.png, 7.png, 8.png, 9.png and 2 more"


COURSE = [Progress(1, 2, 0.5, 1e-3, None, 0.1), Progress(2, 2, 0.25, 1e-3, 20.0, 0.1)]


def test_a_training_run_ends_with_the_path_of_its_model(capsys):
    Output().training(iter(COURSE), 2, Path("run"))
    out, err = capsys.readouterr()
    assert out == f"{Path('run/model')}\n"
    assert "step 2/2: loss 0.2500, psnr 20.00 dB" in err and "best psnr 20.00 dB at step 2" in err


def test_a_training_run_as_json(capsys):
    Output(json=True, quiet=True).training(iter(COURSE), 2, Path("run"))
    out, err = capsys.readouterr()
    first, second, summary = map(json.loads, out.splitlines())
    assert (first["step"], second["psnr"], first["v"]) == (1, 20.0, 1) and err == ""
    assert summary == {"v": 1, "summary": {"output": str(Path("run/model")), "psnr": 20.0}}
