"""The only module that prints. Results go to standard output, everything else to standard error.

With ``--json`` results are JSON lines. Without, they are output paths, one a line, when standard output is read by a
program (it is no terminal) or with ``--quiet``; a person at a terminal is told on standard error instead.
"""

from __future__ import annotations

import json as jsonlib
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from pathlib import Path

    from restorer.cli.course import Course
    from restorer.cli.report import Report
    from restorer.plan import Job
    from restorer.record import Record
    from restorer.train.preflight import Preflight
    from restorer.train.progress import Progress


def error(sentence: str) -> None:
    """Say what went wrong."""
    _write(f"Error: {sentence}", sys.stderr)


def show_traceback(fault: BaseException) -> None:
    """Where it went wrong, for those who asked with ``-vv``."""
    _write("".join(traceback.format_exception(fault)).rstrip(), sys.stderr)


def result(text: str) -> None:
    """One line of a command's result."""
    _write(text, sys.stdout)


def json_line(data: Any) -> None:
    """One line of a command's result, as JSON."""
    result(jsonlib.dumps(data))


def pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values, aligned; plain, to be pasted anywhere."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        result(f"{name:{width}}  {value}".rstrip())


def counted(number: int, noun: str) -> str:
    """``1 step`` or ``2 steps``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for a terminal, or lines of tab-separated values for a program."""
    if not sys.stdout.isatty():
        for row in (header, *rows):
            result("\t".join(row))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(*header, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*map(escape, row))
    Console().print(drawn)


def scored(scores: Mapping[str, float]) -> str:
    """Scores as a person reads them: PSNR 31.20 dB, SSIM 0.9120."""
    return ", ".join(_scored(name, score) for name, score in scores.items())


def _scored(name: str, score: float) -> str:
    region = next((end for end in REGIONS if name.endswith(end)), "")
    return SCORES[name.removesuffix(region)].format(score) + REGIONS.get(region, "")


REGIONS = {"-marked": " where marked", "-rest": " elsewhere"}
"""Endings of the names of scores of a part of the picture."""


SCORES: dict[str, str] = {
    "psnr": "PSNR {:.2f} dB",
    "ssim": "SSIM {:.4f}",
    "psnr-y": "PSNR of Y {:.2f} dB",
    "ssim-y": "SSIM of Y {:.4f}",
    "ms-ssim": "MS-SSIM {:.4f}",
    "lab-mae": "MAE in LAB {:.3f}",
    "consistency": "consistency {:.3g}",
}


class Output:
    """How a run over pictures, or a training run, is told."""

    def __init__(self, *, json: bool = False, quiet: bool = False, verbose: int = 0) -> None:
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self.paths = not json and (quiet or not sys.stdout.isatty())

    def note(self, sentence: str, level: int = 0) -> None:
        """Say something that is no result; ``level``: so many ``-v`` are needed."""
        if not self.quiet and self.verbose >= level:
            _write(sentence, sys.stderr)

    def record(self, record: Record, **more: bool) -> None:
        """Tell what became of one picture; ``more`` stands in its JSON line."""
        for sentence in record.warnings:
            self.note(f"Warning: {sentence}")
        if record.error:
            error(str(record.error))
            if self.verbose >= 2:
                show_traceback(record.error)
        if self.json:
            json_line(record.line() | more)
        elif record.error:
            return
        elif record.output == "-" or (self.paths and record.status != "other"):
            if record.output != "-":
                for path in (record.output, *record.beside):
                    result(path)
            if record.scores:  # asked for, so they are told wherever the picture goes
                self.note(_told(record))
        elif not self.paths or self.verbose:
            self.note(_told(record))

    def file(self, path: Path) -> None:
        """Tell of a file that belongs to the whole run."""
        if self.json:
            json_line({"v": 1, "comparison": str(path)})
        elif self.paths:
            result(str(path))
        else:
            self.note(f"Compared: {path}")

    def sheet(self, path: Path) -> None:
        """Tell of a sheet whose parts are the results that were told."""
        if self.json:
            json_line({"v": 1, "comparison": str(path)})
        else:
            self.note(f"Sheet: {path}")

    def summary(self, report: Report) -> None:
        """Close the run."""
        if self.json:
            json_line(report.line())
        for sentence in report.sentences():
            self.note(sentence)

    @contextmanager
    def bar(self, pictures: int, steps: int) -> Iterator[Callable[[Any, int], None]]:
        """A progress bar where somebody sees it: call the function with the picture in hand and its steps done."""
        started = 0

        def tell(job: Any, done: int) -> None:
            nonlocal started
            started += done == 0
            show((started - 1) * steps + done, f"{started}/{pictures} {job.name}", f"step {done}/{steps}")

        with self._bar(pictures * steps) as show:
            yield tell

    @contextmanager
    def pixel_bar(
        self, sizes: Mapping[Job, tuple[int, int] | None], steps: int
    ) -> Iterator[Callable[[Job, int], None]]:
        """As ``bar``, for pictures of (width, height).

        It goes by pixels times steps; a picture whose size is not known counts as the others do in the mean.
        """
        known = [width * height for width, height in filter(None, sizes.values())]
        mean = sum(known) / len(known) if known else 1
        weights = {job: size[0] * size[1] if size else mean for job, size in sizes.items()}
        shares: dict[Job, float] = {}
        total, completed = sum(weights.values()), 0.0

        def tell(job: Job, done: int) -> None:
            nonlocal total, completed
            if done == 0 and shares:
                last = next(reversed(shares))
                if shares[last] == 0 and last != job:  # it needed nothing, and says nothing of the time that is left
                    total -= weights.get(last, mean)
            completed += (done / steps - shares.get(job, 0)) * weights.get(job, mean)
            shares[job] = done / steps
            show(completed, f"{len(shares)}/{len(sizes)} {job.name}", f"step {done}/{steps}", total)

        with self._bar(total) as show:
            yield tell

    def preflight(self, found: Preflight) -> int:
        """Tell what a dry run of training found; the exit code."""
        self.note(f"{found.pictures} pictures to train on{f'; the first crops: {found.sheet}' if found.sheet else ''}")
        for sentence in found.remarks:
            self.note(f"Warning: {sentence}")
        needs = found.needs
        if needs:
            memory = f", and {needs.bytes / 1e9:.1f} GB of memory" if needs.bytes else ""
            hours = f"about {needs.hours:.2f} hours for the whole run with its validation"
            self.note(f"{needs.step_seconds:.3f} s a step, {hours}{memory}.")
        if self.json:
            told = needs._asdict() if needs else {}
            line = {"v": 1, "ready": found.ready, "problems": found.problems, "remarks": found.remarks, **told}
            json_line(line | {"pictures": found.pictures, "sheet": found.sheet and str(found.sheet)})
        else:
            for sentence in found.problems or ("ready",):
                result(sentence)
        return 0 if found.ready else 1

    def training(self, course: Iterable[Progress], steps: int, run: Path, *, pictures: int = 1) -> bool:
        """Show a training run, then tell where its model is; a step sees so many ``pictures``. False: its hours end."""
        from restorer.cli.course import Course
        from restorer.train.checkpoint import MODEL

        told = Course(steps, pictures)
        with self._table(told) as show:
            for now in course:
                told.take(now)
                for sentence in now.warnings:
                    self.note(f"Warning: {sentence}")
                show()
                settled = now.share is not None and now.chosen
                if settled or now.psnr is not None or now.step % max(1, now.steps // 20) == 0:
                    if self.json:
                        json_line({"v": 1, **now.row(auto=now.share is not None or now.chosen is not None)})
                    self.note(told.line())
                if settled:
                    self.note(
                        f"Chosen after {now.step} steps: the net says {now.chosen} (share of the residual "
                        f"{now.share:.4f}). A fresh net is trained for that."
                    )
                if now.codec and now.step == now.steps:
                    self.note("The codec is trained, and stays; now the net that restores its latents.")
        if told.now and told.now.stopped:
            done = f"step {told.now.step} of {told.now.steps}{told.ending()}"
            self.note(f"The hours are over after {done}. Run this again to go on.")
        else:
            self.note(f"Done{told.ending()}.")
        if self.json:
            psnr = told.best_psnr
            json_line({"v": 1, "summary": {"output": str(run / MODEL), "psnr": psnr and round(psnr, 3)}})
        elif self.paths:
            result(str(run / MODEL))
        else:
            self.note(f"The model: {run / MODEL}")
        return not (told.now and told.now.stopped)

    @contextmanager
    def _table(self, course: Course) -> Iterator[Callable[[], None]]:
        """A function that shows a training run as a table where somebody sees it, and else does nothing."""
        if self.quiet or not sys.stderr.isatty() or (self.json and sys.stdout.isatty()):
            yield lambda: None
            return
        from rich.console import Console
        from rich.live import Live
        from rich.table import Table

        def drawn() -> Table:
            table = Table.grid("name", "value", padding=(0, 2))
            for row in course.rows():
                table.add_row(*row)
            return table

        with Live(console=Console(stderr=True), get_renderable=drawn, transient=True, redirect_stdout=False):
            yield lambda: None

    @contextmanager
    def downloads(self) -> Iterator[None]:
        """Within, files that are fetched have bars where somebody sees them."""
        from restorer.hub.progress import shown_by

        if self.quiet or not sys.stderr.isatty():
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        progress = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)

        def begin(total: int | None) -> Callable[[int], None]:
            row = progress.add_task("", total=total)
            return lambda done: progress.update(row, completed=done)

        with progress, shown_by(begin):
            yield

    @contextmanager
    def _bar(self, total: float) -> Iterator[Callable[..., None]]:
        """A function that shows (completed, what, step, total); it does nothing where nobody would see a bar."""
        if self.quiet or not sys.stderr.isatty() or (self.json and sys.stdout.isatty()):
            yield lambda completed, what, step, total=total: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[step]}"),
            TimeRemainingColumn(),
        )
        # Rich would send what is printed to standard output to the bar's console; results must stay where they belong.
        progress = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
        with progress:
            row = progress.add_task("", total=total, step="")
            yield lambda completed, what, step, total=total: progress.update(
                row, completed=completed, total=total, description=what, step=step
            )


def _told(record: Record) -> str:
    match record.status:
        case "skipped":
            return f"{record.input}: {record.output} is there already."
        case "other":
            return f"{record.input}: {record.output} is there, made with other settings; use --overwrite."
        case "planned":
            return f"{record.input} -> {record.output}"
    width, height = record.size or (0, 0)
    scores = f"  {scored(record.scores)}" if record.scores else ""
    return f"{record.input} -> {record.output}  {width}x{height}  {record.seconds:.1f} s{scores}"


def _write(text: str, stream: TextIO) -> None:
    try:
        stream.write(f"{text}\n")
    except UnicodeEncodeError:
        # A file's name need not be text that this stream can carry; one such name must not stop the others.
        safe = text.encode(stream.encoding or "ascii", "backslashreplace").decode(stream.encoding or "ascii")
        stream.write(f"{safe}\n")
    stream.flush()
