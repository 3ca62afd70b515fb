"""``restorer tasks --steps-table MODEL``: what a card says of a model at several numbers of steps."""

from typing import NamedTuple

from restorer.cli import output
from restorer.cli.models import card_of
from restorer.cli.offers import of_model
from restorer.cli.output import Output, counted
from restorer.entry import Entry
from restorer.errors import ModelError

MEASURE = "python benchmarks/scores.py DATA --models {model} --steps 1 2 5"


class Scored(NamedTuple):
    """What was measured: at which task, on which pictures, told of which damage, and what of them."""

    task: str
    scale: int | None
    set: str
    operator: str | None
    metric: str


def show_steps(model: str, out: Output) -> None:
    """Print the table of a model. Raises ``ModelError`` where its card has no score."""
    entry = card_of(model)
    rows = steps_table(entry)
    measure = MEASURE.format(model=model)
    if not rows:
        raise ModelError(f"The card of {entry.name!r} says no score; measure some with {measure}.")
    numbers = sorted({steps for scores in rows.values() for steps in scores})
    if out.json:
        for scored, scores in rows.items():
            output.json_line(scored._asdict() | {"scores": {str(steps): scores[steps] for steps in sorted(scores)}})
    else:
        said = [name for name in Scored._fields if any(getattr(scored, name) is not None for scored in rows)]
        lines = [
            [_cell(value) for value in (*(getattr(scored, name) for name in said), *map(scores.get, numbers))]
            for scored, scores in rows.items()
        ]
        output.table([*said, *(counted(number, "step") for number in numbers)], lines)
    if len(numbers) == 1:
        out.note(
            f"The card of {entry.name!r} knows {counted(numbers[0], 'step')} only; more are measured by {measure}."
        )


def steps_table(entry: Entry) -> dict[Scored, dict[int, float]]:
    """What was measured -> steps -> the score; of every task that the model serves."""
    rows: dict[Scored, dict[int, float]] = {}
    for offer in of_model(entry):
        for one in offer.expect:
            scored = Scored(offer.task, offer.scale, one.set, one.operator, one.metric)
            rows.setdefault(scored, {})[one.steps] = one.value
    return rows


def _cell(value: str | float | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:g}"
