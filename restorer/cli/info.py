"""``restorer info`` and ``restorer redo``: the recipe in a picture, and the picture from its recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restorer.cli import options as o
from restorer.cli import output
from restorer.cli.loading import loading
from restorer.cli.output import Output
from restorer.cli.report import Report
from restorer.errors import InputError, RestorerError

if TYPE_CHECKING:
    from restorer.redo import Redoing

INFO_EXAMPLES = """\
  restorer info photo_derained.jpg
  restorer info clean/*.png --json"""

REDO_EXAMPLES = """\
  restorer redo photo_derained.jpg                  photo_derained_redone.jpg, and whether it is the same
  restorer redo clean/*.png --input photos/ -o again/"""

Pictures = Annotated[
    list[Path], typer.Argument(metavar="PICTURES", help="Pictures that restorer made.", show_default=False)
]
Inputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="PATH",
        help="What it was made from, or a folder that holds it; repeat.  [default: looked for beside it]",
        show_default=False,
    ),
]
Place = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="File or folder.  [default: NAME_redone beside it]",
        show_default=False,
    ),
]


def info(pictures: Pictures, json: o.JsonOnly = False) -> None:
    """What made a picture: its recipe."""
    with loading():
        from restorer import images

    missing = []
    for picture in pictures:
        recipe = images.read_recipe(picture)
        if recipe is None:
            what = "holds no recipe of restorer" if picture.is_file() else "does not exist; check the path"
            missing.append(InputError(f"{picture} {what}."))
            output.error(str(missing[-1]))
        elif json:
            output.json_line({"v": 1, "picture": str(picture), "recipe": recipe})
        else:
            rows = [(key, str(value)) for key, value in recipe.items()]
            output.pairs([("picture", str(picture)), *rows] if len(pictures) > 1 else rows)
    if missing:
        raise typer.Exit(3 if len(missing) == len(pictures) else 1)


def redo(
    pictures: Pictures,
    inputs: Inputs = None,
    place: Place = None,
    model: o.Model = None,
    mask: o.Mask = None,
    overwrite: o.Overwrite = False,
    device: o.Device = "auto",
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    """Make pictures again from their recipes, and say whether the pixels are the same."""
    with loading():
        from restorer.redo import Redoing

    out = Output(json=json, quiet=quiet, verbose=verbose)
    report = Report(len(pictures))
    again = Redoing(model, mask, device)
    if place is not None and len(pictures) > 1:
        place.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        _redo(picture, list(inputs or []), place, again, overwrite, report, out)
    out.summary(report)
    raise typer.Exit(report.exit_code)


def _redo(
    picture: Path,
    inputs: list[Path],
    place: Path | None,
    again: "Redoing",
    overwrite: bool,
    report: Report,
    out: Output,
) -> None:
    from restorer.batch import run
    from restorer.record import Record
    from restorer.redo import difference, files_of, find_input, job_of, recipe_of

    said: dict[str, Any] = {}
    try:
        recipe = recipe_of(picture)
        job = job_of(picture, find_input(picture, recipe, inputs), place)
        files = files_of(picture, recipe, mask=again.mask, overwrite=overwrite)
        with out.downloads():
            work = again.work(picture, recipe)
        with out.pixel_bar({job: None}, work.steps) as progress:
            [record] = run(work, [job], files, progress=progress)
        if record.status in ("done", "skipped"):
            most = difference(picture, Path(record.output))
            same = (
                "the same pixels" if most == 0 else "another size" if most is None else f"up to {most:.3g} levels off"
            )
            said = {"identical": most == 0}
            out.note(f"{record.output}: {same}.")
    except RestorerError as error:
        record = Record(str(picture), None, "failed", error=error)
    report.add(record)
    out.record(record, **said)
