"""``restorer tasks``: what can be restored, by which model, and how well; and by which samplers."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from restorer.cli import options as o
from restorer.cli import output
from restorer.entry import TASKS, embedded, read_entry

EXAMPLES = """\
  restorer tasks
  restorer tasks --samplers          what --sampler takes"""

Samplers = Annotated[bool, typer.Option("--samplers", help="The names that --sampler takes, with their eta.")]


def tasks(samplers: Samplers = False, json: o.JsonOnly = False) -> None:
    """What can be restored, by which model that comes with restorer, and how well."""
    rows = list(_samplers() if samplers else _tasks())
    if json:
        for row in rows:
            output.json_line(row)
    else:
        header = list(rows[0])
        output.table(header, [["" if row[key] is None else str(row[key]) for key in header] for row in rows])


def _tasks() -> Iterator[dict[str, Any]]:
    entries = [read_entry(folder / "config.json") for folder in embedded().values()]
    for task in TASKS:
        own = next((entry for entry in entries if entry.task == task), None)
        score = own.expect[0] if own and own.expect else None
        measured = score and f"{score.value:g} {score.metric} ({score.set}, {score.steps} steps)"
        yield {"task": task, "model": own and own.name, "measured": measured}


def _samplers() -> Iterator[dict[str, Any]]:
    from restorer.diffusion.samplers import SAMPLERS, natural_eta

    for name, sampler in SAMPLERS.items():
        # What its function says of itself first, without the marks and the errors of code.
        told = " ".join((sampler.__doc__ or "").split("\n\n")[0].split())
        told = told.replace("``", "").partition(" Raises ")[0]
        yield {"sampler": name, "eta": f"{natural_eta(name):g}", "what it does": told}
