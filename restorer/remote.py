"""Pictures that lie elsewhere, as ``s3://bucket/photos``, wherever fsspec reaches: each is brought, done, sent back.

    plan_remote(words, output, files)   ->  Plan of ``RemoteJob``
    run_remote(work, jobs, files)       ->  Record, Record, ..., with the places as they were named

An output is sent when it is whole; what is there already is fetched first, so that its recipe can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from restorer.batch import run
from restorer.errors import ImageError, InputError, RestorerError, UsageError
from restorer.images import FORMATS, SUFFIXES, format_of
from restorer.plan import Files, Job, Plan, sampled
from restorer.record import Record
from restorer.search import Problem, search_all

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from restorer.work import Work


@dataclass(frozen=True)
class RemoteJob:
    """One picture: the places of input and output, as URLs or local paths; ``inside`` as of ``Job``."""

    source: str
    target: str
    inside: PurePosixPath

    @property
    def name(self) -> str:
        """The input, as messages and records name it."""
        return self.source


def is_remote(word: str | None) -> bool:
    """Whether a word is a URL of a file system."""
    return word is not None and "://" in word


def plan_remote(words: Sequence[str], output: str | None, files: Files) -> Plan:
    """The jobs where an input or the output is a URL. Raises ``UsageError`` for what works on this machine alone."""
    for option, given in {"--mask": files.mask, "--gt": files.gt, "--trace": files.trace}.items():
        if given is not None:
            raise UsageError(f"{option} is for pictures on this machine; leave it out, or copy them here.")
    if files.exists == "rename" or files.record == "sidecar":
        raise UsageError("Elsewhere than on this machine nothing is renamed, and no recipe lies beside a picture.")
    found: list[tuple[str, PurePosixPath, bool]] = []
    problems: list[Problem] = []
    passed_over = 0
    for word in words:
        if is_remote(word):
            some, problem, over = _find(word, files.recursive)
            found += some
            problems += problem
            passed_over += over
        else:
            search = search_all([word], None, files.recursive)
            found += [
                (str(s.path), PurePosixPath(s.path.relative_to(s.root) if s.root else s.path.name), s.root is not None)
                for s in search.sources
            ]
            problems += search.problems
            passed_over += search.passed_over
    several = len(found) > 1 or any(deep for *_, deep in found)
    jobs = list(_named(found, words, output, files, several=several))
    return Plan(tuple(jobs), tuple(problems), passed_over)


def _find(url: str, recursive: bool) -> tuple[list[tuple[str, PurePosixPath, bool]], list[Problem], int]:
    """((url, path inside, whether a folder was named) of each picture, problems, files passed over)."""
    try:
        fs, path = _open(url)
        if fs.isfile(path):
            return [(url, PurePosixPath(path.rsplit("/", 1)[-1]), False)], [], 0
        if not fs.isdir(path):
            return [], [Problem(url, InputError(f"{url} does not exist; check the address."))], 0
        inside = [name.removeprefix(path.rstrip("/")).lstrip("/") for name in fs.find(path)]
    except (OSError, ValueError, ImportError) as fault:
        return [], [Problem(url, InputError(f"{url} cannot be listed ({fault}); check the address and the rights."))], 0
    shown = [PurePosixPath(name) for name in sorted(inside) if recursive or "/" not in name]
    shown = [name for name in shown if not any(part.startswith(".") for part in name.parts)]
    good = [name for name in shown if name.suffix.lower() in SUFFIXES]
    if not good:
        return [], [Problem(url, InputError(f"{url} holds no pictures; check it, or use -r."))], 0
    return [(f"{url.rstrip('/')}/{name}", name, True) for name in good], [], len(shown) - len(good)


def _named(
    found: list[tuple[str, PurePosixPath, bool]],
    words: Sequence[str],
    output: str | None,
    files: Files,
    *,
    several: bool,
) -> Iterator[RemoteJob]:
    taken: set[str] = set()
    for source, inside, in_folder in found:
        if output is not None and not several and format_of(Path(output)) and not output.endswith("/"):
            target = output
        else:
            root = source.removesuffix(str(inside)).rstrip("/")
            base = output.rstrip("/") if output else f"{root}_{files.participle}" if in_folder else root
            suffix = files.suffix if files.suffix is not None else "" if in_folder or output else f"_{files.participle}"
            ending = inside.suffix
            if files.format != "auto" and format_of(Path(inside.name)) != files.format:
                ending = FORMATS[files.format].suffixes[0]
            target = f"{base}/{inside.with_name(f'{inside.stem}{suffix}{ending}')}"
            if target in taken:
                target = f"{base}/{inside.with_name(f'{inside.name}{suffix}{ending}')}"
        if target == source or target in taken:
            raise UsageError(f"{source} would be written onto {target}; choose another --output or --suffix.")
        taken.add(target)
        yield RemoteJob(source, target, inside)


def run_remote(
    work: Work, jobs: Sequence[RemoteJob], files: Files, *, dry_run: bool = False
) -> Generator[Record, None, None]:
    """As ``restorer.batch.run``, one picture after the other. A dry run does not look what is there already."""
    for job in jobs:
        if dry_run:
            yield Record(job.source, job.target, "planned", work.recipe)
        else:
            yield from staged(job, files, lambda here: run(work, here, files))


def staged(job: RemoteJob, files: Files, run: Callable[[Sequence[Job]], Iterator[Record]]) -> list[Record]:
    """The picture brought here, done by ``run`` and sent: a record of each of its samples, named by its own places."""
    try:
        with TemporaryDirectory(prefix="restorer-") as folder:
            here = _bring(job, Path(folder), files)
            records = list(run(here))
            # Its ending may have changed: what is sent is what is there.
            sent = [_send(record, job, here) for record in records]
        return sent
    except RestorerError as error:
        return [Record(job.source, None, "failed", error=error)]


def _bring(job: RemoteJob, folder: Path, files: Files) -> list[Job]:
    source, target = folder / "in" / Path(job.source).name, folder / "out" / Path(job.target).name
    source.parent.mkdir()
    target.parent.mkdir()
    _copy(job.source, source)
    first = Job(source, target, exact=True, inside=Path(job.inside.name))
    jobs = (
        [first]
        if files.samples == 1
        else [
            replace(first, target=sampled(target, f"s{number}"), sample=number)
            for number in range(1, files.samples + 1)
        ]
    )
    fs, path = _open(job.target)
    root = path.rpartition("/")[0]
    stems = {one.target.stem for one in jobs}
    for name in fs.ls(root, detail=False) if fs.isdir(root) else ():
        there = PurePosixPath(name)
        if there.stem in stems and there.suffix.lower() in SUFFIXES:
            fs.get_file(name, str(target.parent / there.name))
    return jobs


def _send(record: Record, job: RemoteJob, here: Sequence[Job]) -> Record:
    """Send what was written for a record, and name it by the places that the user knows."""
    outputs = [*([record.output] if record.output else []), *record.beside]
    names = {file: _beside(job.target, Path(file).name) for file in outputs}
    if record.status == "done":
        for file, url in names.items():
            _copy_out(Path(file), url)

    def told(text: str) -> str:
        for file, url in {**names, str(here[0].source): job.source}.items():
            text = text.replace(str(file), url)
        return text

    error = record.error and type(record.error)(told(str(record.error)))
    warnings = tuple(map(told, record.warnings))
    beside = tuple(names[file] for file in record.beside)
    output = names.get(record.output)
    return replace(record, input=job.source, output=output, beside=beside, warnings=warnings, error=error)


def _beside(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"


def _copy(url: str, file: Path) -> None:
    try:
        fs, path = _open(url)
        fs.get_file(path, str(file))
    except FileNotFoundError as fault:
        raise InputError(f"{url} does not exist; check the address.") from fault
    except (OSError, ValueError) as fault:
        raise InputError(f"{url} cannot be fetched ({fault}); check the address and the rights.") from fault


def _copy_out(file: Path, url: str) -> None:
    """Whole or not at all: object stores show a file when it has come whole, others get it under another name first."""
    try:
        fs, path = _open(url)
        folder, _, name = path.rpartition("/")
        fs.makedirs(folder, exist_ok=True)
        unfinished = f"{folder}/.restorer-{name}.tmp"
        fs.put_file(str(file), unfinished)
        fs.mv(unfinished, path)
    except (OSError, ValueError) as fault:
        raise ImageError(f"{url} cannot be written ({fault}); check the address and the rights.") from fault


def _open(url: str) -> tuple[AbstractFileSystem, Any]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UsageError(f"{url}: such addresses need fsspec: pip install 'restorer[ray]'.") from error
    fs, path = url_to_fs(url)
    return fs, path
