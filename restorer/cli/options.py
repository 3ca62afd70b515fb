"""Options that commands share, each said once. Defaults stand in the signatures of the commands."""

from __future__ import annotations

import re
from copy import copy
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

FILES = "Input and output"
RESTORATION = "Restoration"
ZERO_SHOT = "Zero-shot restoration"
FILE = "File"
COMPUTE = "Compute"
EXTRA = "Extra output"
REPORTING = "Reporting"

LARGEST_SEED = 2**32 - 1

VERBOSE = "restorer.verbose"
"""Where the verbosity stands in a context's ``meta``."""


def _remember_verbosity(context: typer.Context, value: int) -> int:
    # Errors are shown outside of the command, which knew whether tracebacks are wanted.
    context.meta[VERBOSE] = value
    return value


def parse_pixels(text: str | int) -> int:
    """``250M`` or ``1.5G`` or ``4000000`` as a number."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", str(text).strip(), re.IGNORECASE)
    number = int(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[match[2].lower()]) if match else 0
    if number < 1:
        raise typer.BadParameter(f"{text!r} is no number of pixels; write 250M or 250000000.")
    return number


def all_inputs(named: list[str] | None, flagged: list[str] | None) -> list[str]:
    """INPUTS and those behind ``-i``. Raises ``typer.BadParameter`` when there are none."""
    inputs = [*(named or []), *(flagged or [])]
    if not inputs:
        raise typer.BadParameter("name pictures, folders, or - for standard input.", param_hint="INPUTS")
    return inputs


def settle_exists(exists: str, overwrite: bool) -> str:
    """``--exists`` and its short form as one. Raises ``typer.BadParameter`` when they disagree."""
    if overwrite and exists in ("rename", "error"):
        raise typer.BadParameter(f"--overwrite and --exists {exists} disagree; give one of them.")
    return "overwrite" if overwrite else exists


def under(panel: str, option: Any) -> Any:
    """The same option in another group of the help."""
    kind, info = get_args(option)
    moved = copy(info)
    moved.rich_help_panel = panel
    return Annotated[kind, moved]


Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUTS",
        help="Pictures, folders, globs, @list.txt, or - for standard input. [required]",
        show_default=False,
    ),
]
FlaggedInputs = Annotated[list[str] | None, typer.Option("--input", "-i", hidden=True)]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="PATH",
        help="File, folder, or - for standard output.  [default: beside the input, under another name]",
        show_default=False,
        rich_help_panel=FILES,
    ),
]
Recursive = Annotated[
    bool,
    typer.Option("--recursive", "-r", help="Enter subfolders; the output keeps their tree.", rich_help_panel=FILES),
]
Exists = Annotated[
    Literal["skip", "overwrite", "rename", "error"],
    typer.Option(
        "--exists",
        help="When the output is there already; skip makes a stopped run resume.",
        rich_help_panel=FILES,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", "-y", help="Same as --exists overwrite.", rich_help_panel=FILES)
]
Suffix = Annotated[
    str | None,
    typer.Option(
        "--suffix",
        help="Added to output names.  [default: what was done beside the input, none in another folder]",
        show_default=False,
        rich_help_panel=FILES,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        "-n",
        help="Show what would be read, written, fetched, and how long it takes; touch nothing.",
        rich_help_panel=FILES,
    ),
]

Task = Annotated[
    str | None,
    typer.Option(
        "--task", "-T", help="What to remove.  [default: the model's]", show_default=False, rich_help_panel=RESTORATION
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Name (see `restorer models list`), model folder, .safetensors file, or OWNER/REPO[@REVISION] on the "
        "Hugging Face Hub.  [default: the task's best]",
        show_default=False,
        rich_help_panel=RESTORATION,
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        metavar="PATH",
        help="Mask file, or folder of masks with the pictures' names; white is what to repaint, or what is damaged. "
        "For models that take one.",
        show_default=False,
        rich_help_panel=RESTORATION,
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(
        "--scale",
        min=1,
        help="Enlargement. A trained model refuses any but its own.  [default: the model's, or 4]",
        show_default=False,
        rich_help_panel=RESTORATION,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        min=1,
        help="Sampling steps.  [default: from the model]",
        show_default=False,
        rich_help_panel=RESTORATION,
    ),
]
Eta = Annotated[
    float | None,
    typer.Option(
        "--eta",
        min=0,
        max=1,
        help="Fresh noise per step: 0 none (DDIM), 1 as much as DDPM.  [default: from the model]",
        show_default=False,
        rich_help_panel=RESTORATION,
    ),
]
Sampler = Annotated[
    str | None,
    typer.Option(
        "--sampler",
        metavar="NAME",
        help="How the steps are made; see `restorer tasks --samplers`.  [default: from the model]",
        show_default=False,
        rich_help_panel=RESTORATION,
    ),
]
Sigma = Annotated[
    float | None,
    typer.Option(
        "--sigma",
        min=0,
        max=255,
        help="Noise of the picture in 8-bit levels.  [default: guessed by models that begin at it, 0 with --operator]",
        show_default=False,
        rich_help_panel=RESTORATION,
    ),
]
Operator = Annotated[
    str | None,
    typer.Option(
        "--operator",
        metavar="SPEC",
        help="Known damage, for a model that draws new pictures: sr:4, blur:gauss:2, blur:FILE, gray, mask, denoise, "
        "cs:0.25; chain with +, the first first.",
        show_default=False,
        rich_help_panel=ZERO_SHOT,
    ),
]
Method = Annotated[
    Literal["ddnm", "ddrm"] | None,
    typer.Option(
        "--method", help="How the damage is used.  [default: ddnm]", show_default=False, rich_help_panel=ZERO_SHOT
    ),
]
TravelLength = Annotated[
    int | None,
    typer.Option(
        "--travel-length",
        min=1,
        help="Time travel: every so many steps, go back by as many.  [default: 1]",
        show_default=False,
        rich_help_panel=ZERO_SHOT,
    ),
]
TravelRepeat = Annotated[
    int | None,
    typer.Option(
        "--travel-repeat",
        min=1,
        help="Walk each stretch so often; 1 is no time travel.  [default: 1]",
        show_default=False,
        rich_help_panel=ZERO_SHOT,
    ),
]
Class = Annotated[
    int | None,
    typer.Option(
        "--class",
        min=0,
        help="What the picture shows, by number, for models that know classes.  [default: the model's]",
        show_default=False,
        rich_help_panel=ZERO_SHOT,
    ),
]
Simulate = Annotated[
    bool,
    typer.Option(
        "--simulate",
        help="The pictures are clean: damage them first, and tell PSNR, SSIM and consistency of what is made of that.",
        rich_help_panel=ZERO_SHOT,
    ),
]
WindowKind = Annotated[
    Literal["blend", "mask-shift"] | None,
    typer.Option(
        "--windows",
        help="Pictures larger than the model's own: windows blended at every step, or one after the other, each "
        "held to what is done.  [default: blend]",
        show_default=False,
        rich_help_panel=ZERO_SHOT,
    ),
]
Tile = Annotated[
    str | None,
    typer.Option(
        "--tile",
        "-t",
        metavar="SIDE",
        help="Compute in windows, blended at every step: auto (what fits into memory; for priors, what they were "
        "trained on), off, or a side in pixels.  [default: auto]",
        show_default=False,
        rich_help_panel=COMPUTE,
    ),
]
TileOverlap = Annotated[
    int | None,
    typer.Option(
        "--tile-overlap",
        min=0,
        help="Pixels that neighbouring windows share.  [default: 128, less for small windows and priors]",
        show_default=False,
        rich_help_panel=COMPUTE,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        min=1,
        help="Windows, or pictures of equal size, that go through the net together.  [default: 1, of windows what "
        "`restorer bench --tune` found]",
        show_default=False,
        rich_help_panel=COMPUTE,
    ),
]
Samples = Annotated[
    int,
    typer.Option(
        "--samples",
        min=1,
        help="Different restorations of each picture (seed, seed + 1, ...); with several also their mean, and a map of "
        "where they disagree.",
        rich_help_panel=RESTORATION,
    ),
]
AlphaSchedule = Annotated[
    str | None,
    typer.Option(
        "--alpha-schedule",
        metavar="MODE[:POWER]",
        help="Other steps of the residual than the model's: increased, decreased, average, normal, or model; as "
        "decreased:0.3.  [default: model]",
        show_default=False,
        rich_help_panel=RESTORATION,
    ),
]
BetaSchedule = Annotated[
    str | None,
    typer.Option(
        "--beta-schedule",
        metavar="MODE[:POWER[:SUM]]",
        help="The same for the noise's variance, and what it sums to; for models that are told how much there is.  "
        "[default: model]",
        show_default=False,
        rich_help_panel=RESTORATION,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        min=-1,
        max=LARGEST_SEED,
        help="Same seed, same picture, alone or among others; -1 draws one.",
        rich_help_panel=RESTORATION,
    ),
]

Format = Annotated[
    Literal["auto", "png", "jpg", "webp", "tiff", "avif"],
    typer.Option("--format", "-f", help="Picture format; auto keeps the input's.", rich_help_panel=FILE),
]
Quality = Annotated[
    int, typer.Option("--quality", "-Q", min=1, max=100, help="For jpg, webp and avif.", rich_help_panel=FILE)
]
Bits = Annotated[
    Literal["auto", "8", "16"],
    typer.Option("--bits", help="Depth per channel; auto keeps the input's.", rich_help_panel=FILE),
]
Metadata = Annotated[
    Literal["keep", "strip"],
    typer.Option(
        "--metadata",
        help="EXIF, XMP and DPI; the colour profile stays. Orientation is applied to the pixels.",
        rich_help_panel=FILE,
    ),
]
Recorded = Annotated[
    Literal["embed", "sidecar", "none"],
    typer.Option("--record", help="Where the recipe (model, seed, steps...) is written.", rich_help_panel=FILE),
]
MaxPixels = Annotated[
    int,
    typer.Option(
        "--max-pixels",
        parser=parse_pixels,
        metavar="NUMBER",
        help="Refuse larger inputs (decompression bombs).  [default: 250M]",
        show_default=False,
        rich_help_panel=FILE,
    ),
]

Device = Annotated[
    str, typer.Option("--device", "-d", help="auto, cpu, cuda, cuda:N, mps or xpu.", rich_help_panel=COMPUTE)
]
Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(
        "--engine",
        help="ray spreads the pictures over the Ray cluster that RAY_ADDRESS names, or one begun here; it needs "
        "restorer[ray].",
        rich_help_panel=COMPUTE,
    ),
]
Dtype = Annotated[
    Literal["auto", "fp32", "fp16", "bf16"],
    typer.Option("--dtype", help="Arithmetic; auto is the fastest that the device does well.", rich_help_panel=COMPUTE),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Let torch compile the model, which takes up to minutes for each size of picture and is kept for the next "
        "run; for many pictures of one size. Needs a C++ compiler.",
        rich_help_panel=COMPUTE,
    ),
]

Truth = Annotated[
    Path | None,
    typer.Option(
        "--gt",
        metavar="PATH",
        help="Clean picture, or folder of them with the inputs' names: tell PSNR and SSIM of each output, before the "
        "losses of JPEG, WebP or AVIF.",
        show_default=False,
        rich_help_panel=EXTRA,
    ),
]
Trace = Annotated[
    Literal["gif", "frames", "plot"] | None,
    typer.Option(
        "--trace",
        help="Also how each came to be: NAME.gif, NAME_trace/000.png ..., or NAME_trace.png, a chart of its PSNR "
        "over the steps, which needs --gt.",
        show_default=False,
        rich_help_panel=EXTRA,
    ),
]

Compare = Annotated[
    Literal["side", "grid", "html"] | None,
    typer.Option(
        "--compare",
        help="Also before and after: a picture beside each output, one sheet, or one HTML page with sliders.",
        show_default=False,
        rich_help_panel=EXTRA,
    ),
]

FailFast = Annotated[
    bool,
    typer.Option(
        "--fail-fast", help="Stop at the first picture that fails instead of going on.", rich_help_panel=REPORTING
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="JSON lines on standard output, a summary last.", rich_help_panel=REPORTING),
]
JsonOnly = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Only paths on standard output, only errors on standard error.",
        rich_help_panel=REPORTING,
    ),
]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        callback=_remember_verbosity,
        show_default=False,
        help="More log; twice for tracebacks.",
        rich_help_panel=REPORTING,
    ),
]
