"""The same run on many machines: Ray Data over a pool of actors, each with a model of its own.

A row is a picture with all its samples, and its answer the records. A row whose worker dies is done again by another;
what was written before stands, and is skipped then. See https://docs.ray.io for ``RAY_ADDRESS``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import torch

from restorer.batch import run_on
from restorer.bench import Bench
from restorer.errors import UsageError
from restorer.plan import Files, Job
from restorer.record import Record
from restorer.remote import RemoteJob, staged
from restorer.restore import Restorer
from restorer.settings import Settings
from restorer.work import Work, restoring
from restorer.zeroshot import ZeroShot

SHARE = 0.5
"""Of a CPU that an actor asks for: actors that ask for all of them leave none to the tasks that feed them."""


@dataclass(frozen=True)
class Assignment:
    """What every worker is told: enough to load the model and do what ``restorer.work.restoring`` does.

    ``settings``: with their seed drawn, so that all workers have the same. ``task``: which of the model's, if several.
    """

    model: str
    device: str
    dtype: str
    settings: Settings
    masked: bool = False
    scale: float | None = None
    zero: ZeroShot | None = None
    task: str | None = None
    compile: bool = False

    def work(self) -> Work:
        """Load the model."""
        words = {"task": self.task, "scale": self.scale, "device": self.device, "dtype": self.dtype}
        restorer = Restorer.from_pretrained(self.model, **words, compile=self.compile)
        return restoring(restorer, self.settings, masked=self.masked, scale=self.scale, zero=self.zero)


@dataclass(frozen=True)
class Answer:
    """What became of a row; a type of its own, since Ray Data makes columns of tuples and lists."""

    records: tuple[Record, ...]


class Worker:
    """One actor: it loads the model once."""

    def __init__(self, assignment: Assignment, files: Files, jobs: Sequence[Job | RemoteJob], threads: int) -> None:
        torch.set_num_threads(threads)
        self.files = files
        self.work = assignment.work()
        self.jobs = jobs
        self.bench = Bench.of(self.work, files, [job for job in jobs if isinstance(job, Job)])

    def __call__(self, row: dict[str, Any]) -> dict[str, Answer]:
        """The jobs of a row, done."""
        records: list[Record] = []
        jobs = self.jobs[row["first"] : row["end"]]
        here = [job for job in jobs if isinstance(job, Job)]
        records += run_on(self.bench, here)
        for job in jobs:
            if isinstance(job, RemoteJob):
                records += staged(job, self.files, lambda some: run_on(Bench.of(self.work, self.files, some), some))
        return {"answer": Answer(tuple(records))}


def run(assignment: Assignment, jobs: Sequence[Job | RemoteJob], files: Files) -> Generator[Record, None, None]:
    """As ``restorer.batch.run``, on the Ray that ``RAY_ADDRESS`` names, or one begun here. Raises ``UsageError``."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        from ray.data import ActorPoolStrategy, DataContext
    except ImportError as error:
        raise UsageError("--engine ray needs Ray: pip install 'restorer[ray]'.") from error
    ours = not ray.is_initialized()
    if ours:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # not before: both set it up anew
    try:
        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        rows = _rows(jobs)
        gpus, cpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("GPU", "CPU"))
        on_gpu = gpus > 0 and not assignment.device.startswith("cpu")
        actors = gpus if on_gpu else max(1, cpus // 4)
        threads = torch.get_num_threads() if on_gpu else max(1, cpus // actors)
        answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            Worker,
            fn_constructor_args=(assignment, files, tuple(jobs), threads),
            compute=ActorPoolStrategy(size=min(actors, len(rows))),
            num_cpus=SHARE,
            num_gpus=1 if on_gpu else None,
        )
        for answer in answers.iter_rows():
            yield from answer["answer"].records
    finally:
        if ours:
            ray.shutdown()


def _rows(jobs: Sequence[Job | RemoteJob]) -> list[dict[str, int]]:
    """Which of the jobs go together, as they are neighbours: those of one picture."""
    lengths = [len(list(group)) for _, group in groupby(jobs, key=lambda job: job.name)]
    ends = list(accumulate(lengths))
    return [{"first": end - length, "end": end} for end, length in zip(ends, lengths, strict=True)]
