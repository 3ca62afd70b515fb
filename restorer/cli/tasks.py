"""``restorer tasks``: what can be restored, by which model, and how well; which of it helps; samplers and steps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from restorer.cli import options as o
from restorer.cli import output
from restorer.cli.offers import listing
from restorer.cli.output import Output
from restorer.cli.steps import show_steps
from restorer.cli.trying import try_all
from restorer.errors import UsageError

EXAMPLES = """\
  restorer tasks
  restorer tasks photo.jpg                           photo_tasks.jpg: its middle, restored by every task's model
  restorer tasks --steps-table irsde-denoise-tiny    how many steps are worth it"""

Picture = Annotated[
    Path | None,
    typer.Argument(metavar="[PICTURE]", help="Try every task that needs no more on this picture.", show_default=False),
]
Place = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="The sheet: a file or a folder.  [default: NAME_tasks.jpg beside PICTURE]",
        show_default=False,
    ),
]
Samplers = Annotated[bool, typer.Option("--samplers", help="The names that --sampler takes, with their eta.")]
Steps = Annotated[
    str | None,
    typer.Option(
        "--steps-table",
        metavar="MODEL",
        help="How well a model does with how many steps, as its card says.",
        show_default=False,
    ),
]


def tasks(
    picture: Picture = None,
    place: Place = None,
    samplers: Samplers = False,
    steps_table: Steps = None,
    device: o.Device = "auto",
    json: o.JsonOnly = False,
) -> None:
    """What can be restored, by which model that comes with restorer, and how well; or which task helps a picture."""
    if picture is not None and (samplers or steps_table):
        word = "--samplers" if samplers else "--steps-table"
        raise UsageError(f"{word} is about no picture; leave out one of them.")
    if samplers and steps_table:
        raise UsageError("--samplers and --steps-table are two tables; ask for one at a time.")
    if picture is None and place is not None:
        raise UsageError("--output is for the sheet of a picture; name the picture too.")
    if picture is not None:
        try_all(picture, place, device, Output(json=json))
    if steps_table is not None:
        return show_steps(steps_table, Output(json=json))
    rows = list(_samplers() if samplers else listing())
    if json:
        for row in rows:
            output.json_line(row)
    else:
        header = {key: key.replace("_", " ") for key in rows[0]}
        cells = [["" if row[key] is None else str(row[key]) for key in header] for row in rows]
        output.table(list(header.values()), cells)


def _samplers() -> Iterator[dict[str, Any]]:
    from restorer.diffusion.samplers import SAMPLERS, natural_eta

    for name, sampler in SAMPLERS.items():
        # What its function says of itself first, without the marks and the errors of code.
        told = " ".join((sampler.__doc__ or "").split("\n\n")[0].split())
        told = told.replace("``", "").partition(" Raises ")[0]
        yield {"sampler": name, "eta": f"{natural_eta(name):g}", "what it does": told}
