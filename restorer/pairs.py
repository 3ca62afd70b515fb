"""Which picture belongs to which: of two folders, and of the ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from restorer import images
from restorer.entry import TASKS
from restorer.errors import InputError
from restorer.plan import Job, partners
from restorer.search import search_all

ENDINGS = tuple(f"_{word}" for word in ("restored", "degraded", *TASKS.values()))
"""What restorer puts behind the names of its outputs."""
COMPARISON = {"restorer": "comparison"}
"""The recipe in a picture that compares others, by which it is known to be no output."""


@dataclass(frozen=True)
class Pair:
    """``inside``: the name that both share."""

    before: Path
    after: Path
    target: Path | None
    inside: Path


@dataclass(frozen=True)
class Pairs:
    """The pairs, and (name, sentence) of what has no partner."""

    pairs: tuple[Pair, ...]
    problems: tuple[tuple[str, str], ...]


def pairs(before: Path, after: Path, gt: Path | None, *, recursive: bool = False) -> Pairs:
    """Each picture of ``after`` with its own of ``before``, and of ``gt`` where it has one. Raises ``InputError``.

    Names are equal but for the ending, and for a word as _derained behind them.
    """
    for place in filter(None, (before, after, gt)):
        if not place.exists():
            raise InputError(f"{place} does not exist; check the path.")
    search = search_all([str(after)], None, recursive)
    found, problems = [], [(problem.input, str(problem.error)) for problem in search.problems]
    for source in search.sources:
        if images.read_recipe(source.path) == COMPARISON:
            continue
        inside = source.path.relative_to(source.root) if source.root else Path(source.path.name)
        own = find(before, source.path, inside)
        if isinstance(own, str):
            problems.append((str(source.path), own))
            continue
        target = None if gt is None else find(gt, source.path, inside)
        if isinstance(target, str):
            problems.append((str(source.path), target))
            target = None
        found.append(Pair(own, source.path, target, inside))
    return Pairs(tuple(found), tuple(problems))


def find(place: Path, file: Path, inside: Path) -> Path | str:
    """The picture in ``place`` that ``file`` belongs to; or a sentence that says why there is none."""
    for name in dict.fromkeys((inside, inside.with_name(_bare(inside)))):
        some = partners(place, Job(file, None, inside=name))
        if len(some) == 1:
            return some[0]
        if some:
            return f"{file}: several pictures of its name in {place}: {' and '.join(one.name for one in some)}."
    return f"{file}: no picture of its name in {place}; names must be equal but for the ending."


def _bare(inside: Path) -> str:
    """The name without the word that restorer puts behind it."""
    ending = next((end for end in ENDINGS if inside.stem.endswith(end)), "")
    return inside.stem.removesuffix(ending) + inside.suffix
