"""``restorer restore``, and one alias for each task."""

import functools
import inspect
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from restorer.cli import options as o
from restorer.cli.damage import is_known, known_damage, load, side_of_windows, to_fetch
from restorer.cli.loading import loading
from restorer.cli.output import Output
from restorer.cli.work import carry_out, collecting
from restorer.entry import TASKS

if TYPE_CHECKING:
    from restorer.batch import Plan, Record, Work
    from restorer.settings import Settings

HELP: dict[str, str] = {
    "derain": "Remove rain streaks and drops",
    "dehaze": "Remove haze",
    "deblur": "Remove motion or defocus blur",
    "denoise": "Remove noise",
    "deshadow": "Remove shadows",
    "enhance": "Brighten low light",
    "dejpeg": "Remove the blocks and rings of JPEG",
    "upscale": "Enlarge",
    "inpaint": "Fill holes",
    "colorize": "Colour grey pictures",
}
"""Task -> what its own command says of itself. The other tasks are reached with ``restore --task``."""

MASKED = ("deshadow", "inpaint")
"""Tasks whose models may take a mask."""

ENLARGING = ("upscale",)
"""Tasks whose models may enlarge."""

EXAMPLES = """\
  restorer {command} photo.jpg                   photo_{participle}.jpg, beside it
  restorer {command} photos/ -r -o clean/        a folder with its subfolders
  restorer {command} - < in.png > out.png        from and to standard streams"""

NOISY = ("denoise",)
"""Tasks whose models may be told how much noise there is."""

KNOWN = ("deblur", "upscale", "inpaint", "colorize")
"""Tasks whose damage may be known, and undone by a prior."""

ZERO_SHOT = ("operator", "method", "travel_length", "travel_repeat", "class_", "windows")
"""The arguments that say it."""

OWN_EXAMPLES: dict[str, str] = {
    "upscale": """\
  restorer upscale small.png --scale 4           small_upscaled.png, four times as wide and high
  restorer upscale photos/ -o large/ --scale 2   a folder""",
    "colorize": """\
  restorer colorize grey.jpg                     grey_colorized.jpg, beside it
  restorer colorize scans/ -r -o colour/         a folder with its subfolders""",
    "deblur": """\
  restorer deblur photo.jpg --operator blur:gauss:2             a blur of known width
  restorer deblur photo.jpg --operator blur:kernel.png --sigma 2   any known blur, and some noise
  restorer deblur photos/ -m my-model/ -o sharp/                a trained model""",
    "inpaint": """\
  restorer inpaint photo.jpg --mask mask.png     photo_inpainted.jpg; white is what to repaint
  restorer inpaint photos/ --mask masks/         masks of equal names""",
}
"""Task -> examples, where they are not those of all."""

MASKED_EXAMPLES = """\
  restorer {command} photo.jpg -m my-model/ --mask mask.png    photo_{participle}.jpg, beside it
  restorer {command} photos/ -m my-model/ --mask masks/        masks of equal names"""


def _restore(
    participle: str,
    inputs: o.Inputs = None,
    flagged: o.FlaggedInputs = None,
    output: o.Output = None,
    recursive: o.Recursive = False,
    exists: o.Exists = "skip",
    overwrite: o.Overwrite = False,
    suffix: o.Suffix = None,
    dry_run: o.DryRun = False,
    task: o.Task = None,
    model: o.Model = None,
    mask: o.Mask = None,
    scale: o.Scale = None,
    steps: o.Steps = None,
    eta: o.Eta = None,
    sampler: o.Sampler = None,
    sigma: o.Sigma = None,
    seed: o.Seed = 0,
    samples: o.Samples = 1,
    alpha_schedule: o.AlphaSchedule = None,
    beta_schedule: o.BetaSchedule = None,
    operator: o.Operator = None,
    method: o.Method = None,
    travel_length: o.TravelLength = None,
    travel_repeat: o.TravelRepeat = None,
    class_: o.Class = None,
    windows: o.WindowKind = None,
    simulate: o.Simulate = False,
    format: o.Format = "auto",
    quality: o.Quality = 95,
    bits: o.Bits = "auto",
    metadata: o.Metadata = "keep",
    record: o.Recorded = "embed",
    max_pixels: o.MaxPixels = 250_000_000,
    tile: o.Tile = None,
    tile_overlap: o.TileOverlap = None,
    batch_size: o.BatchSize = None,
    device: o.Device = "auto",
    dtype: o.Dtype = "auto",
    compile: o.Compile = False,
    engine: o.Engine = "local",
    gt: o.Truth = None,
    trace: o.Trace = None,
    compare: o.Compare = None,
    fail_fast: o.FailFast = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    words = o.all_inputs(inputs, flagged)
    exists = o.settle_exists(exists, overwrite)
    out = Output(json=json, quiet=quiet, verbose=verbose)

    with loading():
        from restorer.batch import Files, plan, restoring
        from restorer.remote import is_remote, plan_remote
        from restorer.settings import Settings
        from restorer.tiling import Tiling

    side = side_of_windows(tile)
    tiling = Tiling(side, tile_overlap, batch_size)
    depth = "auto" if bits == "auto" else int(bits)
    keep = metadata == "keep"
    looks = (format, quality, depth, keep, record)
    files = Files(participle, suffix, recursive, exists, *looks, max_pixels, mask, gt, trace, samples)
    schedules = {"alpha_schedule": alpha_schedule, "beta_schedule": beta_schedule}
    settings = Settings(steps, eta, seed, sigma=sigma, sampler=sampler, label=class_, tiling=tiling, **schedules)
    flags = {"method": method, "travel_length": travel_length, "travel_repeat": travel_repeat}
    flags |= {"windows": windows, "tile": side, "overlap": tile_overlap, "sigma": sigma}

    def begin() -> "Work | None":
        nonlocal order
        if dry_run and (missing := to_fetch(model)):
            out.note(missing)
            return None
        with out.downloads():
            known = is_known(task, operator, simulate=simulate, **flags)
            restorer, left_to_prior = load(model, task, device, dtype, scale=scale, known=known, compile=compile)
        zero = known_damage(left_to_prior, operator, scale, simulate=simulate, **flags)
        own = settings if zero is None else replace(settings, sigma=None)
        wanted = {"masked": mask is not None, "scale": scale, "zero": zero}
        work = restoring(restorer, own, **wanted)
        wanted |= {"task": restorer.entry.task, "compile": compile}
        order = (model or restorer.entry.name, device, dtype, replace(own, seed=work.recipe["seed"])), wanted
        out.note(_told(work, settings), level=0 if dry_run else 1)
        return work

    def spread(todo: "Plan") -> "Generator[Record, None, None]":
        from restorer.cluster import Assignment, run

        return run(Assignment(*order[0], **order[1]), todo.jobs, files)

    order = ()
    todo = plan_remote(words, output, files) if any(map(is_remote, [*words, output])) else plan(words, output, files)
    elsewhere = spread if engine == "ray" else None
    comparison = None if compare is None or dry_run else collecting(compare, todo, elsewhere is not None)
    how = {"dry_run": dry_run, "fail_fast": fail_fast, "elsewhere": elsewhere, "comparison": comparison}
    carry_out(todo, begin, files, out, **how)


def _told(work: "Work", settings: "Settings") -> str:
    """Every value and where it comes from."""
    recipe = work.recipe
    given = (settings.sampler, settings.steps, settings.eta)
    sampler, steps, eta = ("from the model" if value is None else "given" for value in given)
    chosen = {name: recipe.get(f"{name}_schedule") for name in ("alpha", "beta")}
    tables = "".join(f"{name} {word} (given), " for name, word in chosen.items() if word)
    return (
        f"{recipe['model']} ({recipe['task']}): sampler {recipe['sampler']} ({sampler}), "
        f"steps {recipe['steps']} ({steps}), eta {recipe['eta']:g} ({eta}), "
        f"{tables}seed {recipe['seed']}, on {work.device} in {work.dtype}."
    )


def examples(task: str | None = None) -> str:
    """The examples of ``restore``, or of a task's own command."""
    if task is None:
        return EXAMPLES.format(command="restore", participle="restored")
    if task in OWN_EXAMPLES:
        return OWN_EXAMPLES[task]
    return (MASKED_EXAMPLES if task in MASKED else EXAMPLES).format(command=task, participle=TASKS[task])


def fixed(function: Callable[..., None], **arguments: str | bool | None) -> Callable[..., None]:
    """``function`` with some arguments settled and gone from its signature, which is what Typer makes options of."""
    command = functools.update_wrapper(functools.partial(function, **arguments), function)
    signature = inspect.signature(function)
    rest = [parameter for name, parameter in signature.parameters.items() if name not in arguments]
    command.__signature__ = signature.replace(parameters=rest)
    return command


restore = fixed(_restore, participle="restored")


def alias(task: str) -> Callable[..., None]:
    """A task's own command, with the options that its models may use."""
    unused = {} if task in MASKED else {"mask": None}
    unused |= {} if task in (*NOISY, *KNOWN) else {"sigma": None}
    unused |= {} if task in ENLARGING else {"scale": None}
    unused |= {} if task in KNOWN else dict.fromkeys(ZERO_SHOT) | {"simulate": False}
    return fixed(_restore, participle=TASKS[task], task=task, **unused)
