"""Many pictures: while one is computed the next is read, and the one before is written. Prints nothing.

plan(inputs, output, files)  ->  Plan(jobs, problems)          (restorer/plan.py)
run(work, jobs, files)       ->  Record, Record, ...
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from os import PathLike
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING, BinaryIO

import torch

from restorer.bench import Bench, Ready
from restorer.plan import Files, Job, Plan, plan
from restorer.record import Record
from restorer.restore import Made, Restorer
from restorer.settings import Settings
from restorer.work import Work, degrading, restoring

if TYPE_CHECKING:
    from restorer.report import Comparison
    from restorer.zeroshot import ZeroShot

__all__ = ["Files", "Job", "Plan", "Record", "Work", "degrading", "failures", "plan", "restoring", "run", "run_paths"]

Progress = Callable[[Job, int], None]
"""Called with a job and its steps done: 0 when it is begun, or found to need nothing."""


def run_paths(
    restorer: Restorer,
    paths: Sequence[str | PathLike[str]],
    output: str | PathLike[str] | None = None,
    settings: Settings | None = None,
    files: Files | None = None,
    zero: ZeroShot | None = None,
) -> Iterator[Record]:
    """Restore files and folders and yield a record of each, failed ones among them."""
    files = files or Files()
    todo = plan(paths, output, files)
    yield from failures(todo)
    work = restoring(restorer, settings or Settings(), masked=files.mask is not None, zero=zero)
    yield from run(work, todo.jobs, files)


def failures(todo: Plan) -> list[Record]:
    """The records of the inputs that gave no job."""
    return [Record(problem.input, None, "failed", error=problem.error) for problem in todo.problems]


def run(
    work: Work,
    jobs: Iterable[Job],
    files: Files,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
    comparison: Comparison | None = None,
) -> Generator[Record, None, None]:
    """Do the jobs in order and yield what became of each: a picture that fails never stops the others.

    ``stdin`` and ``stdout`` serve jobs on standard streams. ``comparison`` is shown every pair. ``dry_run`` writes
    nothing, and decodes nothing. Whoever stops asking gets the pictures written that were finished, and no others; so
    does who interrupts.
    """
    jobs = list(jobs)
    bench = Bench.of(work, files, jobs, dry_run=dry_run, stdin=stdin, stdout=stdout, comparison=comparison)
    yield from run_on(bench, jobs, progress)


def run_on(bench: Bench, jobs: Sequence[Job], progress: Progress | None = None) -> Iterator[Record]:
    """As ``run``, some of the jobs that a bench was made for."""
    batch = bench.work.batch
    stop = Event()
    told = progress or (lambda job, steps: None)

    def tell(job: Job, steps: int) -> None:
        if stop.is_set():
            raise _Stopped
        told(job, steps)

    written: deque[Future[Record]] = deque()
    with _thread("read") as reading, _thread("write") as writing, _thread("compute") as computing:
        try:
            for group in _groups(_ahead(reading, bench.prepare, jobs, batch), batch):
                made = computing.submit(_computed, bench, group, tell)
                # Told while this one is computed; but written is nothing that comes after one which stops the run.
                yield from _drained(written)
                written.extend(writing.submit(bench.finish, *pair) for pair in zip(group, made.result(), strict=True))
            yield from _drained(written)
        except KeyboardInterrupt:
            stop.set()
            yield from _drained(written)
            raise
        finally:
            stop.set()


class _Stopped(BaseException):
    """Ends the computing of a picture that nobody waits for any more."""


def _drained(written: deque[Future[Record]]) -> Iterator[Record]:
    while written:
        yield written.popleft().result()


@contextmanager
def _thread(name: str) -> Iterator[ThreadPoolExecutor]:
    """A thread of its own; what it has begun it finishes, what waits is given up when an error ends the block."""
    pool = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(
    pool: ThreadPoolExecutor, prepare: Callable[[Job], Ready], jobs: Sequence[Job], count: int
) -> Iterator[Ready]:
    """Each job prepared, in order, ``count`` of them before they are asked for."""
    waiting: deque[Future[Ready]] = deque()
    for job in jobs:
        waiting.append(pool.submit(prepare, job))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _groups(items: Iterable[Ready], most: int) -> Iterator[list[Ready]]:
    """Neighbours that go through the net together, at most so many."""
    group: list[Ready] = []
    for item in items:
        if group and not (len(group) < most and group[0].goes_with(item)):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _computed(bench: Bench, group: Sequence[Ready], tell: Progress) -> list[Made | Exception | None]:
    """What the work makes of each picture of a group, or why it makes nothing."""
    for item in group:
        tell(item.asked, 0)
    if group[0].picture is None:
        return [None]
    started = perf_counter()
    try:
        results = _apply(bench.work, group, tell)
    except BrokenPipeError:
        raise
    except Exception as error:
        # One picture of several must not fail the others.
        if len(group) > 1:
            return [result for item in group for result in _computed(bench, [item], tell)]
        results = [error]
    for item in group:
        item.seconds += (perf_counter() - started) / len(group)
    return results


def _apply(work: Work, group: Sequence[Ready], tell: Progress) -> list[Made]:
    first = group[0]

    def told(done: int) -> None:
        for item in group:
            tell(item.asked, done)

    pixels = torch.cat([item.picture.pixels for item in group]) if len(group) > 1 else first.picture.pixels
    if first.mask is None and first.watch is None and not first.job.sample:
        return work.apply(pixels, told)
    mask = None if first.mask is None else torch.cat([item.mask for item in group])
    return work.apply(pixels, told, mask, first.watch, max(first.job.sample - 1, 0))
