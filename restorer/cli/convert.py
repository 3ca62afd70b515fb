"""``restorer models convert``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from restorer.cli import options as o
from restorer.cli import output as printing
from restorer.cli.loading import loading
from restorer.cli.output import Output

EXAMPLES = """\
  restorer models convert model-120.pt --from rddm -o my-derain --preset raindrop
  restorer models convert ir-sde-derainH100.pth --from irsde -o my-derain --preset derain-h100
  restorer models convert celeba_hq.ckpt --from ddim -o faces --preset celebahq256"""

USE = "How the net is used"
PRESETS = {
    "rddm": "raindrop, gopro, istd, lol, sid-rgb, celeba64, celeba64-path, inpaint, translate",
    "irsde": "derain-h100, derain-l100, deblur, sr-x4, inpaint, denoise, refusion-denoise, refusion-deshadow, "
    "latent-dehaze, goub-derain, goub-sr-x4, goub-inpaint",
}
NAMED = "; ".join(f"{source}: {names}" for source, names in PRESETS.items())

Checkpoint = Annotated[
    Path, typer.Argument(metavar="CHECKPOINT", help="File of an official trainer: model-100.pt, 700000_G.pth.")
]
Source = Annotated[
    str,
    typer.Option(
        "--from", metavar="SOURCE", help="Whose checkpoint it is: rddm, irsde (IR-SDE, Refusion, GOUB), or ddim."
    ),
]
Folder = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Model folder to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", "-y", help="Replace the model in a folder that has content.")]
Name = Annotated[
    str | None, typer.Option("--name", help="Name of the model.  [default: the folder's]", show_default=False)
]
License = Annotated[
    str | None, typer.Option("--license", help="Licence of the weights.  [default: unknown]", show_default=False)
]
Dtype = Annotated[
    Literal["keep", "fp32", "fp16", "bf16"],
    typer.Option("--dtype", help="Precision of the weights; keep is the file's."),
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help=f"An official experiment. {NAMED}; ddim: see convert-ddim.",
        show_default=False,
        rich_help_panel=USE,
        metavar="NAME",
    ),
]
Task = Annotated[
    str | None, typer.Option("--task", "-T", help="What it is for.", show_default=False, rich_help_panel=USE)
]
Objective = Annotated[
    str | None,
    typer.Option(
        "--objective",
        help="What the net says: pred_res, pred_noise, pred_res_noise, ..., auto_res_noise.",
        show_default=False,
        rich_help_panel=USE,
    ),
]
Time = Annotated[
    str | None,
    typer.Option(
        "--time", help="What it is told: index, shift_sigma, shift or sigma.", show_default=False, rich_help_panel=USE
    ),
]
Input = Annotated[
    str | None,
    typer.Option("--input", help="What it is shown: x, or x,y, or x,y,mask.", show_default=False, rich_help_panel=USE),
]
Sampler = Annotated[
    str | None, typer.Option("--sampler", help="How pictures are drawn.", show_default=False, rich_help_panel=USE)
]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, help="Sampling steps.", show_default=False, rich_help_panel=USE)
]
SumScale = Annotated[
    float | None,
    typer.Option(
        "--sum-scale", min=0, help="Variance of the noise at the start.", show_default=False, rich_help_panel=USE
    ),
]
MaxSigma = Annotated[
    float | None,
    typer.Option(
        "--max-sigma",
        min=0,
        help="irsde: noise at the end, in 8-bit levels from 1 up.",
        show_default=False,
        rich_help_panel=USE,
    ),
]
Eps = Annotated[
    float | None,
    typer.Option(
        "--eps",
        min=0,
        max=1,
        help="irsde: what is left of the clean picture at the end.",
        show_default=False,
        rich_help_panel=USE,
    ),
]
Length = Annotated[
    int | None,
    typer.Option(
        "--length", min=1, help="irsde: T, times of the schedule.", show_default=False, rich_help_panel=USE, metavar="T"
    ),
]
Theta = Annotated[
    Literal["cosine", "linear", "constant"] | None,
    typer.Option("--theta", help="irsde: form of the schedule.", show_default=False, rich_help_panel=USE),
]
Codec = Annotated[
    Path | None,
    typer.Option(
        "--codec",
        metavar="FILE",
        help="irsde: the compression U-Net of a net for latents.",
        show_default=False,
        rich_help_panel=USE,
    ),
]
Classifier = Annotated[
    Path | None,
    typer.Option(
        "--classifier",
        metavar="FILE",
        help="ddim: the noisy classifier that guides the net.",
        show_default=False,
        rich_help_panel=USE,
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(
        "--classifier-scale",
        min=0,
        help="ddim: how strongly it guides.  [default: the preset's, or 1]",
        show_default=False,
        rich_help_panel=USE,
    ),
]


def convert(
    checkpoint: Checkpoint,
    source: Source,
    output: Folder,
    overwrite: Overwrite = False,
    preset: Preset = None,
    task: Task = None,
    objective: Objective = None,
    time: Time = None,
    input: Input = None,
    sampler: Sampler = None,
    steps: Steps = None,
    sum_scale: SumScale = None,
    max_sigma: MaxSigma = None,
    eps: Eps = None,
    length: Length = None,
    theta: Theta = None,
    codec: Codec = None,
    classifier: Classifier = None,
    classifier_scale: Scale = None,
    name: Name = None,
    license: License = None,
    dtype: Dtype = "keep",
    json: o.JsonOnly = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    """Turn an official checkpoint into a model folder. What the file does not say, a preset or options must."""
    with loading():
        from restorer.convert.official import Wishes
        from restorer.convert.official import convert as run
        from restorer.device import DTYPES
        from restorer.entry import card

    shown = None if input is None else tuple(word.strip() for word in input.split(","))
    wishes = Wishes(
        preset=preset,
        task=task,
        objective=objective,
        time=time,
        input=shown,
        sampler=sampler,
        steps=steps,
        sum_scale=sum_scale,
        name=name,
        license=license,
        max_sigma=max_sigma,
        eps=eps,
        length=length,
        theta=theta,
        codec=codec,
        classifier=classifier,
        classifier_scale=classifier_scale,
    )
    out = Output(json=json, quiet=quiet, verbose=verbose)
    made = run(source, checkpoint, output, wishes, overwrite=overwrite, dtype=DTYPES.get(dtype))
    for sentence in made.notes:
        out.note(f"Note: {sentence}")
    if json:
        printing.json_line({"v": 1, "output": str(output), "notes": list(made.notes), "card": card(made.entry)})
    elif out.paths:
        printing.result(str(output))
    else:
        out.note(f"The model {made.entry.name!r} ({made.entry.task}): {output}")
