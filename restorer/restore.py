"""The flow of a picture: prepare -> pad -> sample -> crop -> clamp. ``Restorer`` is the Python API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor

from restorer import __version__
from restorer.compiling import Since
from restorer.device import choose_device, choose_dtype, dtype_name
from restorer.diffusion.predict import Denoiser
from restorer.diffusion.samplers import State
from restorer.entry import GENERATE, Entry, default_model
from restorer.errors import ImageError, UsageError
from restorer.images import to_tensor
from restorer.load import Found, find, load
from restorer.memory import auto_side, within_memory
from restorer.noise import estimate_sigma
from restorer.prepare import Preparation, preparation
from restorer.sampling import decoded, encoded, pad, sample
from restorer.settings import Settings, adjusted, settle
from restorer.tiling import Tiling, Windows, snug_windows
from restorer.tuned import fewer, recalled

if TYPE_CHECKING:
    from restorer.record import Record
    from restorer.zeroshot import ZeroShot

Image = TypeVar("Image")

Watch = Callable[[int, Tensor, Tensor], None]
"""Called with (steps done, x_t, predicted x0): both (1, 3, H, W) on the CPU, scaled to [0, 1] but not clamped.

Called first with 0, x_T and the degraded picture; again with 0 when a run starts over in full precision.
"""

Progress = Callable[[int, State], None]
"""Called after every step with (steps done, the state); from 1 again when a run starts over."""

FLAT = 1 / 255
"""A picture whose values differ by less says nothing; where its input did, the net has failed."""


@dataclass(frozen=True, eq=False)
class Made:
    """A restored picture (1, 3, H, W), RGB in [0, 1], on the CPU; how it was computed; and sentences about that.

    ``how`` is what a recipe needs to get the same bits again: the windows' ``tile`` and ``overlap`` where there were
    several, ``compiled`` where the net was, and ``retried`` where half precision failed.
    """

    pixels: Tensor
    how: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


@dataclass(eq=False)
class Restorer:
    """A loaded model. Call it with a picture; it keeps nothing of one picture for the next."""

    found: Found
    denoiser: Denoiser
    device: torch.device
    _exact: Denoiser | None = field(default=None, repr=False)

    @classmethod
    def from_pretrained(
        cls,
        model: str | None = None,
        *,
        task: str | None = None,
        scale: float | None = None,
        device: str = "auto",
        dtype: str = "auto",
        compile: bool = False,
    ) -> Restorer:
        """Load what ``model`` names; None is the default of ``task``, or of derain.

        A name, a model folder, a .safetensors file, or OWNER/REPO[@REVISION] on the Hugging Face Hub. Of a model of
        several tasks ``task`` says which it is to do, by default its first; ``scale``, how many times it is to enlarge.

        ``device``: auto, cpu, cuda, cuda:N, mps, xpu; ``dtype``: auto, fp32, bf16, fp16. ``compile``: torch compiles
        the net when it is first called with pictures of a size; that takes up to minutes, and is kept for the next
        process. Raises ``ModelError``, ``DeviceError`` or ``UsageError``.
        """
        found = find(model or default_model(task or "derain"))
        if found.entry.serves:
            found = found._replace(entry=found.entry.serving(task or found.entry.task, scale))
        place = choose_device(device)
        return cls(found, load(found, place, choose_dtype(dtype, place), compile=compile), place)

    @property
    def entry(self) -> Entry:
        """The model's card."""
        return self.found.entry

    def __call__(
        self,
        image: Image,
        *,
        steps: int | None = None,
        eta: float | None = None,
        seed: int = 0,
        mask: Any = None,
        sigma: float | None = None,
        sampler: str | None = None,
        alpha_schedule: str | None = None,
        beta_schedule: str | None = None,
        zero: ZeroShot | None = None,
    ) -> Image:
        """Restore a PIL image, numpy array or tensor; the same kind comes back, ``scale`` times as wide and high.

        ``steps``: net calls, 1 to the schedule's length; ``eta``: fresh noise, 0 to 1; both default to the card's.
        ``mask``: an image of the same size for models that take one, white where marked. A model that fills what is
        marked before it begins (``fills``) takes a picture without a mask as filled already.
        ``sigma``: the image's noise in 8-bit levels, for models that begin at it, by default guessed.
        ``sampler``: a key of ``restorer.diffusion.samplers.SAMPLERS``, by default the card's. ``alpha_schedule``,
        ``beta_schedule``: other tables than the model's, MODE or MODE:POWER, as "decreased:0.3". ``zero``: what is
        known of the damage, as ``ZeroShot("sr:4")``, for a prior.
        The same ``seed`` gives the same picture. Raises ``ImageError`` or ``UsageError``.
        """
        y, same_kind = to_tensor(image)
        marked = None if mask is None else to_tensor(mask)[0]
        settings = Settings(steps, eta, seed, None, sigma, sampler, alpha_schedule, beta_schedule)
        if zero is None:
            return same_kind(self.restore(y, settings, mask=marked))
        from restorer.zeroshot import reconstruct

        return same_kind(reconstruct(self, y, settings, zero, mask=marked))

    def run(
        self,
        paths: Sequence[str | PathLike[str]],
        *,
        output: str | PathLike[str] | None = None,
        exists: Literal["skip", "overwrite", "rename", "error"] = "skip",
        steps: int | None = None,
        eta: float | None = None,
        seed: int = 0,
        mask: str | PathLike[str] | None = None,
        gt: str | PathLike[str] | None = None,
        trace: Literal["gif", "frames", "plot"] | None = None,
        sigma: float | None = None,
        sampler: str | None = None,
        alpha_schedule: str | None = None,
        beta_schedule: str | None = None,
        zero: ZeroShot | None = None,
    ) -> Iterator[Record]:
        """Restore files and folders as the command does, and yield a record of each, failed ones among them.

        ``mask``: a file for all pictures, or a folder of masks with their names; ``gt``: clean pictures likewise, to
        which the records' ``scores`` compare. ``trace``: what is written beside each output of how it came to be. The
        others are those of ``__call__``. Raises ``UsageError`` for words that disagree, or when no picture has a ground
        truth.
        """
        from restorer.batch import Files, run_paths

        mask, gt = (None if place is None else Path(place) for place in (mask, gt))
        files = Files(exists=exists, mask=mask, gt=gt, trace=trace)
        settings = Settings(steps, eta, seed, None, sigma, sampler, alpha_schedule, beta_schedule)
        yield from run_paths(self, paths, output, settings, files, zero)

    @property
    def takes_mask(self) -> bool:
        """Whether a mask has a use: the net is shown it beside the picture, or what it marks is filled first."""
        return "mask" in self.entry.predict.input or self.fills

    @property
    def fills(self) -> bool:
        """Whether what a mask marks is filled before the model begins; without a mask it must be so already."""
        return self._preparation.fills

    @property
    def scale(self) -> int:
        """How many times as wide and high as its input a restored picture is."""
        return self._preparation.scale

    @property
    def _preparation(self) -> Preparation:
        return preparation(self.entry.prepare)

    def check(self, *, masked: bool, scale: float | None = None) -> None:
        """Raise ``UsageError`` for a model that restores no picture, or whose need of a mask is not what there is.

        ``scale``: how many times the user wants pictures enlarged, None: as the model does.
        """
        name = self.entry.name
        if self.entry.task == GENERATE:
            raise UsageError(
                f"Model {name!r} draws new pictures; use restorer generate, or name the damage: --operator sr:4."
            )
        if masked and not self.takes_mask:
            raise UsageError(f"Model {name!r} takes no mask; leave out --mask, or use a model that takes one.")
        if "mask" in self.entry.predict.input and not masked:
            raise UsageError(f"Model {name!r} needs a mask, white where the picture is damaged: --mask FILE or FOLDER.")
        if scale not in (None, self.scale):
            own = f"enlarges {self.scale} times" if self.scale > 1 else "keeps the size of a picture (scale 1)"
            raise UsageError(f"Model {name!r} {own}, not {scale:g}; leave out --scale, or use another --model.")

    def generate(
        self,
        samples: int = 1,
        *,
        size: tuple[int, int] | None = None,
        steps: int | None = None,
        eta: float | None = None,
        seed: int = 0,
        times: str | None = None,
        sampler: str | None = None,
        batch_size: int = 8,
        alpha_schedule: str | None = None,
        beta_schedule: str | None = None,
        path: Sequence[tuple[float, float]] | None = None,
        label: int | None = None,
    ) -> Iterator[Tensor]:
        """New pictures, each float32 (1, 3, H, W), RGB in [0, 1], on the CPU; the i-th has the seed ``seed`` + i.

        ``size``: (width, height), by default what the model was trained on; ``path``: (shift, sigma) points to go by,
        from the start to (0, 0), for models that can; ``label``: the class, from 0, for models that know classes; the
        others are those of ``__call__``.
        Raises ``UsageError``, ``ImageError`` or ``DeviceError``.
        """
        from restorer.generate import checked_size, draw

        self.check_generates()
        if samples < 0 or batch_size < 1:
            raise UsageError(f"samples must be 0 or more and batch_size at least 1, not {samples} and {batch_size}.")
        settings = Settings(steps, eta, seed, times, None, sampler, alpha_schedule, beta_schedule, path, label)
        settings = self.settled(settings)
        width, height = checked_size(self, size, settings)
        for first in range(seed, seed + samples, batch_size):
            seeds = range(first, min(first + batch_size, seed + samples))
            for drawn in draw(self, seeds, settings, size=(width, height)):
                yield drawn.pixels

    def settled(self, settings: Settings) -> Settings:
        """The settings with the card's values filled in. Raises ``UsageError`` for one out of range."""
        return settle(settings, self.entry, self.denoiser)

    def recipe(self, settings: Settings) -> dict[str, Any]:
        """What makes the picture: enough to make it again."""
        settings = self.settled(settings)
        path = settings.path and [list(point) for point in settings.path]
        chosen = {"alpha_schedule": settings.alpha_schedule, "beta_schedule": settings.beta_schedule, "path": path}
        chosen["class"] = settings.label
        # What fits into memory is another thing on another day, and is in no recipe before the picture is made.
        chosen |= {"tile": settings.tiling.side, "overlap": settings.tiling.overlap}
        if self.entry.sample.begin == "picture":
            chosen["sigma"] = settings.sigma or "guessed"
        recipe = {
            "restorer": __version__,
            "torch": torch.__version__,
            "task": self.entry.task,
            "model": self.entry.name,
            **(self.found.origin._asdict() if self.found.origin else {}),
            "weights": self.found.sha256,
            "sampler": "rddm-path" if settings.path else settings.sampler,
            "steps": settings.steps,
            "eta": settings.eta,
            "times": settings.times,
            "seed": settings.seed,
            "dtype": dtype_name(self.denoiser.dtype),
            "prepare": self.entry.prepare,
        }
        # Only what was chosen, so that pictures without it are made as ever.
        return {name: value for name, value in (recipe | chosen).items() if value is not None}

    def check_generates(self) -> None:
        """Raises ``UsageError`` for a model that needs a picture to restore."""
        if self.entry.task != GENERATE:
            raise UsageError(
                f"Model {self.entry.name!r} is for {self.entry.task}, not for new pictures; use restorer restore."
            )

    def exact(self) -> Denoiser:
        """The model in full precision, for what half precision cannot hold; loaded when it is first needed."""
        self._exact = self._exact or load(self.found, self.device, torch.float32)
        return self._exact

    def restore(
        self,
        y: Tensor,
        settings: Settings,
        progress: Progress | None = None,
        mask: Tensor | None = None,
        watch: Watch | None = None,
    ) -> Tensor:
        """The clean picture of ``y``, both float32 (1, 3, H, W), RGB in [0, 1], on the CPU; ``mask`` is like ``y``.

        It is ``scale`` times as wide and high as ``y``. What a mask leaves unmarked is not pasted back. ``progress`` is
        called after every step, ``watch`` before the first too; neither changes a bit of the picture. Raises
        ``ImageError`` for a picture too small, a mask of another size, or when no finite picture comes out even in full
        precision; ``UsageError`` as ``settled`` and ``check`` do.
        """
        return self.make(y, settings, progress, mask, watch)[0].pixels

    def make(
        self,
        y: Tensor,
        settings: Settings,
        progress: Progress | None = None,
        mask: Tensor | None = None,
        watch: Watch | None = None,
    ) -> list[Made]:
        """As ``restore``, of pictures (N, 3, H, W) of one size at once, each of which comes out as it would alone.

        Where memory runs out the pictures are made again in smaller windows, and the remarks say so. A picture that
        comes out with values that are no numbers, or all of one colour, is made again in full precision.
        """
        self.check(masked=mask is not None)
        settings = self._checked(y, settings, mask)
        if len(y) > 1 and self.entry.sample.begin == "picture":  # each begins where its own noise says
            masks = [None] * len(y) if mask is None else mask.split(1)
            each = zip(y.split(1), masks, strict=True)
            return [made for one, marked in each for made in self.make(one, settings, progress, marked)]
        settings = self._with_sigma(y, settings)
        given = y
        # Upstream, too, a mask is three channels; they are equal there, because it is grey.
        mask = None if mask is None else mask.mean(dim=1, keepdim=True).expand_as(y)
        y = self._preparation.apply(y, mask)
        height, width = y.shape[-2:]
        # A mask that was only for filling is not for the net.
        mask = mask if "mask" in self.entry.predict.input else None
        mask = self._preparation.beside(y) if self._preparation.beside else mask
        padded, mask = (None if v is None else pad(v, self.entry.size.multiple) for v in (y, mask))
        inner = (..., slice(height), slice(width))
        finished = partial(self._preparation.finish, given, y)
        seen = watch and (lambda done, x, x0: watch(done, finished(x[inner]), finished(x0[inner])))

        def attempt(side: int | None) -> list[Made]:
            over = self._windows(padded, side, settings.tiling)
            since = Since(self.denoiser)

            def run(denoiser: Denoiser, some: slice) -> Tensor:
                marked = None if mask is None else mask[some]
                made = self._run(denoiser, padded[some], settings, over, progress, marked, seen)[inner]
                return self._preparation.finish(given[some], y[some], made)

            results = run(self.denoiser, slice(None)).split(1)
            how = {} if len(over.corners) == 1 else {"tile": side, "overlap": over.overlap}
            made = [
                self._made(one, given[i], how | since.how, lambda i=i: run(self.exact(), slice(i, i + 1)))
                for i, one in enumerate(results)
            ]
            return [replace(one, remarks=since.remarks + one.remarks) for one in made]

        if settings.tiling.side == 0 or self.denoiser.codec is not None:
            return attempt(None)
        size, multiple = padded.shape[-2:], self.entry.size.multiple
        side, tiling, untuned = self._fitting(size, settings.tiling)
        settings = replace(settings, tiling=tiling)
        made, _, remarks = within_memory(attempt, side, size, multiple)
        return [replace(one, remarks=(*untuned, *remarks, *one.remarks)) for one in made]

    def _checked(self, y: Tensor, settings: Settings, mask: Tensor | None) -> Settings:
        if settings.path is not None:
            raise UsageError("A path is for new pictures, see generate; a restoration goes by the model's times.")
        settings = self.settled(settings)
        height, width = y.shape[-2:]
        least = -(-self.entry.size.minimum // self.scale)
        if min(height, width) < least:
            name = self.entry.name
            raise ImageError(
                f"{width}x{height} pixels is too small; {name} needs {least} on each side. Use a larger copy."
            )
        if mask is not None and mask.shape[-2:] != y.shape[-2:]:
            size = f"{mask.shape[-1]}x{mask.shape[-2]}"
            raise ImageError(f"The mask is {size} pixels, the picture {width}x{height}; they must be of one size.")
        return settings

    def _fitting(self, size: tuple[int, int], tiling: Tiling) -> tuple[int | None, Tiling, tuple[str, ...]]:
        """Of the windows of a padded picture of (height, width): their side, None for the whole at once; and how many.

        What was tuned counts where nobody has chosen, and sentences are told of it.
        """
        multiple = self.entry.size.multiple
        if tiling.side is not None:
            least = max(self.entry.size.minimum, multiple)
            side = max(-(-tiling.side // multiple) * multiple, -(-least // multiple) * multiple)
            return side, tiling, ()
        found, remarks = recalled(self)
        side = auto_side(self.denoiser, size, multiple, self.device, found and found.side)
        if found and side and tiling.batch is None:
            tiling = replace(tiling, batch=fewer(self, found.batch, side))
        return side, tiling, remarks

    def _windows(self, padded: Tensor, side: int | None, tiling: Tiling) -> Windows:
        size, multiple = tuple(padded.shape[-2:]), self.entry.size.multiple
        return snug_windows(size, side, tiling.shared(side or max(size)), multiple)

    def _made(self, one: Tensor, given: Tensor, how: Mapping[str, Any], again: Callable[[], Tensor]) -> Made:
        """``one`` clamped, or what full precision makes instead. Raises ``ImageError`` when neither is a picture."""
        remarks: tuple[str, ...] = ()
        if _fault(one, given) and self.denoiser.dtype != torch.float32:
            # Half precision can overflow on a picture that full precision handles.
            remarks = (f"{dtype_name(self.denoiser.dtype)} gave {_fault(one, given)}; made again in fp32.",)
            one, how = again(), {**how, "retried": "fp32"}
        if fault := _fault(one, given):
            raise ImageError(f"{self.entry.name} gave {fault}; try other --steps or another model.")
        return Made(one.clamp(0, 1), how, remarks)

    def _with_sigma(self, y: Tensor, settings: Settings) -> Settings:
        """The settings with the picture's noise in them, if the model begins at it and was not told."""
        if self.entry.sample.begin != "picture" or settings.sigma is not None:
            return settings
        lo, hi = self.denoiser.bounds
        known = 255 / (hi - lo) * self.denoiser.schedule.sigma
        return replace(settings, sigma=min(max(estimate_sigma(y), float(known[1])), float(known[-1])))

    def _run(
        self,
        denoiser: Denoiser,
        y: Tensor,
        settings: Settings,
        over: Windows,
        progress: Progress | None,
        mask: Tensor | None,
        watch: Watch | None,
    ) -> Tensor:
        hidden = None
        denoiser = adjusted(denoiser, self.entry, settings)
        if denoiser.codec is not None:
            y, hidden = encoded(denoiser, y.to(self.device))
        lo, hi = denoiser.bounds

        def picture(v: Tensor) -> Tensor:
            v = (v - lo) / (hi - lo)
            return (v if hidden is None else decoded(denoiser, v, hidden)).cpu()

        x = y
        states = sample(denoiser, y, self.entry.sample, settings, self.device, mask=mask, over=over)
        for done, state in enumerate(states):
            x = state.x  # which need not end on the predicted x0: official Euler steps of IR-SDE do not
            if done and progress:
                progress(done, state)
            if watch:
                watch(done, picture(state.x), picture(state.x0))
        return picture(x)


def _fault(made: Tensor, given: Tensor) -> str | None:
    """What is wrong with a picture that a net gave, None if nothing."""
    if not made.isfinite().all():
        return "values that are no numbers"
    low, high = made.clamp(0, 1).aminmax()
    darkest, brightest = given.aminmax()
    return "one flat colour" if high - low < FLAT and brightest - darkest > 8 * FLAT else None
