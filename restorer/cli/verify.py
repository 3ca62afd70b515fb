"""``restorer models verify``."""

from typing import Annotated

import typer

from restorer.cli import options as o
from restorer.cli import output
from restorer.cli.errors import DAMAGED_MODEL
from restorer.cli.loading import loading
from restorer.cli.output import Output
from restorer.entry import embedded
from restorer.errors import RestorerError

EXAMPLES = """\
  restorer models verify                       all that come with restorer, or are here of the catalogue
  restorer models verify rddm-derain-tiny
  restorer models verify owner/repo --json"""

Models = Annotated[
    list[str] | None,
    typer.Argument(metavar="MODELS...", help="Names, folders, or OWNER/REPO[@REVISION].", show_default=False),
]


def verify(models: Models = None, json: o.JsonOnly = False, quiet: o.Quiet = False) -> None:
    """Compare the sha256 of every file, run each model on its test picture, and compare the score."""
    with loading():
        from restorer.hub import catalog
        from restorer.hub.shelf import is_here
        from restorer.verify import verify as check

    out, failed = Output(json=json, quiet=quiet), False
    for model in models or [*embedded(), *(listing.name for listing in catalog().values() if is_here(listing))]:
        try:
            with out.downloads():
                found = check(model)
        except RestorerError as error:
            failed = True
            output.error(str(error))
            if json:
                output.json_line({"model": model, "ok": False, "error": str(error)})
            continue
        if json:
            told = {"files": found.files, "psnr": found.score, "expected": found.expected, "notes": list(found.notes)}
            output.json_line({"model": model, "ok": True} | told)
        elif not quiet:
            score = "" if found.score is None else f"  {found.score:.2f} dB, expected {found.expected:.2f}"
            notes = f"  ({'; '.join(found.notes)})" if found.notes else ""
            output.result(f"{model}  OK  {found.files} files{score}{notes}")
    if failed:
        raise typer.Exit(DAMAGED_MODEL)
