"""``restorer tasks PICTURE``: the middle of a picture, restored by the model of every task, on one sheet."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from restorer.cli import output
from restorer.cli.loading import loading
from restorer.cli.offers import Offer, to_try
from restorer.cli.report import Report
from restorer.errors import ModelError

if TYPE_CHECKING:
    from restorer.record import Record
    from restorer.trial import Trial

HEADER = ("task", "command", "seconds")


def try_all(picture: Path, place: Path | None, device: str, out: output.Output) -> None:
    """Write the sheet, tell what each task took, and leave with the exit code."""
    offers = to_try()
    if not offers:
        raise ModelError("No trained model comes with restorer, so there is nothing to try.")
    with loading():
        from restorer.device import choose_device
        from restorer.report.contact import contact, place_for
        from restorer.trial import look, middle

    choose_device(device)
    place = place_for(picture, place)
    pixels = look(picture)
    report, trials = Report(len(offers)), []
    with out.bar(len(offers), 1) as tell:
        for offer in offers:
            tell(offer, 0)
            trial, record = _try(offer, pixels, device)
            trials += [(offer, trial)] if trial else []
            _tell(offer, picture, record, out)
            report.add(record)
    if not out.json:
        rows = [[offer.task, _command(offer, picture), f"{trial.seconds:.2f}"] for offer, trial in trials]
        output.table(HEADER, rows)
    if trials:
        name = shlex.quote(picture.name)
        cells = [(middle(pixels), picture.name)]
        contact([*cells, *((trial.pixels, offer.command(name)) for offer, trial in trials)], place)
        out.sheet(place)
    out.summary(report)
    raise typer.Exit(report.exit_code)


def _try(offer: Offer, pixels: Any, device: str) -> "tuple[Trial | None, Record]":
    from restorer.record import Record, as_restorer_error
    from restorer.trial import attempt

    try:
        trial = attempt(pixels, offer.task, offer.entry.name, offer.scale or 1, device)
    except Exception as error:
        return None, Record(offer.task, None, "failed", error=as_restorer_error(error, offer.task, device))
    return trial, Record(offer.task, None, "done", seconds=trial.seconds)


def _tell(offer: Offer, picture: Path, record: "Record", out: output.Output) -> None:
    if record.error:
        output.error(str(record.error))
    if out.json:
        line = {"v": 1, "task": offer.task, "scale": offer.scale, "model": offer.entry.name}
        line |= {"command": _command(offer, picture), "seconds": round(record.seconds, 3)}
        output.json_line(line | ({"error": str(record.error)} if record.error else {}))


def _command(offer: Offer, picture: Path) -> str:
    return offer.command(shlex.quote(str(picture)))
