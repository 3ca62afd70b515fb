"""Which files the words of a command mean: files, folders, patterns, and lists of them. Nothing is opened but lists."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from restorer.errors import InputError, RestorerError
from restorer.images import SUFFIXES

STREAM = "-"
"""The word for standard input and standard output."""


@dataclass(frozen=True)
class Problem:
    """An input that gives no job, and why."""

    input: str
    error: RestorerError


@dataclass(frozen=True)
class Source:
    """A file to read, and the folder it was found in when the folder is what was named."""

    path: Path
    root: Path | None = None


@dataclass
class Search:
    """What the inputs were found to be."""

    sources: list[Source] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    passed_over: int = 0

    def problem(self, name: str, sentence: str) -> None:
        """Note an input on which there is nothing to do."""
        self.problems.append(Problem(name, InputError(sentence)))


def search_all(words: list[str], place: str | None, recursive: bool) -> Search:
    """What ``words`` name; ``place``: the output, as the user wrote it, which is not read again."""
    search = Search()
    for word in words:
        _find(word, place, recursive, search)
    # The same file may come by name and by pattern.
    first = {source.path.absolute(): source for source in reversed(search.sources)}
    search.sources = list(first.values())[::-1]
    return search


def _find(word: str, place: str | None, recursive: bool, search: Search) -> None:
    path = Path(word).expanduser()
    if path.is_dir():
        _find_in_folder(path, place, recursive, search)
    elif path.exists():
        search.sources.append(Source(path))
    elif word.startswith("@"):
        _find_in_list(word, place, recursive, search)
    elif glob.has_magic(word):
        _find_pattern(word, place, recursive, search)
    else:
        search.problem(word, f"{word} does not exist; check the path.")


def _find_pattern(word: str, place: str | None, recursive: bool, search: Search) -> None:
    pattern = str(Path(word).expanduser())
    matches = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 - it may be absolute
    good = [path for path in matches if path.is_dir() or _is_picture(path)]
    search.passed_over += len(matches) - len(good)
    if not good:
        search.problem(word, f"{word}: no picture matches this pattern; check it.")
    for path in good:
        _find(str(path), place, recursive, search)


def _find_in_list(word: str, place: str | None, recursive: bool, search: Search) -> None:
    try:
        lines = Path(word[1:]).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        return search.problem(word, f"{word[1:]}: cannot read this list of inputs: {reason}; check it.")
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        search.problem(word, f"{word[1:]}: this list of inputs is empty; write one path a line.")
    for name in names:
        if name.startswith("@") or name == STREAM:
            search.problem(name, f"{word[1:]}: {name!r} has no meaning in a list; write paths only.")
        else:
            _find(name, place, recursive, search)


def _find_in_folder(folder: Path, place: str | None, recursive: bool, search: Search) -> None:
    errors: list[OSError] = []
    found = 0
    for path in _walk(folder, _inner(place, folder), recursive, errors):
        if _is_picture(path):
            search.sources.append(Source(path, folder))
            found += 1
        else:
            search.passed_over += 1
    for error in errors:
        search.problem(str(error.filename), f"{error.filename}: cannot read this folder: {error.strerror}.")
    if not found and not errors:
        hint = "name one that has some" if recursive else "use -r to look in its subfolders"
        search.problem(str(folder), f"{folder} holds no pictures ({' '.join(sorted(SUFFIXES))}); {hint}.")


def _walk(folder: Path, without: Path | None, recursive: bool, errors: list[OSError]) -> Iterator[Path]:
    """Files below, in order of name; hidden ones, ours in the making among them, and the output folder left out."""
    for where, folders, names in os.walk(folder, onerror=errors.append):
        kept = [name for name in sorted(folders) if not name.startswith(".")]
        folders[:] = [name for name in kept if recursive and (Path(where) / name).resolve() != without]
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(where) / name


def _inner(place: str | None, folder: Path) -> Path | None:
    """The output folder when it lies inside ``folder``: what is in it is ours and not read again."""
    if place is None or place == STREAM:
        return None
    inner = Path(place).expanduser().resolve()
    return inner if folder.resolve() in inner.parents else None


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES
