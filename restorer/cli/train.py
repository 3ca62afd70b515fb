"""``restorer train``."""

from collections import deque
from pathlib import Path

import typer

from restorer.cli import options as o
from restorer.cli import training as t
from restorer.cli.loading import loading
from restorer.cli.output import Output, counted
from restorer.errors import UsageError

EXAMPLES = """\
  restorer train photos/ --degrade rain -o runs/rain       clean pictures, rain made on the fly
  restorer train pairs/ --method irsde --max-steps 20000   pairs/LQ and pairs/GT of equal names
  restorer train data/ -c train.toml --set train.lr=2e-4   a recipe, with one key changed"""


def train(
    data: t.Root,
    config: t.Recipe = None,
    method: t.Method = None,
    set_: t.Set = None,
    init: t.Init = None,
    codec: t.Codec = None,
    output: t.Run = None,
    lq: t.Lq = None,
    gt: t.Gt = None,
    mask: t.Mask = None,
    degrade: t.Degrade = None,
    patch_size: t.Patch = None,
    workers: t.Workers = None,
    resume: t.Resume = "auto",
    max_steps: t.MaxSteps = None,
    max_hours: t.MaxHours = None,
    batch_size: t.Batch = None,
    grad_accum: t.Accum = None,
    lr: t.Lr = None,
    ema_decay: t.Ema = None,
    mixed_precision: t.Precision = None,
    val_every: t.ValEvery = None,
    save_every: t.SaveEvery = None,
    keep: t.Keep = None,
    log: t.Log = None,
    seed: t.Seed = None,
    push_to_hub: t.PushToHub = None,
    dry_run: t.DryRun = False,
    device: o.Device = "auto",
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    """Train or fine-tune a model on clean pictures with damage made on the fly, or on paired folders."""
    if not data.is_dir():
        raise UsageError(f"{data}: no such folder of training data; check the path.")
    flags = {
        "data.patch_size": patch_size,
        "train.workers": workers,
        "train.steps": max_steps,
        "train.max_hours": max_hours,
        "train.batch_size": batch_size,
        "train.grad_accum": grad_accum,
        "train.lr": lr,
        "train.ema_decay": ema_decay,
        "train.mixed_precision": mixed_precision,
        "train.val_every": val_every,
        "train.save_every": save_every,
        "train.keep": keep,
        "train.log": t.logged(log or None),
        "train.seed": seed,
        "init": init and repr(init),
    }
    layout = list(t.found(data, degrade))
    chosen = list(t.chosen(lq, gt, degrade, mask))

    with loading():
        from restorer.device import choose_device
        from restorer.load import find
        from restorer.publish import foresee
        from restorer.train.config import read_config
        from restorer.train.feedback import tracked
        from restorer.train.loop import train as run_training
        from restorer.train.team import is_first, launched, leave

    like = find(init).entry if init and not config else None
    codec = codec or (init if like and like.codec else None)
    flags["codec"] = codec and repr(codec)
    given = [f"{key}={value}" for key, value in flags.items() if value is not None]
    recipe = read_config(config, [*chosen, *given, *(set_ or [])], method or "rddm", like=like, layout=layout)
    if method and recipe.method != method:
        raise UsageError(f"{config or init}: a recipe of the method {recipe.method}, not {method}; leave out --method.")
    run = output or Path("runs") / recipe.name
    out = Output(json=json, quiet=quiet, verbose=verbose)
    if dry_run:
        from restorer.train.preflight import preflight

        raise typer.Exit(out.preflight(preflight(recipe, data, run, choose_device(device))))
    if push_to_hub:
        told = {"license": recipe.license, "source": recipe.source, "data_note": recipe.data_note}
        foresee(push_to_hub, told, recipe.data.validation is not None)
    place = choose_device(device)
    steps = tracked(run_training(recipe, data, run, place, resume=t.resumed(resume)), recipe, run, place)
    if not is_first():
        deque(steps, maxlen=0)
        leave()
        return
    out.note(f"Training {recipe.name} for {counted(recipe.train.steps, 'step')}; the run is kept in {run}.")
    done = out.training(steps, recipe.train.steps, run, pictures=recipe.train.pictures * launched())
    leave()
    if push_to_hub and done:
        _publish(run, push_to_hub, out)


def _publish(run: Path, repo: str, out: Output) -> None:
    """The model of the highest score, as ``restorer models publish`` does."""
    from restorer.publish import offer, publish
    from restorer.train.checkpoint import BEST

    published = publish(offer(run / BEST, repo))
    out.note(f"Published: {published.url}")
