"""``restorer convert-ddim``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from restorer.cli import output as told
from restorer.errors import RestorerError, UsageError

EXAMPLES = """\
  restorer convert-ddim ddpm-celebahq-256/ faces/            a diffusers folder to an RDDM model
  restorer convert-ddim faces/ back/ --to ddim               and back, for diffusers to load"""

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="DDPM or DDIM folder of diffusers, or a model folder.", show_default=False),
]
Place = Annotated[str, typer.Argument(metavar="OUT", help="Folder of the converted model.", show_default=False)]
To = Annotated[Literal["rddm", "ddim"], typer.Option("--to", help="An RDDM model folder, or a diffusers folder.")]
Check = Annotated[
    bool, typer.Option("--check/--no-check", help="Draw in a few steps before and after, from the same noise.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", "-y", help="Replace what is in OUT.")]


def convert_ddim(model: Model, out: Place, to: To = "rddm", check: Check = True, overwrite: Overwrite = False) -> None:
    """Turn a pretrained DDIM model into RDDM form, or back."""
    folder = Path(out)
    if folder.resolve() == Path(model).resolve():
        raise UsageError(f"{out} is the model itself; name another folder.")
    if not overwrite and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{out} is there already; use --overwrite, or name another folder.")

    from restorer.convert.ddim import STEPS, TO, TOLERANCE, difference

    entry = TO[to](model, folder)
    told.result(f"{folder}: {entry.method} model, sampler {entry.sample.sampler}, times {entry.sample.times}")
    if not check:
        return
    found = difference(model, str(folder))
    told.result(f"largest difference in {STEPS} steps: {found:.1e}")
    if not found <= TOLERANCE:
        raise RestorerError(f"{folder} does not draw what {model} draws: more than {TOLERANCE:g} apart. Do not use it.")
