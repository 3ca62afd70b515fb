"""What can be restored with what comes with restorer: one offer for each task, model and scale."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from restorer.cli.damage import IMPLIED
from restorer.cli.output import counted
from restorer.entry import GENERATE, TASKS, Entry, Expect, default_model, embedded, enlargement, read_entry
from restorer.errors import ModelError

UNTRIED = ("inpaint", "colorize", "translate", GENERATE)
"""Tasks that say nothing of a picture that has no holes and is in colour."""
ZERO_SHOT = "without training"
"""How a prior does what it was not trained for."""


class Offer(NamedTuple):
    """A task and who does it; ``entry`` is the card of this very task. ``zero_shot``: by a prior, see ``ZERO_SHOT``."""

    task: str
    entry: Entry
    expect: tuple[Expect, ...] = ()
    zero_shot: bool = False

    @property
    def name(self) -> str:
        """What a progress bar says."""
        return self.task

    @property
    def scale(self) -> int | None:
        """How many times it enlarges; None where it does not, or by any whole number."""
        scale = enlargement(self.entry.prepare)
        return scale if scale > 1 else None

    def command(self, picture: str) -> str:
        """What the user types to have it."""
        return f"restorer {self.task} {picture}" + (f" --scale {self.scale}" if self.scale else "")

    @property
    def how_fast(self) -> str | None:
        """What was measured of its speed in as many steps as it takes by itself."""
        own = (one.speed for one in self.expect if one.steps == self.entry.sample.steps)
        return next((speed for speed in own if speed), None)

    def row(self) -> dict[str, Any]:
        """As a line of the listing; what is not known is None."""
        score, weights = next(iter(self.expect), None), self.entry.weights
        return {
            "task": self.task,
            "scale": self.scale,
            "model": self.entry.name,
            "how": ZERO_SHOT if self.zero_shot else None,
            "measured": score and f"{score.value:g} {score.metric} ({score.set}, {counted(score.steps, 'step')})",
            "how_fast": self.how_fast,
            "size": weights and f"{weights.bytes / 1e6:.1f} MB",
        }


def listing() -> Iterator[dict[str, Any]]:
    """A row of each offer, in order of task, the one that is taken by default first; and of tasks that have none."""
    found = list(offers())
    for task in TASKS:
        rows = [offer.row() for offer in found if offer.task == task]
        yield from rows or [{"task": task} | dict.fromkeys(("scale", "model", "how", "measured", "how_fast", "size"))]


def to_try() -> list[Offer]:
    """The first offer of each task that needs nothing but a picture, and is a trained model's."""
    first: dict[str, Offer] = {}
    for offer in offers():
        needs_mask = "mask" in offer.entry.predict.input or (offer.entry.prepare or "").startswith("fill")
        if not (offer.zero_shot or needs_mask or offer.task in UNTRIED):
            first.setdefault(offer.task, offer)
    return [first[task] for task in TASKS if task in first]


def offers() -> Iterator[Offer]:
    """Of trained models, then of the prior for what it can be told of."""
    for folder in embedded().values():
        yield from of_model(read_entry(folder / "config.json"))
    try:
        prior = read_entry(embedded()[default_model(GENERATE)] / "config.json")
    except ModelError:
        return
    for task, operator in IMPLIED.items():
        told = operator(None)
        yield Offer(task, prior, tuple(one for one in prior.expect if one.operator == told), zero_shot=True)


def of_model(entry: Entry) -> Iterator[Offer]:
    """What a trained model does, each with what was measured of that."""
    if not entry.serves:
        yield Offer(entry.task, entry, entry.expect)
    for i, duty in enumerate(entry.serves or ()):
        # What the card expects of the whole is of its first task.
        expect = duty.expect or (entry.expect if i == 0 else ())
        yield Offer(duty.task, entry.serving(duty.task, float(duty.scale)), expect)
