"""What ``restore`` and ``degrade`` share: run the jobs, tell what became of each, leave with the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from restorer.cli.output import Output
from restorer.cli.report import Report
from restorer.errors import UsageError

if TYPE_CHECKING:
    from restorer.plan import Files, Plan
    from restorer.work import Work


def carry_out(
    todo: Plan,
    begin: Callable[[], Work],
    files: Files,
    out: Output,
    *,
    dry_run: bool = False,
    fail_fast: bool = False,
) -> None:
    """Do the plan's jobs. ``begin`` loads what is needed, and is called only when there is something to do."""
    from restorer.batch import failures, run

    check_stream(todo, out)
    report = Report(len(todo.jobs) + len(todo.problems))
    if todo.passed_over:
        out.note(f"Files passed over: {todo.passed_over} (no pictures, or outputs of an earlier run).", level=1)
    try:
        for record in failures(todo):
            report.add(record)
            out.record(record)
        if todo.jobs and not (fail_fast and report.errors):
            work = begin()
            streams = {"stdin": sys.stdin.buffer, "stdout": sys.stdout.buffer}
            with out.bar(len(todo.jobs), work.steps) as progress:
                for record in run(work, todo.jobs, files, dry_run=dry_run, progress=progress, **streams):
                    report.add(record)
                    out.record(record)
                    if fail_fast and record.error:
                        break
    except KeyboardInterrupt:
        out.summary(report)
        raise
    out.summary(report)
    raise typer.Exit(report.exit_code)


def check_stream(todo: Plan, out: Output) -> None:
    """Raise ``UsageError`` where picture bytes on standard output would meet JSON, or a terminal."""
    if any(job.target is None for job in todo.jobs):
        if out.json:
            raise UsageError("Standard output cannot hold both the picture and JSON; leave out --json, or use -o FILE.")
        if sys.stdout.isatty():
            raise UsageError("Standard output is this terminal; add > FILE behind the command, or use -o FILE.")
