"""What ``restorer train`` is told: its options, and the recipe keys that they stand for."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from restorer.cli import options as o
from restorer.errors import UsageError

DATA = "Data"
COURSE = "Course"

Root = Annotated[
    Path,
    typer.Argument(help="Folder of the recipe's data; or of clean pictures; or with LQ/ and GT/.", metavar="DATA"),
]
Lq = Annotated[Path | None, typer.Option("--lq", help="Degraded pictures, when not DATA/LQ.", rich_help_panel=DATA)]
Gt = Annotated[Path | None, typer.Option("--gt", help="Clean pictures, when not DATA/GT.", rich_help_panel=DATA)]
Mask = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        help="Masks of pairs, white where damaged, when not DATA/MASK; for models that take one.",
        rich_help_panel=DATA,
    ),
]
Degrade = Annotated[
    str | None,
    typer.Option(
        "--degrade", help="Damage the clean pictures on the fly: a recipe as `degrade` takes.", rich_help_panel=DATA
    ),
]
Patch = Annotated[int | None, typer.Option("--patch-size", min=8, help="Side of a crop.", rich_help_panel=DATA)]
Workers = Annotated[int | None, typer.Option("--workers", min=0, help="Data processes.", rich_help_panel=DATA)]
Recipe = Annotated[
    Path | None,
    typer.Option(
        *("--config", "-c"),
        metavar="FILE|NAME",
        help="TOML recipe, or the name of a paper's; flags win over it.",
        show_default=False,
    ),
]
Method = Annotated[
    Literal["rddm", "irsde"] | None,
    typer.Option(
        "--method", help="Whose recipe, without --config.  [default: rddm, or the recipe's]", show_default=False
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override any recipe key; repeat.", show_default=False),
]
Init = Annotated[
    str | None,
    typer.Option(
        "--init", metavar="MODEL", help="Fine-tune from this model instead of starting fresh.", show_default=False
    ),
]
Codec = Annotated[
    str | None,
    typer.Option(
        "--codec", metavar="MODEL", help="Restore the latents of this model's codec, which stays.", show_default=False
    ),
]
Run = Annotated[
    Path | None, typer.Option("--output", "-o", help="Run folder.  [default: runs/<name>]", show_default=False)
]
Resume = Annotated[
    str,
    typer.Option(
        "--resume",
        metavar="auto|no|PATH",
        help="auto goes on where OUTPUT stopped; no starts again; or a checkpoint's path.",
        rich_help_panel=COURSE,
    ),
]
MaxSteps = Annotated[int | None, typer.Option("--max-steps", min=1, rich_help_panel=COURSE)]
MaxHours = Annotated[
    float | None,
    typer.Option("--max-hours", min=0, help="Stop then, with a checkpoint to go on from.", rich_help_panel=COURSE),
]
Batch = Annotated[int | None, typer.Option("--batch-size", "-b", min=1, help="Per device.", rich_help_panel=COURSE)]
Accum = Annotated[
    int | None, typer.Option("--grad-accum", min=1, help="Batches that make a step.", rich_help_panel=COURSE)
]
Lr = Annotated[float | None, typer.Option("--lr", min=0, help="Highest learning rate.", rich_help_panel=COURSE)]
Ema = Annotated[float | None, typer.Option("--ema-decay", min=0, max=1, help="0 turns it off.", rich_help_panel=COURSE)]
Precision = Annotated[Literal["no", "fp16", "bf16"] | None, typer.Option("--mixed-precision", rich_help_panel=COURSE)]
ValEvery = Annotated[
    int | None,
    typer.Option("--val-every", min=1, help="Score and write a sheet every N steps.", rich_help_panel=COURSE),
]
SaveEvery = Annotated[int | None, typer.Option("--save-every", min=1, rich_help_panel=COURSE)]
Keep = Annotated[
    int | None,
    typer.Option("--keep", min=0, help="Checkpoints kept besides best and last.", rich_help_panel=COURSE),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", "-n", help="Check pictures, memory and time on two steps, then leave."),
]
Log = Annotated[
    list[str] | None,
    typer.Option(
        *("--log",),
        help="csv, tensorboard, wandb, trackio; repeat. csv is written in any case.",
        show_default=False,
        rich_help_panel=COURSE,
    ),
]
PushToHub = Annotated[
    str | None,
    typer.Option(
        *("--push-to-hub",),
        metavar="OWNER/REPO",
        help="Publish the EMA weights and card at the end.",
        show_default=False,
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, max=o.LARGEST_SEED, rich_help_panel=COURSE)]


def found(data: Path, degrade: str | None) -> Iterator[str]:
    """What a folder without a recipe says by its subfolders."""
    if (data / "val").is_dir():
        yield 'data.validation="val"'
    if degrade:
        yield 'data.clean=["GT"]' if (data / "GT").is_dir() else 'data.clean=["."]'
        return
    from restorer.train.folders import SIDES

    for lq, gt in SIDES:
        if (data / lq).is_dir() and (data / gt).is_dir():
            yield f'data.lq="{lq}"'
            yield f'data.gt="{gt}"'
            return


def chosen(lq: Path | None, gt: Path | None, degrade: str | None, mask: Path | None = None) -> Iterator[str]:
    """The flags that name data, as keys of the recipe. A path is the user's own, not below DATA."""
    if (lq is None) != (gt is None):
        raise UsageError("--lq and --gt go together; give both, or neither.")
    for key, folder in (("lq", lq), ("gt", gt), ("mask", mask)):
        if folder is not None:
            yield f"data.{key}={str(folder.absolute())!r}"
    if degrade:
        from restorer.degrade import damages

        kinds = (f"{{recipe={d.recipe!r}, weight={d.weight}, strength={list(d.strength)}}}" for d in damages(degrade))
        yield f"data.damage=[{', '.join(kinds)}]"


def logged(names: list[str] | None) -> str | None:
    """The value of the recipe's key of the trackers."""
    return None if names is None else f"[{', '.join(map(repr, dict.fromkeys(names)))}]"


def resumed(word: str) -> bool | Path:
    """What ``--resume`` says."""
    return {"auto": True, "no": False}.get(word, Path(word))
