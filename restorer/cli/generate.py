"""``restorer generate``."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from restorer.cli import options as o
from restorer.cli.loading import loading
from restorer.cli.output import Output
from restorer.cli.report import Report
from restorer.entry import GENERATE
from restorer.errors import UsageError

EXAMPLES = """\
  restorer generate -m runs/faces/model --samples 16 --grid    generated/0000.png ... and sheet.png
  restorer generate faces/ -m ddpm-celebahq-256/ --steps 20    from a diffusers folder
  restorer generate one.png -m prior/ --seed 7 --trace gif     and one.gif, how it came to be"""

DRAWING = "Drawing"


def parse_size(text: str) -> tuple[int, int]:
    """``64x48`` or ``64`` as (width, height)."""
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", str(text).strip())
    if not match:
        raise typer.BadParameter(f"{text!r} is no size; write WIDTHxHEIGHT, as 64x48.")
    return int(match[1]), int(match[2] or match[1])


Place = Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder, or the name of a single picture.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Name, model folder, .safetensors file, diffusers folder, or OWNER/REPO[@REVISION] on the Hugging Face "
        "Hub.  [default: the task's best]",
        show_default=False,
        rich_help_panel=DRAWING,
    ),
]
Samples = Annotated[int, typer.Option("--samples", min=1, help="How many pictures.", rich_help_panel=DRAWING)]
Steps = o.under(DRAWING, o.Steps)
Eta = o.under(DRAWING, o.Eta)
Sampler = o.under(DRAWING, o.Sampler)
Seed = o.under(DRAWING, o.Seed)
Alpha = o.under(DRAWING, o.AlphaSchedule)
Beta = o.under(DRAWING, o.BetaSchedule)
Way = Annotated[
    Path | None,
    typer.Option(
        "--path",
        metavar="FILE",
        help="CSV of shift,sigma a line, from the start to 0,0: go by these points. For models that can.",
        show_default=False,
        rich_help_panel=DRAWING,
    ),
]
Class = Annotated[
    int | None,
    typer.Option(
        "--class",
        metavar="N",
        help="Number of the class to draw, from 0, for models that know classes.  [default: from the model]",
        show_default=False,
        rich_help_panel=DRAWING,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="WxH",
        help="In pixels.  [default: what the model was trained on]",
        show_default=False,
        rich_help_panel=DRAWING,
    ),
]
Times = Annotated[
    Literal["rddm", "leading", "trailing", "quadratic", "cubic"] | None,
    typer.Option(
        "--times",
        help="Where the steps lie: as in official RDDM, or in diffusers.  [default: from the model]",
        show_default=False,
        rich_help_panel=DRAWING,
    ),
]
BatchSize = Annotated[
    int,
    typer.Option("--batch-size", "-b", min=1, help="At once; in fp32 it changes no bit.", rich_help_panel=o.COMPUTE),
]
Sheet = Annotated[bool, typer.Option("--grid", help="Also one sheet of all, sheet.png.", rich_help_panel=o.FILES)]
Trace = Annotated[
    Literal["gif", "frames"] | None,
    typer.Option("--trace", help="Also how each came to be: 0000.gif, or 0000/000.png ...", rich_help_panel=o.FILES),
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", "-y", help="Replace pictures made with other settings.", rich_help_panel=o.FILES),
]


def read_way(file: Path) -> tuple[tuple[float, float], ...]:
    """The points in a CSV file. Raises ``UsageError``."""
    from restorer.readjust import read_path

    try:
        return read_path(file.read_text(encoding="utf-8-sig"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot read this path: {getattr(error, 'strerror', None) or error}.") from error


def generate(
    output: Place = "generated",
    overwrite: Overwrite = False,
    grid: Sheet = False,
    trace: Trace = None,
    model: Model = None,
    samples: Samples = 1,
    label: Class = None,
    size: Size = None,
    steps: Steps = None,
    eta: Eta = None,
    sampler: Sampler = None,
    times: Times = None,
    alpha_schedule: Alpha = None,
    beta_schedule: Beta = None,
    way: Way = None,
    seed: Seed = 0,
    batch_size: BatchSize = 8,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    compile: o.Compile = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    """Draw new pictures from a generative model, from no input."""
    pixels = parse_size(size) if size else None
    out = Output(json=json, quiet=quiet, verbose=verbose)

    with loading():
        from restorer.generate import order, run, sheet_file
        from restorer.restore import Restorer
        from restorer.settings import Settings, states

    with out.downloads():
        restorer = Restorer.from_pretrained(model, task=GENERATE, device=device, dtype=dtype, compile=compile)
    files = {"overwrite": overwrite, "sheet": grid, "trace": trace}
    settings = Settings(
        steps,
        eta,
        seed,
        times,
        sampler=sampler,
        alpha_schedule=alpha_schedule,
        beta_schedule=beta_schedule,
        path=way and read_way(way),
        label=label,
    )
    asked = order(restorer, Path(output), samples, settings, size=pixels, batch_size=batch_size, **files)
    report = Report(samples)
    try:
        with out.bar(asked.batches, states(asked.settings)) as progress:
            for record in run(restorer, asked, progress):
                report.add(record)
                out.record(record)
    except KeyboardInterrupt:
        out.summary(report)
        raise
    if grid:
        out.note(f"The sheet: {sheet_file(asked)}")
    out.summary(report)
    raise typer.Exit(report.exit_code)
