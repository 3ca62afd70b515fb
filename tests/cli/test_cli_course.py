"""How a training run is told: a table at a terminal, lines elsewhere, warnings, and its end."""

import json
from pathlib import Path

from test_cli_output import terminal

from restorer.cli.course import Course
from restorer.cli.output import Output
from restorer.train.progress import Progress


def course(count=10, **more):
    return [Progress(i, count, 1 / i, 1e-3, 20.0 + i if i % 5 == 0 else None, 0.5, **more) for i in range(1, count + 1)]


def test_the_numbers_of_a_run():
    told = Course(100, pictures=8)
    assert told.rows() == [] and told.ending() == ""
    for now in course():
        told.take(now)
    rows = dict(told.rows())
    assert rows["step"] == "10/100" and rows["lr"] == "1.00e-03" and rows["loss"] == "0.1000, mean 0.2929"
    assert rows["psnr"] == "30.00 dB, best 30.00 dB" and rows["speed"] == "16.0 pictures/s"
    assert rows["left"] == "45 s" and "share" not in rows
    assert told.line() == "step 10/100: loss 0.1000, psnr 30.00 dB, lr 1.00e-03, 16.0 pictures/s, 45 s left"
    assert told.ending() == ", best psnr 30.00 dB at step 10"


def test_the_best_before_a_rest_counts():
    told = Course(10, pictures=1)
    for now in course(best=33.0):
        told.take(now)
    assert told.best_psnr == 33.0 and told.ending() == ", best psnr 33.00 dB"


def test_long_runs_are_told_in_hours():
    told = Course(10_001, pictures=1)
    told.take(Progress(1, 10_001, 1.0, 1e-3, None, 2.0))
    assert dict(told.rows())["left"] == "5 h 33 min"


def test_a_terminal_shows_a_table(monkeypatch):
    out, err = terminal(monkeypatch)
    assert Output().training(iter(course()), 10, Path("run"), pictures=8)
    told = err.getvalue()
    assert "pictures/s" in told and "best 30.00 dB" in told and "left" in told
    assert "The model: run/model" in told and out.getvalue() == ""


def test_elsewhere_there_are_lines_and_warnings(capsys):
    steps = course()
    steps[0] = Progress(1, 10, 1.0, 1e-3, None, 0.5, warnings=("Skipped: a.png: broken.",))
    assert Output().training(iter(steps), 10, Path("run"))
    out, err = capsys.readouterr()
    assert "Warning: Skipped: a.png: broken." in err and "step 5/10: loss 0.2000, psnr 25.00 dB" in err
    assert "\x1b" not in err and out == "run/model\n"


def test_a_run_whose_hours_are_over_says_how_to_go_on(capsys):
    steps = course()[:5]
    steps[-1] = Progress(5, 10, 0.2, 1e-3, None, 0.5, stopped=True)
    assert not Output().training(iter(steps), 10, Path("run"))
    assert "The hours are over after step 5 of 10. Run this again to go on." in capsys.readouterr().err


def test_json_has_no_more_than_the_log(capsys):
    Output(json=True, quiet=True).training(iter(course()), 10, Path("run"))
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first.keys() == {"v", "step", "steps", "loss", "lr", "psnr", "seconds"}
