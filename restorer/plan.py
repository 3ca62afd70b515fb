"""From the words of a command to jobs: which files are read, and where each result goes.

    input                     output   result
    one file                  none     photo_restored.jpg beside it
    a folder                  none     folder_restored/, same names
    several                   none     each beside its own file
    one file                  x.png    that file; a name without an ending is a folder
    any                       folder   that folder, same names (it exists, ends with /, or there are several inputs)
    any                       -        standard output, one picture
    - (standard input)        none     standard output

Never onto an input. Nothing is written here, and no picture is decoded.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from restorer.errors import ImageError, InputError, UsageError, unknown
from restorer.images import FORMATS, MAX_PIXELS, WRITTEN, format_of, read_recipe
from restorer.search import STREAM, Problem, Search, Source, search_all
from restorer.trace import Kind, beside

QUALITY = 95
"""Of JPEG, WebP and AVIF, unless told otherwise."""


@dataclass(frozen=True)
class Files:
    """How files are read, named and written.

    ``participle`` names outputs: photo_restored.jpg; ``suffix`` replaces that, None is the rule of the table above.
    ``exists``: skip, overwrite, rename or error, when the output is there. ``record``: embed, sidecar or none.
    ``mask``: the file of a mask for all pictures, or a folder of masks with their names; ``gt``: the clean pictures to
    measure against, likewise. ``trace``: what is written beside each output of how it came to be. ``samples``: so many
    restorations of each picture, photo_restored_s1.jpg and so on.
    """

    participle: str = "restored"
    suffix: str | None = None
    recursive: bool = False
    exists: Literal["skip", "overwrite", "rename", "error"] = "skip"
    format: str = "auto"
    quality: int = QUALITY
    bits: Literal["auto", 8, 16] = "auto"
    metadata: bool = True
    record: Literal["embed", "sidecar", "none"] = "embed"
    max_pixels: int = MAX_PIXELS
    mask: Path | None = None
    gt: Path | None = None
    trace: Kind | None = None
    samples: int = 1

    def looks(self, target: Path | None) -> dict[str, Any]:
        """What of this makes another file of the same pixels; only what is not as ever, and what the format knows."""
        form = self.format if self.format != "auto" else None if target is None else format_of(target)
        looks = {"bits": self.bits} if self.bits != "auto" else {}
        looks |= {"metadata": "strip"} if not self.metadata else {}
        lossy = form is None or FORMATS[form].lossy
        return looks | ({"quality": self.quality} if lossy and self.quality != QUALITY else {})


@dataclass(frozen=True)
class Job:
    """One picture: where it is read and written; None is a standard stream.

    ``inside``: its path below the folder that was named, or its name.
    ``exact``: the user named this very file. ``target`` may still change its ending when the content asks for it.
    ``sample``: which of several restorations of the picture this is, from 1; 0: the only one.
    """

    source: Path | None
    target: Path | None
    exact: bool = False
    warnings: tuple[str, ...] = ()
    inside: Path | None = None
    sample: int = 0

    @property
    def name(self) -> str:
        """The input, as messages and records name it."""
        return STREAM if self.source is None else str(self.source)


def partners(place: Path, job: Job) -> list[Path]:
    """What belongs to the job's picture: ``place`` itself unless it is a folder, else the picture of that name in it.

    The ending may differ, where none has the very name; then there may be several. Standard input has no name.
    """
    if not place.is_dir():
        return [place]
    if job.source is None:
        return []
    name = job.inside or Path(job.source.name)
    if (place / name).is_file():
        return [place / name]
    folder = (place / name).parent
    near = [file for file in folder.iterdir() if file.stem == name.stem] if folder.is_dir() else []
    return sorted(file for file in near if format_of(file) and file.is_file())


@dataclass(frozen=True)
class Plan:
    """What is to be done. ``passed_over`` counts files found that are no pictures, or outputs of an earlier run."""

    jobs: tuple[Job, ...] = ()
    problems: tuple[Problem, ...] = ()
    passed_over: int = 0


def plan(inputs: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str] | None, files: Files) -> Plan:
    """The jobs for files, folders, patterns, @list.txt or "-". Raises ``UsageError`` when the words disagree."""
    words, place = [os.fspath(word) for word in inputs], None if output is None else os.fspath(output)
    _check(words, place, files)
    todo = _plan_stream(place, files) if words == [STREAM] else _plan_files(words, place, files)
    if files.gt is not None and todo.jobs and not any(partners(files.gt, job) for job in todo.jobs):
        raise UsageError(
            f"{files.gt}: no picture there has the name of an input; --gt takes a picture, or a folder of equal names."
        )
    return todo if files.samples == 1 else replace(todo, jobs=tuple(_sampled(todo.jobs, files.samples)))


def _sampled(jobs: Sequence[Job], samples: int) -> Iterator[Job]:
    """Each job so many times, photo_restored.jpg as photo_restored_s1.jpg, photo_restored_s2.jpg ..."""
    for job in jobs:
        for number in range(1, samples + 1):
            warnings = job.warnings if number == 1 else ()
            yield replace(job, target=sampled(job.target, f"s{number}"), sample=number, warnings=warnings)


def sampled(target: Path, word: str) -> Path:
    """photo_restored_s1.jpg, photo_restored_mean.jpg."""
    return target.with_name(f"{target.stem}_{word}{target.suffix}")


def _plan_files(words: list[str], place: str | None, files: Files) -> Plan:
    search = search_all(words, place, files.recursive)
    if place == STREAM:
        if len(search.sources) > 1:
            raise UsageError(
                f"Standard output holds one picture, and there are {len(search.sources)}; give a folder: -o results/"
            )
        return Plan(tuple(Job(s.path, None) for s in search.sources), tuple(search.problems), search.passed_over)
    return _name_all(search, place, files)


def _check(words: list[str], place: str | None, files: Files) -> None:
    if not words:
        raise UsageError("No input is named; give pictures, folders, or - for standard input.")
    if files.mask is not None and not files.mask.exists():
        raise InputError(f"{files.mask}: no such mask file, nor a folder of masks; check the path.")
    if files.gt is not None and not files.gt.exists():
        raise UsageError(f"{files.gt}: no such picture, nor a folder of clean pictures; check what --gt names.")
    if files.trace == "plot" and files.gt is None:
        raise UsageError("--trace plot draws PSNR against the ground truth; name that too: --gt FILE or FOLDER.")
    if STREAM in words and len(words) > 1:
        raise UsageError("Standard input (-) cannot be mixed with other inputs; run restorer twice.")
    if files.suffix is not None and ("/" in files.suffix or os.sep in files.suffix):
        raise UsageError(f"The suffix {files.suffix!r} holds a folder; use --output for that.")
    if files.format != "auto" and files.format not in FORMATS:
        raise unknown("format", files.format, ["auto", *FORMATS])
    piped = place == STREAM or (words == [STREAM] and place is None)
    if piped and files.trace is not None:
        raise UsageError("A picture on standard output has no trace beside it; use -o FILE, or leave out --trace.")
    if piped and files.samples > 1:
        raise UsageError("Standard output holds one picture; name a folder, -o results/, or leave out --samples.")
    if piped and files.record == "sidecar":
        raise UsageError("A picture on standard output has no file beside it; use --record embed or none.")
    if files.bits == 16 and files.format != "auto" and not FORMATS[files.format].deep:
        raise UsageError(f"{files.format} holds 8 bits a channel, not 16; use --format png or tiff, or --bits 8.")


# ------------------------------------------------------------------------------------------------ where it goes


def _plan_stream(place: str | None, files: Files) -> Plan:
    if place is None or place == STREAM:
        return Plan((Job(None, None),))
    if _is_folder_word(place) or Path(place).expanduser().is_dir():
        return Plan((Job(None, _named(Path(place).expanduser() / "stdin", "stdin", files.suffix or "", files)),))
    return Plan((Job(None, _exact(Path(place).expanduser(), files), exact=True),))


def _name_all(search: Search, place: str | None, files: Files) -> Plan:
    folder = None if place is None else Path(place).expanduser()
    several = len(search.sources) + len(search.problems) > 1 or any(s.root for s in search.sources)
    if place is not None and folder.exists() and not folder.is_dir() and several:
        raise UsageError(f"{place} is a file, and there are several inputs; name a folder: -o results/")
    if place is not None and not _is_folder_word(place) and not folder.is_dir():
        if not several and (folder.suffix or folder.exists()):
            jobs = [Job(s.path, _exact(folder, files), exact=True) for s in search.sources]
            return _guard(jobs, search)
        if several and format_of(folder):
            raise UsageError(f"{place} names one picture, and there are several inputs; name a folder: -o results/")
    taken: set[str] = set()
    return _guard([_name(source, folder, files, taken) for source in search.sources], search)


def _name(source: Source, output: Path | None, files: Files, taken: set[str]) -> Job:
    """The job of one source. The second of two with the same output keeps its whole name."""
    beside = output is None and source.root is None
    suffix = files.suffix if files.suffix is not None else f"_{files.participle}" if beside else ""
    base = _folder_of(source, output, files.participle)
    target = _named(base / source.path.name, source.path.stem, suffix, files)
    warnings: tuple[str, ...] = ()
    if os.path.normcase(target) in taken:
        wanted, target = target, _named(base / source.path.name, source.path.name, suffix, files)
        number = 2
        while os.path.normcase(target) in taken:
            target, number = _named(base / source.path.name, f"{source.path.name}_{number}", suffix, files), number + 1
        warnings = (f"{source.path}: {wanted.name} is the output of another input; writing {target.name} instead.",)
    taken.add(os.path.normcase(target))
    inside = source.path.relative_to(source.root) if source.root else Path(source.path.name)
    return Job(source.path, target, warnings=warnings, inside=inside)


def _folder_of(source: Source, output: Path | None, participle: str) -> Path:
    if source.root is None:
        return output or source.path.parent
    # A folder may be called "." or "..", which have no name to build on.
    root = source.root if source.root.name not in ("", "..") else source.root.resolve()
    if output is None and not root.name:
        raise UsageError(f"{root} has no name to call its output after; name a folder: -o results/")
    return (output or root.with_name(f"{root.name}_{participle}")) / source.path.parent.relative_to(source.root)


def _named(path: Path, stem: str, suffix: str, files: Files) -> Path:
    """``path`` under the name ``stem`` + ``suffix``, with the ending of the wanted format; its own where that fits."""
    ending = path.suffix
    if files.format != "auto" and format_of(path) != files.format:
        ending = FORMATS[files.format].suffixes[0]
    return path.with_name(f"{stem}{suffix}{ending}")


def _exact(path: Path, files: Files) -> Path:
    if files.suffix is not None:
        raise UsageError(f"--suffix {files.suffix} adds to names made for you; {path} is named whole. Use one of them.")
    form = format_of(path) if files.format == "auto" else files.format
    if form is None:
        raise UsageError(
            f"{path}: no format ends in {path.suffix!r}; use one of {' '.join(sorted(WRITTEN))}, "
            "give --format, or end the name with / if it is a folder."
        )
    if files.bits == 16 and not FORMATS[form].deep:
        raise UsageError(f"{path}: {form} holds 8 bits a channel, not 16; name a .png or .tif file, or use --bits 8.")
    return path


def _is_folder_word(place: str) -> bool:
    return place.endswith(("/", os.sep)) or place in (".", "..")


# ------------------------------------------------------------------------------------------------ never onto an input

FileId = tuple[int, int]


def file_id(path: Path) -> FileId | None:
    """What two names of one file share, links among them; None where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def source_ids(jobs: Sequence[Job]) -> frozenset[FileId]:
    """The files that may not be written."""
    ids = (file_id(job.source) for job in jobs if job.source is not None)
    return frozenset(found for found in ids if found)


def onto_input(name: str, target: Path) -> ImageError:
    """The refusal to write over an input."""
    onto = "itself" if str(target) == name else str(target)
    return ImageError(f"{name}: would be written onto {onto}, an input; choose another --output or --suffix.")


def _guard(jobs: list[Job], search: Search) -> Plan:
    """Drop inputs that an earlier run of the same words wrote, and refuse what would be written onto an input."""
    sources = source_ids(jobs)
    ours = {i for job in jobs for made in (job.target, beside(job.target, "plot")) if (i := _own(made, job, sources))}
    kept = [job for job in jobs if file_id(job.source) not in ours]
    sources = source_ids(kept)
    good, problems = [], list(search.problems)
    for job in kept:
        if file_id(job.target) in sources:
            problems.append(Problem(job.name, onto_input(job.name, job.target)))
        else:
            good.append(job)
    return Plan(tuple(good), tuple(problems), search.passed_over + len(jobs) - len(kept))


def _own(made: Path, job: Job, sources: frozenset[FileId]) -> FileId | None:
    """The file ``made`` when it is an input too and restorer made it: ``restore *.jpg``, a second time."""
    known = file_id(made)
    if known not in sources or known == file_id(job.source) or read_recipe(made) is None:
        return None
    return known


def renamed(target: Path, number: int) -> Path:
    """photo_restored_2.jpg, for a name that is in use."""
    return target.with_name(f"{target.stem}_{number}{target.suffix}")


def with_ending(job: Job, form: str, taken: Collection[Path]) -> Job:
    """The job with the ending of ``form``; behind the whole name, where the name without it is taken."""
    ending = FORMATS[form].suffixes[0]
    target = job.target.with_suffix(ending)
    return replace(job, target=job.target.with_name(job.target.name + ending) if target in taken else target)
