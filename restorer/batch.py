"""Many pictures, one after the other: what is done already, what fails, and what is recorded. Prints nothing.

The work on a picture is a function, so that ``restore`` and ``degrade`` share all of this:

    plan(inputs, output, files)  ->  Plan(jobs, problems)          (restorer/plan.py)
    run(work, jobs, files)       ->  Record, Record, ...
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO, Literal

import torch
from torch import Tensor

from restorer import __version__, images
from restorer.degrade import degrade, parse_recipe
from restorer.device import dtype_name, is_out_of_memory
from restorer.errors import DeviceError, ImageError, InputError, RestorerError
from restorer.images.atomic import write_bytes
from restorer.images.read import read_bytes
from restorer.images.recipe import check_beside, write_beside
from restorer.masks import Mask, find_mask, read_mask
from restorer.plan import FileId, Files, Job, Plan, file_id, onto_input, plan, renamed, source_ids, with_ending
from restorer.restore import Restorer, Settings
from restorer.search import STREAM

__all__ = ["Files", "Job", "Plan", "Record", "Work", "degrading", "plan", "restoring", "run", "run_paths"]

RECORD_VERSION = 1
SHOWN = ("task", "model", "degrade", "strength", "steps", "eta", "seed", "alpha_schedule", "beta_schedule")
"""The keys of a recipe that a record shows."""

Step = Callable[[], None]
Status = Literal["done", "skipped", "other", "failed", "planned"]


@dataclass(frozen=True)
class Work:
    """What is done to every picture: ``apply(pixels, after_step)`` does it, ``recipe`` says it, ``steps`` counts it.

    Where the files come with masks, ``apply`` gets (pixels, after_step, mask).
    """

    apply: Callable[..., Tensor]
    recipe: Mapping[str, Any]
    steps: int = 1
    device: str = "cpu"
    dtype: str = "fp32"


@dataclass(frozen=True)
class Record:
    """What became of one input.

    ``status``: done; skipped (the output is there, made with the same recipe); other (it is there, made otherwise);
    failed, with an ``error``; planned (it would be done, in a dry run). ``size``: (width, height) of the output.
    """

    input: str
    output: str | None
    status: Status
    made: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    device: str | None = None
    dtype: str | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    error: RestorerError | None = None

    def line(self) -> dict[str, Any]:
        """The record as JSON: version 1 of the lines that ``--json`` prints."""
        line = {"v": RECORD_VERSION, "input": self.input, "output": self.output, "status": self.status}
        line |= {key: self.made[key] for key in SHOWN if key in self.made}
        line |= {"size": self.size and list(self.size), "device": self.device, "dtype": self.dtype}
        line |= {"seconds": round(self.seconds, 3), "warnings": list(self.warnings)}
        return line | ({"error": str(self.error)} if self.error else {})


def restoring(restorer: Restorer, settings: Settings, *, masked: bool = False) -> Work:
    """The work of ``restore``; seed -1 draws one for the whole run. ``masked``: each picture comes with a mask.

    Raises ``UsageError`` for settings out of range, or when the model's need of a mask is another.
    """
    restorer.check(masked=masked)
    seed = secrets.randbelow(2**32) if settings.seed == -1 else settings.seed
    settings = restorer.settled(replace(settings, seed=seed))
    return Work(
        apply=lambda y, after_step, mask=None: restorer.restore(y, settings, lambda state: after_step(), mask),
        recipe=restorer.recipe(settings),
        steps=restorer.states(settings),
        device=str(restorer.device),
        dtype=dtype_name(restorer.denoiser.dtype),
    )


def degrading(recipe: str, strength: float, seed: int) -> Work:
    """The work of ``degrade``; seed -1 draws one for the whole run. Raises ``UsageError`` for an unknown recipe."""
    parse_recipe(recipe)
    seed = secrets.randbelow(2**32) if seed == -1 else seed

    def apply(x: Tensor, after_step: Step) -> Tensor:
        return degrade(x, recipe, strength=strength, rng=torch.Generator().manual_seed(seed))

    made = {"restorer": __version__, "degrade": recipe, "strength": strength, "seed": seed}
    return Work(apply, made)


def run_paths(
    restorer: Restorer,
    paths: Sequence[str | PathLike[str]],
    output: str | PathLike[str] | None = None,
    settings: Settings | None = None,
    files: Files | None = None,
) -> Iterator[Record]:
    """Restore files and folders and yield a record of each, failed ones among them."""
    files = files or Files()
    todo = plan(paths, output, files)
    yield from failures(todo)
    work = restoring(restorer, settings or Settings(), masked=files.mask is not None)
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
    progress: Callable[[Job, int], None] | None = None,
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | None = None,
) -> Iterator[Record]:
    """Do the jobs one by one and yield what became of each: a picture that fails never stops the others.

    ``progress(job, steps)`` is called before the first step of a picture and after each. ``stdin`` and ``stdout``
    serve jobs on standard streams. ``dry_run`` writes nothing, and decodes nothing.
    """
    jobs = list(jobs)
    taken = {job.target for job in jobs if job.target}
    tell = progress or (lambda job, steps: None)
    bench = _Bench(work, files, dry_run, tell, stdin, stdout, source_ids(jobs) | _mask_ids(jobs, files), taken)
    for job in jobs:
        started = perf_counter()
        try:
            record = bench.do(job)
        except BrokenPipeError:
            raise  # nobody reads standard output any more
        except Exception as error:
            named = as_restorer_error(error, job.name, work.device)
            record = Record(job.name, None, "failed", work.recipe, warnings=job.warnings, error=named)
        yield replace(record, device=work.device, dtype=work.dtype, seconds=perf_counter() - started)


@dataclass(frozen=True, eq=False)
class _Bench:
    """Where one picture after the other is worked on; of one it keeps only the name for the next, in ``taken``."""

    work: Work
    files: Files
    dry_run: bool
    progress: Callable[[Job, int], None]
    stdin: BinaryIO | None
    stdout: BinaryIO | None
    inputs: frozenset[FileId]
    taken: set[Path]

    def do(self, job: Job) -> Record:
        """Read, look whether it is done already, work, write."""
        self.progress(job, 0)
        data = self._read(job)
        mask = None if self.files.mask is None else read_mask(self.files.mask, job)
        recipe = self._recipe(data, mask)
        job, standing = self._look(job, recipe)
        if standing:
            return self._record(job, standing)
        if self.dry_run:
            return self._record(job, "planned")
        picture = _decode(data, job, self.files.max_pixels)
        planned = job.target
        job, form = self._settle(job, picture)
        if job.target != planned:
            job, standing = self._look(job, recipe)
            if standing:
                return self._record(job, standing)
        marked = () if mask is None else (mask.pixels(picture.size, self.files.max_pixels),)
        self._prepare(job)
        result = picture.restored(self._apply(job, picture.pixels, *marked))
        self._write(job, result, form, recipe)
        return self._record(job, "done", result.size)

    def _read(self, job: Job) -> bytes:
        if job.source is None:
            # A dry run takes nothing from a pipe.
            return b"" if self.dry_run else self.stdin.read()
        try:
            return read_bytes(job.source)
        except ImageError as error:
            raise InputError(str(error)) from error

    def _recipe(self, data: bytes, mask: Mask | None) -> dict[str, Any]:
        """Everything that makes this output. Names are not in it: a picture under another name is the same picture."""
        marked = {} if mask is None else {"mask": mask.sha256}
        return {**self.work.recipe, **marked, "input": hashlib.sha256(data).hexdigest()}

    def _look(self, job: Job, recipe: Mapping[str, Any]) -> tuple[Job, Status | None]:
        """What the output's place says: the job to do, or the status that makes it needless."""
        if job.target is None or not job.target.exists():
            return job, None
        if job.target.is_dir():
            raise ImageError(f"{job.target} is a folder; choose another --output.")
        match self.files.exists:
            case "skip":
                return job, "skipped" if same_recipe(images.read_recipe(job.target), recipe) else "other"
            case "error":
                raise ImageError(f"{job.target} exists already; use --overwrite, or --exists rename.")
            case "rename":
                return replace(job, target=self._free(job.target)), None
        return job, None

    def _free(self, target: Path) -> Path:
        number = 2
        while (free := renamed(target, number)).exists() or free in self.taken:
            number += 1
        self.taken.add(free)
        return free

    def _settle(self, job: Job, picture: images.Picture) -> tuple[Job, str]:
        """The format that is written, and the job with an ending and warnings that fit it."""
        named = None if job.target is None else images.format_of(job.target)
        asked = self.files.format if self.files.format != "auto" else named if job.exact else None
        own = replace(picture, format=named or picture.format)
        form = asked or images.output_format(own, "auto", self.files.bits)
        lost = _lost(picture, asked or own.format, self.files.bits)
        if asked:
            warning = f"{job.name}: {' and '.join(lost)} cannot be kept in {asked}; png would keep it."
            return (replace(job, warnings=(*job.warnings, warning)) if lost else job), form
        if job.target is None or named == form:
            return job, form
        job = with_ending(job, form, self.taken)
        self.taken.add(job.target)
        if named:
            warning = (
                f"{job.name}: {' and '.join(lost)} would be lost as {named}; "
                f"writing {job.target.name} instead (use --format {named} to force)."
            )
            job = replace(job, warnings=(*job.warnings, warning))
        return job, form

    def _prepare(self, job: Job) -> None:
        """Find out what would keep the result from being written before time is spent on making it."""
        if job.target is None:
            return
        try:
            job.target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ImageError(
                f"{job.target.parent}: cannot make this folder: {error.strerror}; choose another --output."
            ) from error
        # Looked at again: the ending may have changed, and folder/../ leads somewhere only when the folder is there.
        if file_id(job.target) in self.inputs:
            raise onto_input(job.name, job.target)
        if self.files.record == "sidecar":
            check_beside(job.target)

    def _apply(self, job: Job, pixels: Tensor, *marked: Tensor) -> Tensor:
        steps = 0

        def after_step() -> None:
            nonlocal steps
            steps += 1
            self.progress(job, steps)

        return self.work.apply(pixels, after_step, *marked)

    def _write(self, job: Job, picture: images.Picture, form: str, recipe: Mapping[str, Any]) -> None:
        files = self.files
        looks = {"format": form, "quality": files.quality, "bits": files.bits, "metadata": files.metadata}
        inside = recipe if files.record == "embed" else None
        if job.target is None:
            self.stdout.write(images.encode(picture, recipe=inside, **looks))
            self.stdout.flush()
        elif files.record == "sidecar":
            data = images.encode(picture, **looks)
            write_bytes(job.target, data)
            write_beside(job.target, data, recipe)
        else:
            images.write(picture, job.target, recipe=inside, **looks)

    def _record(self, job: Job, status: Status, size: tuple[int, int] | None = None) -> Record:
        output = STREAM if job.target is None else str(job.target)
        return Record(job.name, output, status, self.work.recipe, size, warnings=job.warnings)


def _mask_ids(jobs: Sequence[Job], files: Files) -> frozenset[FileId]:
    """The masks, which may be written as little as the inputs."""
    found = []
    for job in jobs if files.mask is not None else ():
        with suppress(ImageError):  # told when it is this picture's turn
            found.append(file_id(find_mask(files.mask, job)))
    return frozenset(i for i in found if i)


def same_recipe(recorded: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    """Whether a picture was made as wanted: another version of restorer makes no difference."""
    return recorded is not None and _essence(recorded) == _essence(wanted)


def _essence(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key != "restorer"}


def _decode(data: bytes, job: Job, max_pixels: int) -> images.Picture:
    try:
        return images.decode(data, "standard input" if job.source is None else job.name, max_pixels=max_pixels)
    except ImageError as error:
        raise InputError(str(error)) from error


def _lost(picture: images.Picture, form: str, bits: Literal["auto", 8, 16]) -> list[str]:
    """What the picture has and the format cannot hold."""
    deep = (picture.bits if bits == "auto" else bits) == 16
    holds = images.FORMATS[form]
    return ["16 bits a channel"] * (deep and not holds.deep) + ["transparency"] * (
        picture.alpha is not None and not holds.alpha
    )


def as_restorer_error(error: Exception, name: str, device: str) -> RestorerError:
    """``error`` as a sentence that names the picture; the kind stays, and the cause is kept."""
    name = "standard input" if name == STREAM else name
    if isinstance(error, RestorerError):
        named = type(error)(str(error) if str(error).startswith(name) else f"{name}: {error}")
    elif is_out_of_memory(error):
        named = DeviceError(
            f"{name}: not enough memory on {device}; try a smaller picture, --dtype bf16 or another --device."
        )
    else:
        reason = f"{type(error).__name__}: {error}".strip().rstrip(".:")
        named = RestorerError(f"{name}: unexpected {reason}; see where with -vv, and report it.")
    named.__cause__ = error
    return named
