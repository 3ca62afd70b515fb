"""Where one picture of a run is made ready, and finished: all that is done to it but the computing itself.

    prepare(job)            read, look whether it is done already, decode           -> Ready
    finish(ready, made)     put together, write, measure, trace                     -> Record

The two may run beside each other, and beside the computing, but each is called for one picture after the other.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from torch import Tensor

from restorer import images
from restorer.errors import ImageError, InputError
from restorer.images.atomic import write_bytes
from restorer.images.read import read_bytes
from restorer.images.recipe import check_beside, same_recipe, write_beside
from restorer.masks import Mask, read_mask
from restorer.plan import FileId, Files, Job, file_id, onto_input, partners, renamed, source_ids, with_ending
from restorer.record import Record, Status, as_restorer_error
from restorer.restore import Made
from restorer.search import STREAM
from restorer.spread import Spreads
from restorer.trace import Curves, Frames, Trace, beside
from restorer.truth import find_truth, measure, read_truth
from restorer.work import Work

if TYPE_CHECKING:
    from restorer.report import Comparison

LONGEST_NAME = 255
"""Bytes in the name of a file, on nearly every file system."""


@dataclass(eq=False)
class Ready:
    """A picture that waits to be computed; or, with a ``record`` and no ``picture``, one of which no more is done.

    ``asked``: the job as it was planned; ``job``: with the place and the warnings that it has by now.
    """

    asked: Job
    job: Job
    recipe: Mapping[str, Any] = field(default_factory=dict)
    record: Record | None = None
    picture: images.Picture | None = None
    form: str = "png"
    mask: Tensor | None = None
    clean: Tensor | None = None
    trace: Trace | None = None
    watch: Frames | Curves | None = None
    seconds: float = 0.0

    def goes_with(self, other: Ready) -> bool:
        """Whether both can go through a net at once."""
        if self.picture is None or other.picture is None or self.watch or other.watch:
            return False
        return self.picture.size == other.picture.size and self.job.sample == other.job.sample


@dataclass(frozen=True, eq=False)
class Bench:
    """Where one picture after the other is worked on; of one it keeps only the name for the next, in ``taken``.

    ``twins``: outputs without their endings, of which there are several.
    """

    work: Work
    files: Files
    dry_run: bool
    stdin: BinaryIO | None
    stdout: BinaryIO | None
    inputs: frozenset[FileId]
    taken: set[Path]
    twins: frozenset[Path]
    comparison: Comparison | None = None
    spreads: Spreads = field(default_factory=Spreads)

    @classmethod
    def of(
        cls,
        work: Work,
        files: Files,
        jobs: Sequence[Job],
        *,
        dry_run: bool = False,
        stdin: BinaryIO | None = None,
        stdout: BinaryIO | None = None,
        comparison: Comparison | None = None,
    ) -> Bench:
        """The bench for these jobs."""
        taken = {job.target for job in jobs if job.target}
        stems = Counter(target.with_suffix("") for target in taken)
        twins = frozenset(stem for stem, count in stems.items() if count > 1)
        inputs = source_ids(jobs) | _partner_ids(jobs, files)
        return cls(work, files, dry_run, stdin, stdout, inputs, taken, twins, comparison)

    def prepare(self, job: Job) -> Ready:
        """Read, look whether it is done already, decode. Whatever is wrong with the picture is in the record."""
        started = perf_counter()
        try:
            ready = self._prepared(job)
        except Exception as error:
            ready = Ready(job, job, record=self._failed(job, error))
        ready.seconds = perf_counter() - started
        return ready

    def finish(self, ready: Ready, made: Made | Exception | None) -> Record:
        """Write what was made of a picture and say what became of it; ``made`` may be why nothing was made."""
        started = perf_counter()
        try:
            record = ready.record or self._finished(ready, made)
            if ready.job.sample:
                record = self.spreads.add(self, ready, record, made)
            elif self.comparison is not None:
                record = self.compare(ready, record)
        except BrokenPipeError:
            raise  # nobody reads standard output any more
        except Exception as error:
            record = self._failed(ready.job, error)
        seconds = ready.seconds + perf_counter() - started
        return replace(record, device=self.work.device, dtype=self.work.dtype, seconds=seconds)

    def _failed(self, job: Job, error: Exception) -> Record:
        named = as_restorer_error(error, job.name, self.work.device)
        return Record(job.name, None, "failed", self.work.recipe, warnings=job.warnings, error=named)

    def _prepared(self, asked: Job) -> Ready:
        job, data = asked, self._read(asked)
        mask = None if self.files.mask is None else read_mask(self.files.mask, job)
        recipe = self._recipe(job, data, mask)
        job, standing = self._look(job, recipe)
        if standing or self.dry_run:
            return Ready(asked, job, recipe, self._record(job, standing or "planned", recipe))
        picture = _decode(data, job, self.files.max_pixels)
        picture = picture.coloured() if self.work.coloured else picture
        planned = job.target
        job, form = self._settle(job, picture)
        if job.target != planned:
            job, standing = self._look(job, recipe)
            if standing:
                return Ready(asked, job, recipe, self._record(job, standing, recipe))
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
        self._make_room(job)
        self._check_trace(job, trace)
        watch = None if trace is None else Curves(clean) if trace.kind == "plot" else Frames(self.work.steps)
        return Ready(asked, job, recipe, None, picture, form, marked, clean, trace, watch)

    def _finished(self, ready: Ready, made: Made | Exception | None) -> Record:
        if isinstance(made, Exception):
            raise made
        job = _warned(ready.job, *(f"{ready.job.name}: {sentence}" for sentence in made.remarks))
        result = ready.picture.restored(made.pixels)
        recipe = {**ready.recipe, **made.how}
        scores = {}
        if self.work.measure is not None:
            scores |= self.work.measure(ready.picture.pixels, ready.mask, result.pixels)
        self.write(job.target, result, ready.form, recipe)
        if ready.clean is not None or ready.trace is not None:
            written = images.as_written(result, format=ready.form, bits=self.files.bits)
            if ready.trace:
                ready.trace.write(ready.watch.drawn(written))
            compared, unmeasured = ({}, []) if ready.clean is None else measure(written, ready.clean)
            job = _warned(job, *(f"{job.name}: {sentence}" for sentence in unmeasured))
            scores = {**compared, **scores}
        return replace(self._record(job, "done", recipe, result.size), scores=scores)

    def _read(self, job: Job) -> bytes:
        if job.source is None:
            # A dry run takes nothing from a pipe.
            return b"" if self.dry_run else self.stdin.read()
        try:
            return read_bytes(job.source)
        except ImageError as error:
            raise InputError(str(error)) from error

    def _recipe(self, job: Job, data: bytes, mask: Mask | None) -> dict[str, Any]:
        """Everything that makes this output. Names are not in it: a picture under another name is the same picture."""
        marked = {} if mask is None else {"mask": mask.sha256}
        seed = {"seed": self.work.recipe["seed"] + job.sample - 1} if job.sample else {}
        looks = self.files.looks(job.target)
        return {**self.work.recipe, **seed, **marked, **looks, "input": hashlib.sha256(data).hexdigest()}

    def _look(self, job: Job, recipe: Mapping[str, Any]) -> tuple[Job, Status | None]:
        """What the output's place says: the job to do, or the status that makes it needless."""
        if job.target is None:
            return job, None
        if len(os.fsencode(job.target.name)) > LONGEST_NAME:
            raise ImageError(
                f"{job.name}: the name of its output has more than {LONGEST_NAME} bytes; name it: -o FILE, or shorten "
                "the --suffix."
            )
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

    def _make_room(self, job: Job) -> None:
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

    def write(self, target: Path | None, picture: images.Picture, form: str, recipe: Mapping[str, Any]) -> None:
        """The picture as a file, or on standard output where there is no target."""
        files = self.files
        looks = {"format": form, "quality": files.quality, "bits": files.bits, "metadata": files.metadata}
        inside = recipe if files.record == "embed" else None
        if target is None:
            self.stdout.write(images.encode(picture, recipe=inside, **looks))
            self.stdout.flush()
        elif files.record == "sidecar":
            data = images.encode(picture, **looks)
            write_bytes(target, data)
            write_beside(target, data, recipe)
        else:
            images.write(picture, target, recipe=inside, **looks)

    def compare(self, ready: Ready, record: Record, spread: Tensor | None = None) -> Record:
        """Show the comparison what was written, or stands since an earlier run; the record names what it writes."""
        if record.status not in ("done", "skipped"):
            return record
        output = Path(record.output)
        picture = ready.picture or images.read(ready.job.source, max_pixels=self.files.max_pixels)
        words = {"target": ready.clean, "scores": record.scores, "recipe": record.made, "spread": spread}
        after = images.read(output, max_pixels=self.files.max_pixels).pixels
        words |= {"output": output, "seconds": ready.seconds if record.status == "done" else None}
        file = self.comparison.add(record.input, picture.pixels, after, **words)
        return replace(record, beside=(*record.beside, str(file))) if file else record

    def _record(
        self, job: Job, status: Status, recipe: Mapping[str, Any], size: tuple[int, int] | None = None
    ) -> Record:
        output = STREAM if job.target is None else str(job.target)
        return Record(job.name, output, status, recipe, size, warnings=job.warnings)


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
    if form not in images.FORMATS:  # it is read only, and becomes what holds all of it
        return []
    holds = images.FORMATS[form]
    return ["16 bits a channel"] * (deep and not holds.deep) + ["transparency"] * (
        picture.alpha is not None and not holds.alpha
    )
