"""``restorer train``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from restorer.cli import options as o
from restorer.cli.output import Output
from restorer.errors import UsageError

EXAMPLES = """\
  restorer train photos/ --degrade rain -o runs/rain       clean pictures, rain made on the fly
  restorer train pairs/ --method irsde --max-steps 20000   pairs/LQ and pairs/GT of equal names
  restorer train data/ -c train.toml --set train.lr=2e-4   a recipe, with one key changed"""

DATA = "Data"
COURSE = "Course"

Root = Annotated[
    Path,
    typer.Argument(help="Folder of the recipe's data; or of clean pictures; or with LQ/ and GT/.", metavar="DATA"),
]
Lq = Annotated[Path | None, typer.Option("--lq", help="Degraded pictures, when not DATA/LQ.", rich_help_panel=DATA)]
Gt = Annotated[Path | None, typer.Option("--gt", help="Clean pictures, when not DATA/GT.", rich_help_panel=DATA)]
Degrade = Annotated[
    str | None,
    typer.Option(
        "--degrade", help="Damage the clean pictures on the fly: a recipe as `degrade` takes.", rich_help_panel=DATA
    ),
]
Patch = Annotated[int | None, typer.Option("--patch-size", min=8, help="Side of a crop.", rich_help_panel=DATA)]
Workers = Annotated[int | None, typer.Option("--workers", min=0, help="Data processes.", rich_help_panel=DATA)]
Recipe = Annotated[
    Path | None, typer.Option("--config", "-c", help="TOML recipe; flags win over it.", show_default=False)
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
Run = Annotated[
    Path | None, typer.Option("--output", "-o", help="Run folder.  [default: runs/<name>]", show_default=False)
]
Resume = Annotated[
    Literal["auto", "no"],
    typer.Option("--resume", help="auto goes on where OUTPUT stopped; no starts again.", rich_help_panel=COURSE),
]
MaxSteps = Annotated[int | None, typer.Option("--max-steps", min=1, rich_help_panel=COURSE)]
Batch = Annotated[int | None, typer.Option("--batch-size", "-b", min=1, rich_help_panel=COURSE)]
Lr = Annotated[float | None, typer.Option("--lr", min=0, help="Highest learning rate.", rich_help_panel=COURSE)]
Ema = Annotated[float | None, typer.Option("--ema-decay", min=0, max=1, help="0 turns it off.", rich_help_panel=COURSE)]
Precision = Annotated[Literal["no", "bf16"] | None, typer.Option("--mixed-precision", rich_help_panel=COURSE)]
ValEvery = Annotated[
    int | None, typer.Option("--val-every", min=1, help="Score every N steps.", rich_help_panel=COURSE)
]
SaveEvery = Annotated[int | None, typer.Option("--save-every", min=1, rich_help_panel=COURSE)]
Seed = Annotated[int | None, typer.Option("--seed", min=0, max=o.LARGEST_SEED, rich_help_panel=COURSE)]


def train(
    data: Root,
    config: Recipe = None,
    method: Method = None,
    set_: Set = None,
    output: Run = None,
    lq: Lq = None,
    gt: Gt = None,
    degrade: Degrade = None,
    patch_size: Patch = None,
    workers: Workers = None,
    resume: Resume = "auto",
    max_steps: MaxSteps = None,
    batch_size: Batch = None,
    lr: Lr = None,
    ema_decay: Ema = None,
    mixed_precision: Precision = None,
    val_every: ValEvery = None,
    save_every: SaveEvery = None,
    seed: Seed = None,
    device: o.Device = "auto",
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    """Train a model on clean pictures with damage made on the fly, or on paired folders."""
    if not data.is_dir():
        raise UsageError(f"{data}: no such folder of training data; check the path.")
    flags = {
        "data.patch_size": patch_size,
        "train.workers": workers,
        "train.steps": max_steps,
        "train.batch_size": batch_size,
        "train.lr": lr,
        "train.ema_decay": ema_decay,
        "train.mixed_precision": mixed_precision,
        "train.val_every": val_every,
        "train.save_every": save_every,
        "train.seed": seed,
    }
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    found = [] if config else list(_found(data, degrade))
    chosen = list(_chosen(lq, gt, degrade))

    from restorer.device import choose_device
    from restorer.train.config import read_config
    from restorer.train.loop import train as run_training

    recipe = read_config(config, [*found, *chosen, *given, *(set_ or [])], method or "rddm")
    if method and recipe.method != method:
        raise UsageError(f"{config}: a recipe of the method {recipe.method}, not {method}; leave out --method.")
    run = output or Path("runs") / recipe.name
    out = Output(json=json, quiet=quiet, verbose=verbose)
    out.note(f"Training {recipe.name} for {recipe.train.steps} steps; the run is kept in {run}.")
    steps = run_training(recipe, data, run, choose_device(device), resume=resume == "auto")
    out.training(steps, recipe.train.steps, run)


def _found(data: Path, degrade: str | None) -> Iterator[str]:
    """What a folder without a recipe says by its subfolders."""
    if (data / "val").is_dir():
        yield 'data.validation="val"'
    if degrade:
        yield 'data.clean=["GT"]' if (data / "GT").is_dir() else 'data.clean=["."]'
        return
    for lq, gt in (("LQ", "GT"), ("input", "target")):
        if (data / lq).is_dir() and (data / gt).is_dir():
            yield f'data.lq="{lq}"'
            yield f'data.gt="{gt}"'
            return


def _chosen(lq: Path | None, gt: Path | None, degrade: str | None) -> Iterator[str]:
    """The flags that name data, as keys of the recipe. A path is the user's own, not below DATA."""
    if (lq is None) != (gt is None):
        raise UsageError("--lq and --gt go together; give both, or neither.")
    for key, folder in (("lq", lq), ("gt", gt)):
        if folder is not None:
            yield f"data.{key}={str(folder.absolute())!r}"
    if degrade:
        from restorer.degrade import damages

        kinds = (f"{{recipe={d.recipe!r}, weight={d.weight}, strength={list(d.strength)}}}" for d in damages(degrade))
        yield f"data.damage=[{', '.join(kinds)}]"
