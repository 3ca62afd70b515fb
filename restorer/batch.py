"""Many pictures, one after the other: what is done already, what fails, and what is recorded. Prints nothing.

The work on a picture is a function, so that ``restore`` and ``degrade`` share all of this:

    plan(inputs, output, files)  ->  Plan(jobs, problems)          (restorer/plan.py)
    run(work, jobs, files)       ->  Record, Record, ...
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO, Literal

import torch
from torch import Tensor

from restorer import __version__, images, zeroshot
from restorer.degrade import degrade, parse_recipe
from restorer.device import dtype_name, is_out_of_memory
from restorer.errors import DeviceError, ImageError, InputError, RestorerError
from restorer.images.atomic import write_bytes
from restorer.images.read import read_bytes
from restorer.images.recipe import check_beside, same_recipe, write_beside
from restorer.masks import Mask, read_mask
from restorer.plan import (
    FileId,
    Files,
    Job,
    Plan,
    file_id,
    onto_input,
    partners,
    plan,
    renamed,
    source_ids,
    with_ending,
)
from restorer.restore import Restorer
from restorer.search import STREAM
from restorer.settings import Settings, states
from restorer.trace import Curves, Frames, Trace, beside
from restorer.truth import find_truth, measure, read_truth
from restorer.zeroshot import ZeroShot

__all__ = ["Files", "Job", "Plan", "Record", "Work", "degrading", "plan", "restoring", "run", "run_paths"]

RECORD_VERSION = 1
SHOWN = (
    *("task", "model", "repo", "revision", "degrade", "strength", "sampler", "steps", "eta", "seed", "sigma"),
    *("alpha_schedule", "beta_schedule", "operator", "method", "class"),
)
"""The keys of a recipe that a record shows."""

UNMASKED = "no --mask was given, so its holes are taken to be painted already, as the model wants them."
"""What is told of a picture whose model fills what a mask marks."""

Step = Callable[[], None]
Status = Literal["done", "skipped", "other", "failed", "planned"]


@dataclass(frozen=True)
class Work:
    """What is done to every picture: ``apply(pixels, after_step)`` does it, ``recipe`` says it, ``steps`` counts it.

    Where there are masks or traces, ``apply`` gets (pixels, after_step, mask or None, watch or None); a watch is called
    as `restorer.restore.Watch` says. ``scale``: how many times as wide and high it makes a picture. ``warnings``:
    sentences that hold for every picture. ``measure``: (pixels, mask or None, result) -> scores that need no ground
    truth. ``simulated``: the picture is its own ground truth. ``coloured``: a grey picture becomes one in colour.
    """

    apply: Callable[..., Tensor]
    recipe: Mapping[str, Any]
    steps: int = 1
    device: str = "cpu"
    dtype: str = "fp32"
    scale: int = 1
    warnings: tuple[str, ...] = ()
    measure: Callable[[Tensor, Tensor | None, Tensor], Mapping[str, float]] | None = None
    simulated: bool = False
    coloured: bool = False


@dataclass(frozen=True)
class Record:
    """What became of one input.

    ``status``: done; skipped (the output is there, made with the same recipe); other (it is there, made otherwise);
    failed, with an ``error``; planned (it would be done, in a dry run). ``size``: (width, height) of the output.
    ``scores``: "psnr" in dB and "ssim" of what was written, where there is a ground truth; of a lossy format, of the
    pixels before it loses anything.
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
    scores: Mapping[str, float] = field(default_factory=dict)

    def line(self) -> dict[str, Any]:
        """The record as JSON: version 1 of the lines that ``--json`` prints."""
        line = {"v": RECORD_VERSION, "input": self.input, "output": self.output, "status": self.status}
        line |= {key: self.made[key] for key in SHOWN if key in self.made}
        line |= {"size": self.size and list(self.size), "device": self.device, "dtype": self.dtype}
        line |= {"seconds": round(self.seconds, 3)} | {name: json_score(score) for name, score in self.scores.items()}
        line |= {"warnings": list(self.warnings)}
        return line | ({"error": str(self.error)} if self.error else {})


def json_score(score: float) -> float | None:
    """Four decimals; None for the infinite PSNR of equal pictures, since JSON has no word for it."""
    return round(score, 4) if math.isfinite(score) else None


def restoring(
    restorer: Restorer,
    settings: Settings,
    *,
    masked: bool = False,
    scale: float | None = None,
    zero: ZeroShot | None = None,
) -> Work:
    """The work of ``restore``; seed -1 draws one for the whole run. ``masked``: each picture comes with a mask.

    ``scale``: how many times pictures are wanted enlarged, None: as the model does. ``zero``: what is known of the
    damage, for a prior. Raises ``UsageError`` for settings out of range, or when the model's scale or its need of a
    mask is another.
    """
    seed = secrets.randbelow(2**32) if settings.seed == -1 else settings.seed
    if zero is not None:
        return _reconstructing(restorer, replace(settings, seed=seed), zero, masked=masked)
    restorer.check(masked=masked, scale=scale)
    settings = restorer.settled(replace(settings, seed=seed))
    return Work(
        apply=lambda y, after_step, mask=None, watch=None: restorer.restore(
            y, settings, lambda state: after_step(), mask, watch
        ),
        recipe=restorer.recipe(settings),
        steps=states(settings),
        device=str(restorer.device),
        dtype=dtype_name(restorer.denoiser.dtype),
        scale=restorer.scale,
        warnings=(UNMASKED,) if restorer.fills and not masked else (),
    )


def _reconstructing(restorer: Restorer, settings: Settings, zero: ZeroShot, *, masked: bool) -> Work:
    settings = zeroshot.check(restorer, settings, zero, masked=masked)
    return Work(
        apply=lambda y, after_step, mask=None, watch=None: zeroshot.reconstruct(
            restorer, y, settings, zero, lambda state: after_step(), mask, watch
        ),
        recipe=zeroshot.recipe(restorer, settings, zero),
        steps=zeroshot.calls(settings, zero, restorer.denoiser.schedule.T),
        device=str(restorer.device),
        dtype=dtype_name(restorer.denoiser.dtype),
        scale=zero.scale,
        measure=lambda y, mask, x: zeroshot.measure(restorer, y, settings, zero, mask, x),
        simulated=zero.simulate,
        coloured=zero.coloured,
    )


def degrading(recipe: str, strength: float, seed: int) -> Work:
    """The work of ``degrade``; seed -1 draws one for the whole run. Raises ``UsageError`` for an unknown recipe."""
    parse_recipe(recipe)
    seed = secrets.randbelow(2**32) if seed == -1 else seed

    def apply(x: Tensor, after_step: Step) -> Tensor:
        # Noise goes beyond black and white, which files do not.
        return degrade(x, recipe, strength=strength, rng=torch.Generator().manual_seed(seed)).clamp(0, 1)

    made = {"restorer": __version__, "degrade": recipe, "strength": strength, "seed": seed}
    return Work(apply, made)


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
    stems = Counter(target.with_suffix("") for target in taken)
    twins = frozenset(stem for stem, count in stems.items() if count > 1)
    tell = progress or (lambda job, steps: None)
    inputs = source_ids(jobs) | _partner_ids(jobs, files)
    bench = _Bench(work, files, dry_run, tell, stdin, stdout, inputs, taken, twins)
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
    """Where one picture after the other is worked on; of one it keeps only the name for the next, in ``taken``.

    ``twins``: outputs without their endings, of which there are several.
    """

    work: Work
    files: Files
    dry_run: bool
    progress: Callable[[Job, int], None]
    stdin: BinaryIO | None
    stdout: BinaryIO | None
    inputs: frozenset[FileId]
    taken: set[Path]
    twins: frozenset[Path]

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
        picture = picture.coloured() if self.work.coloured else picture
        planned = job.target
        job, form = self._settle(job, picture)
        if job.target != planned:
            job, standing = self._look(job, recipe)
            if standing:
                return self._record(job, standing)
        width, height = (self.work.scale * side for side in picture.size)
        if width * height > self.files.max_pixels:
            raise ImageError(
                f"{job.name}: enlarged {self.work.scale} times it is {width} x {height} pixels, more than the limit of "
                f"{self.files.max_pixels:,}; raise --max-pixels if there is memory for it, or cut the picture."
            )
        job = _warned(job, *(f"{job.name}: {sentence}" for sentence in self.work.warnings))
        marked = None if mask is None else mask.pixels(picture.size, self.files.max_pixels, self.work.scale)
        job, clean = (job, picture.pixels) if self.work.simulated else self._truth(job, (width, height))
        trace = None if clean is None and self.files.trace == "plot" else self._trace(job, recipe)
        self._prepare(job)
        self._check_trace(job, trace)
        watch = None if trace is None else Curves(clean) if trace.kind == "plot" else Frames(self.work.steps)
        result = picture.restored(self._apply(job, picture.pixels, marked, watch))
        scores = {} if self.work.measure is None else dict(self.work.measure(picture.pixels, marked, result.pixels))
        self._write(job, result, form, recipe)
        if clean is None and trace is None:
            return replace(self._record(job, "done", result.size), scores=scores)
        written = images.as_written(result, format=form, bits=self.files.bits)
        if trace:
            trace.write(watch.drawn(written))
        compared, unmeasured = ({}, []) if clean is None else measure(written, clean)
        job = _warned(job, *(f"{job.name}: {sentence}" for sentence in unmeasured))
        return replace(self._record(job, "done", result.size), scores={**compared, **scores})

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
        if job.target is None:
            return job, None
        if job.target.is_dir():
            raise ImageError(f"{job.target} is a folder; choose another --output.")
        if self.files.exists == "rename":
            return (job if self._is_free(job.target) else replace(job, target=self._free(job.target))), None
        if job.target.exists() and self.files.exists == "error":
            raise ImageError(f"{job.target} exists already; use --overwrite, or --exists rename.")
        if not job.target.exists() or self.files.exists == "overwrite":
            return job, None
        if not same_recipe(images.read_recipe(job.target), recipe):
            return job, "other"
        trace = self._trace(job, recipe)
        return job, "skipped" if trace is None or trace.stands() else None

    def _is_free(self, target: Path) -> bool:
        trace = self._trace_place(target)
        return not target.exists() and (trace is None or not trace.exists())

    def _free(self, target: Path) -> Path:
        number = 2
        while not self._is_free(free := renamed(target, number)) or free in self.taken:
            number += 1
        self.taken.add(free)
        return free

    def _truth(self, job: Job, size: tuple[int, int]) -> tuple[Job, Tensor | None]:
        """The clean picture, or the job with a warning that says why there is none: it can be restored all the same."""
        if self.files.gt is None:
            return job, None
        try:
            return job, read_truth(find_truth(self.files.gt, job), size, self.files.max_pixels)
        except ImageError as error:
            return _warned(job, f"{error} It is restored, but not measured."), None

    def _trace_place(self, target: Path) -> Path | None:
        kind = self.files.trace
        return kind and beside(target, kind, whole_name=target.with_suffix("") in self.twins)

    def _trace(self, job: Job, recipe: Mapping[str, Any]) -> Trace | None:
        """The trace that is asked for. A chart shows how near the picture came to one ground truth, and needs that."""
        if self.files.trace is None:
            return None
        if self.files.trace == "plot":
            try:
                truth = read_bytes(find_truth(self.files.gt, job))
            except ImageError:
                return None
            recipe = {**recipe, "gt": hashlib.sha256(truth).hexdigest()}
        return Trace(self.files.trace, self._trace_place(job.target), recipe, self.files.record != "none")

    def _settle(self, job: Job, picture: images.Picture) -> tuple[Job, str]:
        """The format that is written, and the job with an ending and warnings that fit it."""
        named = None if job.target is None else images.format_of(job.target)
        asked = self.files.format if self.files.format != "auto" else named if job.exact else None
        own = replace(picture, format=named or picture.format)
        form = asked or images.output_format(own, "auto", self.files.bits)
        lost = _lost(picture, asked or own.format, self.files.bits)
        if asked:
            warning = f"{job.name}: {' and '.join(lost)} cannot be kept in {asked}; png would keep it."
            return (_warned(job, warning) if lost else job), form
        if job.target is None or named == form:
            return job, form
        job = with_ending(job, form, self.taken)
        self.taken.add(job.target)
        if named:
            warning = (
                f"{job.name}: {' and '.join(lost)} would be lost as {named}; "
                f"writing {job.target.name} instead (use --format {named} to force)."
            )
            job = _warned(job, warning)
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

    def _check_trace(self, job: Job, trace: Trace | None) -> None:
        """The same for its trace."""
        if trace is None:
            return
        for file in trace.files():
            if file_id(file) in self.inputs:
                raise onto_input(job.name, file)
        if trace.place in self.taken:
            raise ImageError(f"{job.name}: its trace {trace.place} is the output of another input; give a --suffix.")
        if self.files.exists != "overwrite" and not trace.has_room():
            raise ImageError(f"{trace.place} is there already; use --overwrite, or another --output.")
        self.taken.add(trace.place)

    def _apply(self, job: Job, pixels: Tensor, mask: Tensor | None, watch: Frames | Curves | None) -> Tensor:
        steps = 0

        def after_step() -> None:
            nonlocal steps
            steps += 1
            self.progress(job, steps)

        if mask is None and watch is None:
            return self.work.apply(pixels, after_step)
        return self.work.apply(pixels, after_step, mask, watch)

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


def _partner_ids(jobs: Sequence[Job], files: Files) -> frozenset[FileId]:
    """The masks and the ground truth, which may be written as little as the inputs."""
    places = [place for place in (files.mask, files.gt) if place is not None]
    found = (file_id(file) for place in places for job in jobs for file in partners(place, job))
    return frozenset(i for i in found if i)


def _warned(job: Job, *sentences: str) -> Job:
    return replace(job, warnings=(*job.warnings, *sentences))


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
