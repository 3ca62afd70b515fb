"""``restorer bench``: how fast a model is on this machine."""

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from restorer.cli import options as o
from restorer.cli import output
from restorer.cli.loading import loading
from restorer.cli.output import Output
from restorer.errors import UsageError

if TYPE_CHECKING:
    from restorer.restore import Restorer
    from restorer.speed import Speed

EXAMPLES = """\
  restorer bench
  restorer bench -m owner/repo --size 256 --dtype bf16 --compile
  restorer bench -T denoise --tune           and keep the fastest windows for restore"""

LIMIT = 20.0
"""Seconds after which no larger picture is begun, unless sizes are asked for."""

Precision = Annotated[
    Literal["all", "auto", "fp32", "fp16", "bf16"],
    typer.Option("--dtype", help="Arithmetic; all is each that the device does fast.", rich_help_panel=o.COMPUTE),
]
Sizes = Annotated[
    list[int] | None,
    typer.Option(
        "--size",
        min=1,
        metavar="PIXELS",
        help="Side of the pictures that are made, or windows; may be repeated.  [default: 256, 512 and 1024, as far as "
        "half a minute goes; with --tune 512, 768, 1024 and 1536]",
        show_default=False,
    ),
]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="Medians are of so many calls, of slow ones of fewer.")]

Tune = Annotated[
    bool,
    typer.Option(
        "--tune",
        help="Time windows of several sides, one and several at once, and keep the fastest for this model, precision "
        "and machine: restore takes them unless told --tile.",
    ),
]


def bench(
    model: o.Model = None,
    task: o.Task = None,
    device: o.Device = "auto",
    dtype: Precision = "all",
    compile: o.Compile = False,
    size: Sizes = None,
    steps: o.Steps = None,
    rounds: Rounds = 5,
    tune: Tune = False,
    json: o.JsonOnly = False,
) -> None:
    """How fast a model is on this machine: a call of its net, a whole picture, pictures a minute, and memory."""
    with loading():
        from restorer.cli import machine
        from restorer.device import choose_device, precisions
        from restorer.restore import Restorer
        from restorer.settings import Settings
        from restorer.speed import SIDES, SIZES, foreseen, measure, trials

    out = Output(json=json)
    words = precisions(choose_device(device)) if dtype == "all" else [dtype]
    how = {"task": task, "device": device, "compile": compile}
    restorers = [Restorer.from_pretrained(model, dtype=word, **how) for word in words]
    if tune:
        if steps is not None:
            raise UsageError("Windows are timed by single calls of the net; leave out --steps, or --tune.")
        _tune(restorers, size or SIDES, rounds, machine.line(restorers[0].device), out)
        return
    started, known, left = perf_counter(), [], []
    todo = trials(restorers, size or SIZES)
    with out.bar(len(todo), 1) as tell:
        for trial in todo:
            tell(trial, 0)
            if size is None and known and perf_counter() - started + foreseen(trial, known) > LIMIT:
                left.append(trial)
                continue
            known.append(measure(trial, Settings(steps=steps), rounds))
    _show(restorers[0], known, machine.line(restorers[0].device), json)
    if left:
        sizes = " ".join(f"--size {side}" for side in sorted({trial.size for trial in left}))
        out.note(f"Not measured, since it takes long: {', '.join(trial.name for trial in left)}. Ask for it: {sizes}.")


def _tune(restorers: "list[Restorer]", sides: Sequence[int], rounds: int, machine: str, out: Output) -> None:
    from restorer.device import dtype_name
    from restorer.speed import timed
    from restorer.tuned import best, keep

    rows, about = [], _about(restorers[0])
    for restorer in restorers:
        found, dtype = list(timed(restorer, sides, rounds)), dtype_name(restorer.denoiser.dtype)
        chosen = best(found)
        if not keep(restorer, chosen):
            out.note("What was measured cannot be kept, since restorer's folder takes nothing; see HF_HOME.")
        for one in found:
            if out.json:
                output.json_line(
                    {"v": 1, **about, "machine": machine, "dtype": dtype, **one.line(), "best": one is chosen}
                )
            rows.append([str(one.side), str(one.batch), dtype, f"{one.seconds:.4f} s", "best" if one is chosen else ""])
    if not out.json:
        output.result(f"{', '.join(about.values())}: {machine}")
        output.table(["window", "at once", "dtype", "a megapixel", ""], rows)


def _about(restorer: "Restorer") -> dict[str, str]:
    return {"model": restorer.entry.name, "task": restorer.entry.task, "device": str(restorer.device)}


def _show(restorer: "Restorer", speeds: "list[Speed]", machine: str, json: bool) -> None:
    about = _about(restorer)
    if json:
        for speed in speeds:
            output.json_line({"v": 1, **about, "machine": machine, **speed.line()})
        return
    output.result(f"{', '.join(about.values())}: {machine}")
    header = ["size", "dtype", "net", "steps", "picture", "pictures a minute", "memory"]
    if any(speed.first for speed in speeds):
        header.append("first picture")
    output.table(header, [_row(speed) for speed in speeds])


def _row(speed: "Speed") -> list[str]:
    net = "in windows" if speed.net is None else f"{speed.net:.4f} s"
    memory = "unknown" if speed.memory is None else f"{speed.memory / 2**30:.2f} GiB"
    made = [str(speed.steps), f"{speed.whole:.3f} s", f"{speed.per_minute:.1f}"]
    first = [] if speed.first is None else [f"{speed.first:.1f} s"]
    return [f"{speed.size}x{speed.size}", speed.dtype, net, *made, memory, *first]
