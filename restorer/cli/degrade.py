"""``restorer degrade``."""

from typing import Annotated

import typer

from restorer.cli import options as o
from restorer.cli.loading import loading
from restorer.cli.output import Output
from restorer.cli.work import carry_out

EXAMPLES = """\
  restorer degrade clean/ -o bad/                       blurred, noisy, small, JPEG: what comes along
  restorer degrade photo.jpg -R haze+noise:0.1          hazy, with noise of its own strength
  restorer degrade clean/ -R rain --strength 1 -o wet/  heavy rain"""

DAMAGE = "Damage"

Recipe = Annotated[
    str,
    typer.Option(
        "--recipe",
        "-R",
        help="rain, drops, haze, blur (motion or defocus), noise, jpeg, lowres (lowres2, lowres4), lowlight, shadow, "
        "holes (mask or scratches), mix, or a TOML file; may chain with +, a word with a strength of its own: "
        "blur:0.3+noise:0.05.",
        rich_help_panel=DAMAGE,
    ),
]
Strength = Annotated[
    float | None,
    typer.Option(
        "--strength",
        min=0,
        max=1,
        help="0 changes nothing, 1 is the heaviest.  [default: 0.5, or the file's]",
        show_default=False,
        rich_help_panel=DAMAGE,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        min=-1,
        max=o.LARGEST_SEED,
        help="Same seed and picture, same damage; -1 draws one.",
        rich_help_panel=DAMAGE,
    ),
]


def degrade(
    inputs: o.Inputs = None,
    output: o.Output = None,
    recipe: Recipe = "mix",
    seed: Seed = 0,
    strength: Strength = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Make degraded copies of clean pictures, paired for training or testing."""
    words = o.all_inputs(inputs, None)
    out = Output(json=json, quiet=quiet)

    with loading():
        from restorer.batch import Files, degrading, plan

    work = degrading(recipe, strength, seed)
    # Of a lossy format the best there is (WebP is lossless then): the damage shall be the only damage.
    files = Files(participle="degraded", quality=100)
    carry_out(plan(words, output, files), lambda: work, files, out)
