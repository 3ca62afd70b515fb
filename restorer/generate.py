"""Pictures drawn from nothing: noise -> sample -> clamp, each from a seed of its own; and their files.

    draw(restorer, seeds, settings)    ->  Drawn, Drawn, ...      pixels
    run(restorer, order)               ->  Record, Record, ...    files, with what is done already skipped

Picture i of a run has the seed of the run plus i, and a generator of its own for its start and for every step's noise,
so it is the same picture in any run, batch and order.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from restorer import images
from restorer.compiling import Since
from restorer.device import dtype_name, is_out_of_memory
from restorer.diffusion.paths import rddm_path
from restorer.diffusion.predict import Denoiser, Prediction
from restorer.diffusion.samplers import GRIDS, SAMPLERS, State
from restorer.errors import DeviceError, ImageError, UsageError
from restorer.images.many import sheet
from restorer.images.recipe import same_recipe
from restorer.record import Record
from restorer.settings import Settings, adjusted, states
from restorer.trace import Trace, every

if TYPE_CHECKING:
    from restorer.restore import Restorer

Size = tuple[int, int]


class Drawn(NamedTuple):
    """A new picture: its seed, and pixels (1, 3, H, W), float32 RGB in [0, 1] on the CPU.

    ``trace``: x_t on the way, such pixels too; the first is noise and the last is the picture. Empty unless asked for.
    """

    seed: int
    pixels: Tensor
    trace: tuple[Tensor, ...]


@dataclass(frozen=True)
class Order:
    """What to draw and where to. ``output``: a folder, or a picture's name; ``size``: (width, height)."""

    output: Path
    samples: int
    settings: Settings
    size: Size
    batch_size: int = 8
    overwrite: bool = False
    sheet: bool = False
    trace: Literal["gif", "frames"] | None = None

    @property
    def batches(self) -> int:
        """How often the sampler runs, if nothing is there yet."""
        return -(-self.samples // self.batch_size)


class Batch(NamedTuple):
    """What is drawn at once, for those who show progress."""

    name: str


def order(
    restorer: Restorer,
    output: Path,
    samples: int,
    settings: Settings,
    *,
    size: Size | None = None,
    batch_size: int = 8,
    overwrite: bool = False,
    sheet: bool = False,
    trace: Literal["gif", "frames"] | None = None,
) -> Order:
    """An order with everything settled; seed -1 draws one. Raises ``UsageError`` for what cannot be."""
    restorer.check_generates()
    seed = secrets.randbelow(2**32) if settings.seed == -1 else settings.seed
    settings = restorer.settled(replace(settings, seed=seed))
    if samples > 1 and _is_file(output):
        raise UsageError(f"{output} is one file and cannot hold {samples} pictures; name a folder.")
    size = checked_size(restorer, size, settings)
    return Order(output, samples, settings, size, batch_size, overwrite, sheet, trace)


def checked_size(restorer: Restorer, size: Size | None, settings: Settings) -> Size:
    """(width, height) to draw at; None is what the model was trained on. Raises ``UsageError`` when it cannot be."""
    rule, name = restorer.entry.size, restorer.entry.name
    if size is None and rule.trained is None:
        raise UsageError(f"The card of {name!r} does not say what size it was trained on; name one, as --size 64x64.")
    width, height = size or (rule.trained, rule.trained)
    if min(width, height) < rule.minimum or width % rule.multiple or height % rule.multiple:
        raise UsageError(
            f"{name} draws pictures whose sides are multiples of {rule.multiple} from {rule.minimum} up, "
            f"not {width}x{height}."
        )
    guide = adjusted(restorer.denoiser, restorer.entry, settings).guide
    if guide and guide.label is not None and (width, height) != (guide.net.size, guide.net.size):
        side = guide.net.size
        raise UsageError(f"The classifier that guides {name} knows {side}x{side} pixels only, not {width}x{height}.")
    return width, height


# ------------------------------------------------------------------------------------------------ pixels


def draw(
    restorer: Restorer,
    seeds: Sequence[int],
    settings: Settings,
    *,
    size: Size,
    trace: bool = False,
    after_step: Callable[[], None] | None = None,
) -> list[Drawn]:
    """New pictures, one for each seed, all at once. ``settings`` are settled, and their seed does not matter.

    Raises ``ImageError`` when no finite pictures come out even in full precision, ``DeviceError`` when memory runs out.
    """
    try:
        frames = _draw(restorer, restorer.denoiser, seeds, settings, size, trace, after_step)
        if not frames[-1].isfinite().all() and restorer.denoiser.dtype != torch.float32:
            frames = _draw(restorer, restorer.exact(), seeds, settings, size, trace, None)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(
            f"Not enough memory on {restorer.device} for {len(seeds)} pictures at once; try a smaller --batch-size."
        ) from error
    if not frames[-1].isfinite().all():
        raise ImageError(f"{restorer.entry.name} gave values that are no numbers; try other --steps or another model.")
    frames = [frame.clamp(0, 1) for frame in frames]
    ways = [tuple(frame[i : i + 1] for frame in frames) for i in range(len(seeds))]
    return [Drawn(seed, way[-1].clone(), way if trace else ()) for seed, way in zip(seeds, ways, strict=True)]


def _draw(
    restorer: Restorer,
    denoiser: Denoiser,
    seeds: Sequence[int],
    settings: Settings,
    size: Size,
    trace: bool,
    after_step: Callable[[], None] | None,
) -> list[Tensor]:
    """x_t on the way, scaled from the net's range to [0, 1], on the CPU; only the last unless ``trace``."""
    lo, hi = denoiser.bounds
    kept = []
    skip = every(states(settings))
    denoiser = adjusted(denoiser, restorer.entry, settings)
    for i, state in enumerate(sample(denoiser, seeds, settings, settings.sampler, size, restorer.device)):
        if i and after_step:
            after_step()
        last = state.t == 0
        if last or (trace and i % skip == 0):
            frame = (state.x.cpu() - lo) / (hi - lo)
            # Samplers that take out residual and noise in turn come to 0 twice; what comes last counts.
            kept = [*kept, frame] if trace else [frame]
    return kept


@torch.inference_mode()
def sample(
    denoiser: Denoiser, seeds: Sequence[int], settings: Settings, sampler: str, size: Size, device: torch.device
) -> Iterator[State]:
    """x_T, then the states of the pictures (N, 3, H, W) on their way, in the net's range; y is 0 there.

    The start is noise of unit variance, as in official RDDM and DDIM: sigma_T is 1, or (DDPM's) 2e-5 less. With another
    beta, or along a path, it is what these say.
    """
    width, height = size
    rngs = [torch.Generator().manual_seed(seed) for seed in seeds]

    def noise(x: Tensor | None = None) -> Tensor:
        drawn = [torch.randn(1, 3, height, width, generator=rng) for rng in rngs]
        return torch.cat(drawn).to(device, memory_format=torch.channels_last)

    y = torch.zeros(len(seeds), 3, height, width, device=device).to(memory_format=torch.channels_last)
    schedule, x, randomness = denoiser.schedule, noise(), {"eta": settings.eta, "randn_like": noise}
    try:
        if settings.path:
            x, first = settings.path[0][1] * x, len(settings.path) - 1
            states = rddm_path(
                lambda x, *place: _one_by_one(denoiser, lambda x, y: denoiser.at(x, *place, y), x, y),
                *(schedule, x, settings.path),
                **randomness,
            )
        else:
            times = GRIDS[settings.times](schedule.T, settings.steps)
            first = times[0]
            x = x if settings.beta_schedule is None else float(schedule.sigma[first]) * x
            states = SAMPLERS[sampler](
                lambda x, t: _one_by_one(denoiser, lambda x, y: denoiser(x, t, y), x, y),
                *(schedule, x, times),
                **randomness,
            )
    except ValueError as error:  # not every sampler takes any eta
        raise UsageError(str(error)) from error
    yield State(first, x, y)
    yield from states


def _one_by_one(denoiser: Denoiser, ask: Callable[[Tensor, Tensor], Prediction], x: Tensor, y: Tensor) -> Prediction:
    """In full precision the net is asked about one picture at a time.

    Kernels choose by the batch's shape in which order they add up, and so the last bits of a picture would tell how
    many were drawn with it. In half precision nobody counts on bits, and a batch at once is what makes GPUs fast.
    """
    if denoiser.dtype != torch.float32:
        return ask(x, y)
    # Copies, since the address of a slice may be less round than that of a picture alone, and kernels ask for that too.
    alone = [ask(one.clone(), y[:1]) for one in x.split(1)]
    return Prediction(*(torch.cat(parts) for parts in zip(*alone, strict=True)))


# ------------------------------------------------------------------------------------------------ files


def run(restorer: Restorer, order: Order, progress: Callable[[Batch, int], None] | None = None) -> Iterator[Record]:
    """Draw the order's pictures into files and yield a record of each.

    A picture that is there with the same recipe is skipped. ``progress(batch, steps)`` is called before the first step
    of a batch and after each. Raises ``ImageError`` before anything is drawn where another file is in the way.
    """
    tell = progress or (lambda batch, steps: None)
    pictures = _pictures(restorer, order)
    skipped = [picture for picture in pictures if _stands(picture, order)]
    wanted = [picture for picture in pictures if picture not in skipped]
    _make_room(order, wanted)
    pixels: dict[int, Tensor] = {}
    for picture in skipped:
        yield _record(restorer, picture, "skipped", order.size, 0.0)
    for first in range(0, len(wanted), order.batch_size):
        batch = wanted[first : first + order.batch_size]
        started, since = perf_counter(), Since(restorer.denoiser)
        for picture, drawn in zip(batch, _batch(restorer, batch, order, tell), strict=True):
            images.write(images.Picture(drawn.pixels), picture.target, recipe={**picture.recipe, **since.how})
            if trace := _trace(picture, order):
                trace.write(drawn.trace)
            if order.sheet:
                pixels[picture.seed] = drawn.pixels
            record = _record(restorer, picture, "done", order.size, (perf_counter() - started) / len(batch))
            yield replace(record, made={**picture.recipe, **since.how}, warnings=since.remarks)
    if order.sheet:
        laid = sheet([pixels[p.seed] if p.seed in pixels else images.read(p.target).pixels for p in pictures])
        recipe = pictures[0].recipe | {"samples": order.samples}
        images.write(images.Picture(laid), sheet_file(order), recipe=recipe)


def sheet_file(order: Order) -> Path:
    """Where the sheet goes: among the pictures, or beside the only one."""
    if _is_file(order.output):
        return order.output.with_name(f"{order.output.stem}_sheet.png")
    return order.output / "sheet.png"


@dataclass(frozen=True)
class _New:
    """A picture that is to be: nobody's pixels yet."""

    seed: int
    target: Path
    recipe: dict[str, Any]


def _pictures(restorer: Restorer, order: Order) -> list[_New]:
    made = []
    for i in range(order.samples):
        seed = order.settings.seed + i
        target = order.output if _is_file(order.output) else order.output / f"{i:04d}.png"
        recipe = restorer.recipe(replace(order.settings, seed=seed)) | {"size": list(order.size)}
        made.append(_New(seed, target, recipe))
    return made


def _is_file(output: Path) -> bool:
    return images.format_of(output) is not None and not output.is_dir()


def _trace(picture: _New, order: Order) -> Trace | None:
    """0000.gif, or a folder 0000 of frames."""
    ending = ".gif" if order.trace == "gif" else ""
    return order.trace and Trace(order.trace, picture.target.with_suffix(ending), picture.recipe)


def _stands(picture: _New, order: Order) -> bool:
    """Whether nothing is left to do for it."""
    if order.overwrite or not same_recipe(images.read_recipe(picture.target), picture.recipe):
        return False
    trace = _trace(picture, order)
    return trace is None or trace.stands()


def _make_room(order: Order, wanted: Sequence[_New]) -> None:
    """The folder, once it is sure that nothing of somebody else's is written over."""
    if not order.overwrite:
        _check_room(order, wanted)
    folder = order.output.parent if _is_file(order.output) else order.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{folder}: cannot make this folder: {error.strerror}; choose another OUTPUT.") from error


def _check_room(order: Order, wanted: Sequence[_New]) -> None:
    for picture in wanted:
        if picture.target.exists() and not same_recipe(images.read_recipe(picture.target), picture.recipe):
            raise ImageError(
                f"{picture.target} is there, made with other settings; use --overwrite, or another OUTPUT."
            )
        trace = _trace(picture, order)
        if trace and not trace.has_room():
            raise ImageError(f"{trace.place} is there already; use --overwrite, or another OUTPUT.")
    place = sheet_file(order)
    if order.sheet and place.exists() and "samples" not in (images.read_recipe(place) or {}):
        raise ImageError(f"{place} is there and is no sheet of restorer; use --overwrite, or another OUTPUT.")


def _batch(restorer: Restorer, batch: Sequence[_New], order: Order, tell: Callable[[Batch, int], None]) -> list[Drawn]:
    name = batch[0].target.name if len(batch) == 1 else f"{batch[0].target.name} to {batch[-1].target.name}"
    steps = 0

    def after_step() -> None:
        nonlocal steps
        steps += 1
        tell(Batch(name), steps)

    tell(Batch(name), 0)
    seeds = [picture.seed for picture in batch]
    trace = order.trace is not None
    return draw(restorer, seeds, order.settings, size=order.size, trace=trace, after_step=after_step)


def _record(
    restorer: Restorer, picture: _New, status: Literal["done", "skipped"], size: Size, seconds: float
) -> Record:
    made = (f"seed {picture.seed}", str(picture.target), status, picture.recipe, size)
    return Record(*made, str(restorer.device), dtype_name(restorer.denoiser.dtype), seconds)
