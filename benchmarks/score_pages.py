"""Rows of scores as tables, and the tables in the pages that show them; for scores.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

from restorer.card import README
from restorer.entry import GENERATE, Entry, enlargement, read_entry
from restorer.errors import UsageError
from restorer.images.atomic import write_bytes
from restorer.load import CARD
from restorer.sums import SUMS, read_sums
from restorer.zeroshot import STEPS

BEGIN, END = "<!-- scores -->", "<!-- /scores -->"
PAGE = "docs/scores.md"
COMMAND = "just scores DATA"


@dataclass(frozen=True)
class Row:
    """What became of the pictures of one set.

    ``made``: the damage is ours. ``input`` and ``restored``: mean "psnr" in dB and "ssim", None where it is infinite.
    ``seconds`` and ``megapixels``: sums over the pictures, of the result. ``pictures``: the same of each.
    """

    model: str
    task: str
    scale: int
    test: str
    set: str
    made: bool
    steps: int
    dtype: str
    cpu: str
    n: int
    input: dict[str, float | None]
    restored: dict[str, float | None]
    seconds: float
    megapixels: float
    pictures: list[dict[str, Any]] = field(default_factory=list)

    @property
    def key(self) -> tuple[object, ...]:
        """What makes it another row than the others."""
        return (*self.subject, self.set)

    @property
    def subject(self) -> tuple[object, ...]:
        """The model, and what it is put to."""
        return self.model, self.task, self.scale, self.test, self.steps, self.dtype

    @property
    def gain(self) -> float | None:
        """In dB."""
        before, after = self.input["psnr"], self.restored["psnr"]
        return None if before is None or after is None else after - before


def header(columns: Iterable[str]) -> str:
    """The head of a table."""
    names = list(columns)
    return f"| {' | '.join(names)} |\n|{'---|' * len(names)}"


def line(row: Row, columns: Iterable[str]) -> str:
    """The row as a line of that table."""
    return f"| {' | '.join(COLUMNS[name](row) for name in columns)} |"


def put_all(rows: Sequence[Row], root: Path) -> list[Path]:
    """Write the tables where they belong below ``root``; which files changed. Where it raises ``UsageError``, none."""
    cards = {file.parent.name: read_entry(file) for file in sorted(root.glob(f"models/*/{CARD}"))}
    own = [row for row in rows if row.model in cards and row.steps == _steps(cards[row.model], row)]
    pages = {root / PAGE: _filled(root / PAGE, _page(rows), "")}
    for name in cards:
        some = [row for row in own if row.model == name]
        if some:
            pages |= _with_sums(root / "models" / name, _card(some), [row for row in rows if row.model == name])
    pages[root / README] = _filled(root / README, _summary(own), "## Models")
    changed = {file: made for file, made in pages.items() if file.read_bytes() != made}
    for file, made in changed.items():
        write_bytes(file, made)
    return list(changed)


def put(text: str, table: str, heading: str) -> str:
    """``text`` with the table between the marks; they are set at the end of what ``heading`` begins, if not there.

    Raises ``ValueError`` for marks that are no pair.
    """
    inside = f"{BEGIN}\n\n{table}\n\n{END}"
    if text.count(BEGIN) or text.count(END):
        before, _, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end or BEGIN in rest or END in after or END in before:
            raise ValueError(f"{BEGIN} and {END} must stand in it once, in this order.")
        return f"{before}{inside}{after}"
    lines = text.splitlines(keepends=True)
    start = next((i for i, line in enumerate(lines) if heading and line.rstrip() == heading), len(lines))
    stop = next((i for i in range(start + 1, len(lines)) if lines[i].startswith("## ")), len(lines))
    return f"{''.join(lines[:stop]).rstrip()}\n\n{inside}\n" + "".join(["\n", *lines[stop:]] if lines[stop:] else [])


def pooled(rows: Iterable[Row]) -> list[Row]:
    """One row for all sets that were damaged in one way; pairs stay as they are."""
    some = sorted(rows, key=lambda row: not row.made)
    groups: dict[object, list[Row]] = {}
    for row in some:
        groups.setdefault((row.subject, row.set if not row.made else ""), []).append(row)
    return [_together(group) for group in groups.values()]


def _together(group: list[Row]) -> Row:
    first, n = group[0], sum(row.n for row in group)
    sums = {"seconds": sum(row.seconds for row in group), "megapixels": sum(row.megapixels for row in group)}
    names = ", ".join(row.set for row in group)
    means = {side: _mean([(row.n, getattr(row, side)) for row in group]) for side in ("input", "restored")}
    return replace(first, set=names, n=n, **means, **sums)


def _mean(scores: list[tuple[int, dict[str, float | None]]]) -> dict[str, float | None]:
    n = sum(count for count, _ in scores)
    return {
        name: None if any(one[name] is None for _, one in scores) else sum(c * one[name] for c, one in scores) / n
        for name in scores[0][1]
    }


def _steps(entry: Entry, row: Row) -> int:
    """As many as the model takes by itself, as its card is now."""
    if entry.task == GENERATE:
        return STEPS
    return entry.serving(row.task, float(row.scale) if entry.serves else None).sample.steps


def _page(rows: Sequence[Row]) -> str:
    """All that was measured, a table for each task."""
    parts = [_how(rows)]
    for task, some in groupby(sorted(rows, key=lambda row: row.task), lambda row: row.task):
        parts.append(f"## {task}\n\n{_table(some, OF_TASK)}")
    return "\n\n".join(parts)


def _card(rows: Sequence[Row]) -> str:
    """What a model's own card shows: the sets that are damaged alike together."""
    return f"{_how(rows)} [Every set for itself](../../{PAGE}).\n\n{_table(pooled(rows), OF_MODEL)}"


def _table(rows: Iterable[Row], columns: Sequence[str]) -> str:
    return "\n".join([header(columns), *(line(row, columns) for row in rows)])


def _summary(rows: Sequence[Row]) -> str:
    """One line for each model at each task."""
    head = header(("task", "model", "damage made here", "real and benchmark pairs", "s/MP"))
    groups: dict[object, list[Row]] = {}
    for row in pooled(sorted(rows, key=lambda row: (row.task, row.model, row.scale))):
        groups.setdefault((row.task, row.model, row.scale), []).append(row)
    lines = []
    for (_, model, _), some in groups.items():
        ours, theirs = ("; ".join(f"{r.test}: {_gain(r)}" for r in some if r.made == made) for made in (True, False))
        speed = _speed(_together(some))
        lines.append(f"| {_task(some[0])} | [{model}](models/{model}/README.md) | {ours} | {theirs} | {speed} |")
    return f"Gain of PSNR in dB; [every number]({PAGE}).\n\n{head}\n" + "\n".join(lines)


def _how(rows: Sequence[Row]) -> str:
    cpus = "; ".join(dict.fromkeys(row.cpu for row in rows))
    return (
        f"`{COMMAND}`: mean PSNR in dB and SSIM over RGB of the 8-bit pictures that are written; s/MP: seconds a "
        f"megapixel of the result ({cpus})."
    )


def _task(row: Row) -> str:
    return f"{row.task}, {row.scale} times" if row.scale > 1 else row.task


def _pair(scores: dict[str, float | None]) -> str:
    return " / ".join(
        "inf" if scores[name] is None else f"{scores[name]:.{digits}f}" for name, digits in (("psnr", 2), ("ssim", 4))
    )


def _gain(row: Row) -> str:
    return "" if row.gain is None else f"{row.gain:+.2f}"


def _speed(row: Row) -> str:
    return f"{row.seconds / row.megapixels:.2f}"


def _filled(file: Path, table: str, heading: str) -> bytes:
    """What is in the file, with the table."""
    try:
        return put(file.read_text(encoding="utf-8"), table, heading).encode()
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: the scores cannot be put there: {error}") from error


def _with_sums(folder: Path, table: str, rows: Sequence[Row]) -> dict[Path, bytes]:
    """A model's cards, and their checksums: of these alone, so that no other change passes for what was published."""
    made = {README: _filled(folder / README, table, "## Measured")}
    before, timed = (folder / CARD).read_bytes(), _timed(folder / CARD, rows)
    made |= {} if timed == before else {CARD: timed}
    if (folder / SUMS).exists():
        sums = read_sums(folder / SUMS)
        if CARD in made and sums.get(CARD) != sha256(before).hexdigest():
            raise UsageError(f"{folder / CARD}: not as {SUMS} says; run benchmarks/embed.py for the folder first.")
        sums |= {name: sha256(data).hexdigest() for name, data in made.items()}
        made[SUMS] = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
    return {folder / name: data for name, data in made.items()}


def _timed(file: Path, rows: Sequence[Row]) -> bytes:
    """config.json, where each score of the same pictures, damage and steps says how long it took, and on what."""
    data = json.loads(file.read_text(encoding="utf-8"))
    parts = [data, *data.get("serves", [])]
    changed = False
    for part in parts:
        for one in part.get("expect", []):
            row = _same(one, [row for row in rows if (row.task, row.scale) == _put_to(part)])
            if row is not None:
                told = {"seconds_per_megapixel": round(row.seconds / row.megapixels, 2)}
                told["machine"] = f"{row.cpu}, {row.dtype}"
                changed |= told.items() - one.items() != set()
                one |= told
    return f"{json.dumps(data, indent=2)}\n".encode() if changed else file.read_bytes()


def _put_to(part: dict[str, Any]) -> tuple[str, int]:
    return part["task"], enlargement(part.get("prepare"))


def _same(score: dict[str, Any], rows: Sequence[Row]) -> Row | None:
    """What was measured on all of the score's sets, together; of several tests of that name the nearest in PSNR."""
    sets, _, test = score["set"].partition("; ")
    groups: dict[str, list[Row]] = {}
    for row in rows:
        named = row.test == test or row.test.startswith(f"{test},") if test else not row.made
        if row.steps == score["steps"] and row.set in sets.split(", ") and named:
            groups.setdefault(row.test, []).append(row)
    whole = [_together(group) for group in groups.values() if len(group) == len(sets.split(", "))]
    whole = [row for row in whole if row.restored["psnr"] is not None]
    return min(whole, key=lambda row: abs(row.restored["psnr"] - score["value"]), default=None)


COLUMNS: dict[str, Callable[[Row], str]] = {
    "model": lambda row: row.model,
    "task": _task,
    "damage": lambda row: row.test,
    "pictures": lambda row: row.set,
    "n": lambda row: str(row.n),
    "input": lambda row: _pair(row.input),
    "restored": lambda row: _pair(row.restored),
    "gain": _gain,
    "steps": lambda row: f"{row.steps}, {row.dtype}",
    "s/MP": _speed,
}
"""Head -> what stands below it."""

OF_MODEL = tuple(name for name in COLUMNS if name != "model")
OF_TASK = tuple(name for name in COLUMNS if name != "task")
