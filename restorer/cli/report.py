"""What became of all pictures: counts, the closing sentence, and the exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import fsum
from time import perf_counter
from typing import TYPE_CHECKING, Any

from restorer.cli.errors import DONE, NO_DEVICE, NO_INPUT, SOME_FAILED
from restorer.cli.output import scored
from restorer.errors import DeviceError, InputError, RestorerError

if TYPE_CHECKING:
    from restorer.estimate import Estimate
    from restorer.record import Record
    from restorer.work import Work

NAMED = 10
"""The closing sentence names so many failed pictures."""


@dataclass
class Report:
    """Counts over the records of a run of ``total`` inputs."""

    total: int
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    errors: list[RestorerError] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)
    planned: list[str] = field(default_factory=list)
    expected: Estimate | None = None
    told: str = ""
    started: float = field(default_factory=perf_counter)

    def add(self, record: Record) -> None:
        """Count one picture."""
        self.counts[record.status] += 1
        for name, score in record.scores.items():
            self.scores.setdefault(name, []).append(score)
        if record.status == "planned":
            self.planned.append(record.input)
        if record.error:
            self.failed.append(record.input)
            self.errors.append(record.error)

    def estimate(self, work: Work, sizes: list[tuple[int, int]]) -> None:
        """Measure what pictures of these sizes will take, to tell it at the end."""
        from restorer.estimate import estimate

        self.expected = estimate(work, sizes)
        self.told = self.expected.sentence(work) if self.expected else ""

    @property
    def exit_code(self) -> int:
        """See the table in ``cli/errors.py``."""
        if any(isinstance(error, DeviceError) for error in self.errors):
            return NO_DEVICE
        if len(self.errors) == self.total and all(isinstance(error, InputError) for error in self.errors):
            return NO_INPUT
        return SOME_FAILED if self.errors else DONE

    @property
    def means(self) -> dict[str, float]:
        """The mean of every score, over the pictures that have it."""
        return {name: fsum(scores) / len(scores) for name, scores in self.scores.items()}

    def sentences(self) -> list[str]:
        """The closing words, and the names of what failed."""
        counted = [words.format(self.counts[status]) for status, words in WORDS.items() if self.counts[status]]
        if not counted:
            return ["Nothing done."]
        lines = [f"{', '.join(counted)} in {perf_counter() - self.started:.1f} s."]
        lines += [self.told] if self.told else []
        if self.scores:
            most = max(map(len, self.scores.values()))
            lines.append(f"{scored(self.means)}{f' in the mean of {most}' if most > 1 else ''}.")
        if self.failed and self.total > 1:
            more = len(self.failed) - NAMED
            names = ", ".join(self.failed[:NAMED]) + (f" and {more} more" if more > 0 else "")
            lines.append(f"Failed: {names}")
        return lines

    def line(self) -> dict[str, Any]:
        """The last line of ``--json``."""
        from restorer.record import json_score

        counts = {status: self.counts[status] for status in ("done", "skipped", "other", "failed")}
        if self.counts["planned"]:
            counts["planned"] = self.counts["planned"]
        if self.expected:
            counts["estimate"] = self.expected.line()
        means = {name: json_score(mean) for name, mean in self.means.items()}
        return {"v": 1, "summary": {**counts, "seconds": round(perf_counter() - self.started, 3), **means}}


WORDS: dict[str, str] = {
    "done": "{} done",
    "planned": "{} would be written",
    "skipped": "{} skipped",
    "other": "{} skipped (made with other settings: use --overwrite)",
    "failed": "{} failed",
}
