"""``restorer compare``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from restorer.cli import options as o
from restorer.cli.loading import loading
from restorer.cli.output import Output
from restorer.cli.report import Report
from restorer.errors import InputError, RestorerError, UsageError

EXAMPLES = """\
  restorer compare photos/ photos_derained/                     one page with sliders
  restorer compare photos/ clean/ --gt truth/ -o report.html    with PSNR and SSIM, the worst first
  restorer compare photo.jpg photo_derained.jpg --style side"""

Before = Annotated[Path, typer.Argument(metavar="BEFORE", help="File or folder.", show_default=False)]
After = Annotated[Path, typer.Argument(metavar="AFTER", help="File, or folder of same names.", show_default=False)]
Place = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="PATH", help="File.  [default: compare.html beside or in AFTER]", show_default=False
    ),
]
Style = Annotated[Literal["side", "grid", "html"], typer.Option("--style", help="Pictures, or a page with sliders.")]
Labels = Annotated[bool, typer.Option("--labels/--no-labels", help="Words on pictures that say what they are.")]


def compare(
    before: Before,
    after: After,
    place: Place = None,
    style: Style = "html",
    labels: Labels = True,
    gt: o.Truth = None,
    recursive: o.Recursive = False,
    max_pixels: o.MaxPixels = 250_000_000,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Before/after pictures, or one self-contained HTML page with sliders."""
    with loading():
        from restorer.pairs import pairs
        from restorer.record import Record
        from restorer.report import Comparison
        from restorer.report.comparison import compared, place_for

    out = Output(json=json, quiet=quiet)
    found = pairs(before, after, gt, recursive=recursive)
    if place is not None and place.is_dir():
        place = place / ("compare.html" if style == "html" else "compare.jpg")
    if place is not None and (style == "html") != (place.suffix.lower() in (".html", ".htm")):
        raise UsageError(f"{place}: a page ends in .html, and --style side or grid in .jpg; name it so.")
    if style == "side" and len(found.pairs) > 1 and place is not None:
        raise UsageError("--style side writes a picture for each pair; leave out --output, or use grid or html.")
    if place is None and found.pairs and style != "side":
        place = place_for([pair.after for pair in found.pairs], style)
    collected = Comparison(style, place, labels)
    report = Report(len(found.pairs) + len(found.problems))
    records = [Record(name, None, "failed", error=InputError(sentence)) for name, sentence in found.problems]
    for pair in found.pairs:
        try:
            records.append(compared(pair, collected, max_pixels))
        except RestorerError as error:
            records.append(Record(str(pair.after), None, "failed", error=error))
    for record in records:
        report.add(record)
        out.record(record)
    written = collected.write()
    if written is not None:
        out.file(written)
    out.summary(report)
    raise typer.Exit(report.exit_code)
