"""What ``restore`` and ``degrade`` share: run the jobs, tell what became of each, leave with the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING

import typer

from restorer.cli.output import Output
from restorer.cli.report import Report
from restorer.errors import UsageError

if TYPE_CHECKING:
    from restorer.plan import Files, Plan
    from restorer.record import Record
    from restorer.report import Comparison
    from restorer.work import Work


def carry_out(
    todo: Plan,
    begin: Callable[[], Work | None],
    files: Files,
    out: Output,
    *,
    dry_run: bool = False,
    fail_fast: bool = False,
    elsewhere: Callable[[Plan], Generator[Record, None, None]] | None = None,
    comparison: Comparison | None = None,
) -> None:
    """Do the plan's jobs. ``begin`` loads what is needed, and is called only when there is something to do.

    In a dry run it may give None, when what is needed is not on this machine. ``elsewhere`` runs the jobs, if not here.
    ``comparison`` is shown every pair, and written at the end.
    """
    from restorer.batch import failures, run
    from restorer.images.peek import size_of
    from restorer.plan import Job
    from restorer.record import Record
    from restorer.remote import RemoteJob, run_remote

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
            sizes = {job: size_of(job.source) if isinstance(job, Job) and job.source else None for job in todo.jobs}
            more = {"comparison": comparison}
            more |= {"stdin": sys.stdin.buffer, "stdout": sys.stdout.buffer}
            with out.pixel_bar(sizes, work.steps if work else 1) as progress:
                if work is None:
                    records = (Record(job.name, str(job.target), "planned") for job in todo.jobs)
                elif elsewhere is not None and not dry_run:
                    records = elsewhere(todo)
                elif any(isinstance(job, RemoteJob) for job in todo.jobs):
                    records = run_remote(work, todo.jobs, files, dry_run=dry_run)
                else:
                    records = run(work, todo.jobs, files, dry_run=dry_run, progress=progress, **more)
                # Left early, its threads end here and not when, and where, it is collected.
                with closing(records):
                    for record in records:
                        report.add(record)
                        out.record(record)
                        if fail_fast and record.error:
                            break
            if dry_run and work is not None:
                named = {str(job.source): size for job, size in sizes.items()}
                report.estimate(work, [named[name] for name in report.planned if named.get(name)])
    except KeyboardInterrupt:
        out.summary(report)
        raise
    if comparison is not None and (file := comparison.write()):
        out.file(file)
    out.summary(report)
    raise typer.Exit(report.exit_code)


def collecting(style: str, todo: Plan, elsewhere: bool) -> Comparison:
    """What ``--compare`` collects. Raises ``UsageError`` where pictures are not at hand to be compared."""
    from restorer.plan import Job
    from restorer.report import Comparison
    from restorer.report.comparison import place_for

    targets = [job.target for job in todo.jobs if isinstance(job, Job) and job.target]
    if elsewhere or len(targets) < len(todo.jobs):
        raise UsageError("--compare is for pictures that are read and written here; use restorer compare afterwards.")
    return Comparison(style, place_for(targets, style) if targets and style != "side" else None)


def check_stream(todo: Plan, out: Output) -> None:
    """Raise ``UsageError`` where picture bytes on standard output would meet JSON, or a terminal."""
    if any(job.target is None for job in todo.jobs):
        if out.json:
            raise UsageError("Standard output cannot hold both the picture and JSON; leave out --json, or use -o FILE.")
        if sys.stdout.isatty():
            raise UsageError("Standard output is this terminal; add > FILE behind the command, or use -o FILE.")
