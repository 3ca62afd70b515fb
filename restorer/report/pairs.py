"""Which picture belongs to which: of two folders, and of the ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from restorer import images
from restorer.entry import TASKS
from restorer.errors import ImageError, InputError
from restorer.plan import Job, partners
from restorer.record import Record
from restorer.report.comparison import MADE, Comparison
from restorer.search import search_all
from restorer.truth import measure

ENDINGS = tuple(f"_{word}" for word in ("restored", "degraded", *TASKS.values()))
"""What restorer puts behind the names of its outputs."""


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
        if images.read_recipe(source.path) == MADE:
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


def compared(pair: Pair, into: Comparison, max_pixels: int) -> Record:
    """Read a pair, measure it where there is a ground truth, and put it into the comparison. Raises ``ImageError``."""
    before, after = (images.read(file, max_pixels=max_pixels).pixels for file in (pair.before, pair.after))
    ratio = [b / a for a, b in zip(before.shape[-2:], after.shape[-2:], strict=True)]
    if abs(ratio[0] / ratio[1] - 1) > 0.02:
        raise ImageError(f"{pair.after} has another shape than {pair.before}; compare pictures of one shape.")
    target = None if pair.target is None else images.read(pair.target, max_pixels=max_pixels).pixels
    scores, warnings = {}, []
    if target is not None and target.shape != after.shape:
        warnings, target = [f"{pair.target}: a ground truth of another size than {pair.after}; left out."], None
    if target is not None:
        scores, warnings = measure(after, target)
    recipe = images.read_recipe(pair.after)
    words = {"target": target, "scores": scores, "recipe": recipe, "output": pair.after}
    file = into.add(str(pair.inside), before, after, **words)
    size = (after.shape[-1], after.shape[-2])
    output = str(file) if file else str(pair.after)
    return Record(str(pair.before), output, "done", size=size, scores=scores, warnings=tuple(warnings))
