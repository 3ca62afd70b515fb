"""``restorer degrade``."""

from typing import Annotated

import typer

from restorer.cli import options as o
from restorer.cli.output import Output
from restorer.cli.work import carry_out

EXAMPLES = """\
  restorer degrade clean/ -o rainy/               a folder of rainy copies
  restorer degrade photo.jpg -R rain+drops        rain, seen through drops on the lens
  restorer degrade clean/ --strength 1 --seed 7   heavy, with other streaks"""

DAMAGE = "Damage"

Recipe = Annotated[
    str,
    typer.Option("--recipe", "-R", help="rain, drops or noise; may chain with +: rain+drops.", rich_help_panel=DAMAGE),
]
Strength = Annotated[
    float,
    typer.Option("--strength", min=0, max=1, help="0 changes nothing, 1 is the heaviest.", rich_help_panel=DAMAGE),
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
    recipe: Recipe = "rain",
    seed: Seed = 0,
    strength: Strength = 0.5,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Make degraded copies of clean pictures, paired for training or testing."""
    words = o.all_inputs(inputs, None)
    out = Output(json=json, quiet=quiet)

    from restorer.batch import Files, degrading, plan

    work = degrading(recipe, strength, seed)
    # Of a lossy format the best there is (WebP is lossless then): the damage shall be the only damage.
    files = Files(participle="degraded", quality=100)
    carry_out(plan(words, output, files), lambda: work, files, out)
