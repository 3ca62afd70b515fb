"""``restorer convert-ddim``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from restorer.cli import output as told
from restorer.cli.loading import loading
from restorer.errors import RestorerError, UsageError

EXAMPLES = """\
  restorer convert-ddim google/ddpm-celebahq-256 faces/      a diffusers model to an RDDM model
  restorer convert-ddim faces/ back/ --to ddim               and back, for diffusers to load
  restorer convert-ddim 256x256_diffusion_uncond.pt any/ --preset adm-imagenet256-uncond"""

PRESETS = (
    "cifar10, celeba64, celebahq256, lsun-bedroom, lsun-cat, lsun-church, adm-imagenet64, adm-imagenet128, "
    "adm-imagenet256, adm-imagenet256-uncond, adm-imagenet512, adm-imagenet512-uncond, adm-lsun, adm-ffhq256, "
    "adm-celebahq256, adm-places256"
)

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="DDPM or DDIM folder of diffusers, OWNER/REPO[@REVISION] on the Hugging Face Hub, a checkpoint of DDIM's "
        "code or guided-diffusion, or a model folder.",
        show_default=False,
    ),
]
Place = Annotated[str, typer.Argument(metavar="OUT", help="Folder of the converted model.", show_default=False)]
To = Annotated[Literal["rddm", "ddim"], typer.Option("--to", help="An RDDM model folder, or a diffusers folder.")]
Preset = Annotated[
    str | None,
    typer.Option("--preset", metavar="NAME", help=f"Whose checkpoint it is: {PRESETS}.", show_default=False),
]
Classifier = Annotated[
    Path | None,
    typer.Option(
        "--classifier",
        metavar="FILE",
        help="Noisy classifier of guided-diffusion, to guide the net towards a class.",
        show_default=False,
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(
        "--classifier-scale", min=0, help="How strongly it guides.  [default: the preset's, or 1]", show_default=False
    ),
]
Check = Annotated[
    bool, typer.Option("--check/--no-check", help="Draw in a few steps before and after, from the same noise.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", "-y", help="Replace what is in OUT.")]


def convert_ddim(
    model: Model,
    out: Place,
    to: To = "rddm",
    preset: Preset = None,
    classifier: Classifier = None,
    classifier_scale: Scale = None,
    check: Check = True,
    overwrite: Overwrite = False,
) -> None:
    """Turn a pretrained DDIM model into RDDM form, or back."""
    folder = Path(out)
    if folder.resolve() == Path(model).resolve():
        raise UsageError(f"{out} is the model itself; name another folder.")
    if not overwrite and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{out} is there already; use --overwrite, or name another folder.")
    if to == "ddim" and classifier is not None:
        raise UsageError("--to ddim writes a diffusers folder, which holds no classifier; leave out --classifier.")

    with loading():
        from restorer.convert.ddim import STEPS, TO, TOLERANCE, difference, opened
        from restorer.convert.wishes import Wishes

    with told.Output().downloads():
        before = opened(model, Wishes(preset=preset, classifier=classifier, classifier_scale=classifier_scale))
    entry = TO[to](before, folder)
    for sentence in before.notes:
        told.Output().note(f"Note: {sentence}")
    told.result(f"{folder}: {entry.method} model, sampler {entry.sample.sampler}, times {entry.sample.times}")
    if not check:
        return
    found = difference(before, opened(str(folder)))
    told.result(f"largest difference in {STEPS} steps: {found:.1e}")
    if not found <= TOLERANCE:
        raise RestorerError(f"{folder} does not draw what {model} draws: more than {TOLERANCE:g} apart. Do not use it.")
