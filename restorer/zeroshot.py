"""Restoration without training: a prior, and words that say what happened to the picture. [DDNM]

    pose(zero, picture, mask, ...)   ->  Problem      what was measured, and by which operator
    reconstruct(restorer, ...)       ->  the picture  the prior's guesses, held to the measurement at every step

The picture given is the measurement itself, or with ``simulate`` a clean one that is measured first.

[DDNM] Wang et al., Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from restorer import images
from restorer.diffusion.linear import LinearOperator, SpectralOperator, to
from restorer.diffusion.nullspace import NULLSPACE, travel_grid
from restorer.diffusion.operators import OPERATORS, parse_operator
from restorer.diffusion.predict import Denoiser, Prediction
from restorer.diffusion.samplers import GRIDS
from restorer.diffusion.steps import Predict, State
from restorer.entry import GENERATE, hash_file
from restorer.errors import ImageError, UsageError, unknown
from restorer.settings import Settings, adjusted
from restorer.shifting import shifted
from restorer.tiling import Windows, blended, windows

if TYPE_CHECKING:
    from restorer.restore import Progress, Restorer, Watch

METHODS = ("ddnm", "ddrm")
STEPS, TIMES, ETA = 20, "cubic", 1.0
"""Unless told otherwise: few steps, close together at the clean end, and all noise fresh.

What the prior adds is then nearer to the mean than to a draw, which is what PSNR rewards; measured in
models/ddpm-natural-tiny/README.md.
"""
OFFICIAL_ETA = 0.85
"""The share of fresh noise that DDNM's authors take."""
SHRINKING = ("sr", "sr-bicubic")
"""Words whose number says how many times smaller the measurement is."""
KERNELS = ("gauss", "uniform", "aniso", "motion")
"""Words of blur that are no file's name."""
UNPICTURED = ("cs", "cs-block")
"""Words whose measurement is no picture."""
OVERLAP = 4
"""Windows share a fourth of their side and a pixel more, unless told otherwise.

The pixel keeps their edges off the grid of a measurement's blocks, where a result has steps of its own.
"""
ROUNDS = 100
"""Bounds how often a picture is held to black and white and to its measurement at once."""
NEAR = 2e-5
"""So near to the measurement, in [0, 1], that is enough."""


@dataclass(frozen=True)
class ZeroShot:
    """What is known of the damage, and how it is used.

    ``operator``: words of ``diffusion.operators``, the first first, as "mask+gray+sr:2"; blur:FILE takes a kernel's
    picture. ``sigma``: noise of the measurement in 8-bit levels. ``method``: ddnm or ddrm. ``travel_length`` and
    ``travel_repeat``: every so many steps so many steps are walked again. ``windows``: "blend" for predictions blended
    on one canvas, "mask-shift" for one window after the other, each held to what is done. ``tile``: a window's side,
    0 for no windows, None for the side the prior was trained on; ``overlap``: pixels that neighbours share.
    ``simulate``: the picture is clean, and is measured first.

    Raises ``UsageError`` for words and numbers that cannot be.
    """

    operator: str
    sigma: float = 0.0
    method: str = "ddnm"
    travel_length: int = 1
    travel_repeat: int = 1
    windows: Literal["blend", "mask-shift"] = "blend"
    tile: int | None = None
    overlap: int | None = None
    simulate: bool = False
    kernels: Mapping[str, Tensor] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in OPERATORS:
                raise unknown("operator", name, list(OPERATORS))
        if self.method not in METHODS:
            raise unknown("method", self.method, list(METHODS))
        if self.travel_length < 1 or self.travel_repeat < 1:
            raise UsageError(
                "Time travel goes back 1 step or more and walks 1 time or more, not "
                f"{self.travel_length} and {self.travel_repeat}."
            )
        if not 0 <= self.sigma <= 255:
            raise UsageError(f"sigma must be from 0 to 255, in 8-bit levels, not {self.sigma}.")
        if set(self.names) == {"denoise"} and self.sigma == 0:
            raise UsageError("Denoising needs to be told how much noise there is: --sigma 25.")
        for name in UNPICTURED:
            if name in self.names and not self.simulate:
                raise UsageError(f"What {name} measures is no picture, so none can be given; add --simulate.")
        object.__setattr__(self, "kernels", {name: _kernel(name) for name in self._files})

    @property
    def words(self) -> tuple[str, ...]:
        """The operators, the first first."""
        return tuple(word.strip() for word in self.operator.split("+"))

    @property
    def names(self) -> tuple[str, ...]:
        """The operators without their numbers."""
        return tuple(word.partition(":")[0] for word in self.words)

    @property
    def scale(self) -> int:
        """How many times as wide and high as its measurement the picture is; 1 with ``simulate``, see ``_shrunk``."""
        return 1 if self.simulate else self._shrunk(len(self.words))

    @property
    def coloured(self) -> bool:
        """Whether a grey picture becomes one in colour."""
        return "gray" in self.names

    @property
    def masked(self) -> bool:
        """Whether it needs a mask."""
        return "mask" in self.names

    @property
    def _files(self) -> list[str]:
        blurs = [word.partition(":")[2] for word in self.words if word.startswith("blur:")]
        return [name for name in blurs if name.split(":")[0] not in KERNELS]

    def _shrunk(self, count: int) -> int:
        """How many times smaller the picture is after the first ``count`` words. Raises ``UsageError``."""
        return prod(_factor(word) for word in self.words[:count] if word.partition(":")[0] in SHRINKING)

    def recipe(self) -> dict[str, Any]:
        """What makes the picture, beside the model's own; only what is not as ever. A kernel is known by its sha256."""
        operator = self.operator
        defaults = ZeroShot("denoise", sigma=1)
        kept = ("travel_length", "travel_repeat", "windows", "tile", "overlap", "simulate")
        chosen = {name: getattr(self, name) for name in kept if getattr(self, name) != getattr(defaults, name)}
        for name in self._files:
            operator = operator.replace(name, Path(name).name)
            chosen["kernel"] = hash_file(Path(name))
        return {"operator": operator, "method": self.method, "sigma": self.sigma, **chosen}


def _factor(word: str) -> int:
    number = word.partition(":")[2]
    if not number.isdecimal() or int(number) < 1:
        raise UsageError(f"{word!r}: the factor is a whole number from 1 on, as in sr:4.")
    return int(number)


def _kernel(name: str) -> Tensor:
    """(h, w) float64, not yet of sum 1."""
    if not name or not Path(name).is_file():
        known = ", ".join(f"blur:{kind}" for kind in KERNELS)
        raise UsageError(f"blur:{name}: no such kernel file, nor one of {known}.")
    table = images.read(Path(name)).pixels[0].double().mean(0)
    if not table.sum() > 0:
        raise UsageError(f"blur:{name}: the kernel is all black, so it would leave nothing of a picture.")
    return table


# ------------------------------------------------------------------------------------------------ what was measured


class Problem(NamedTuple):
    """y = op.A(x) + noise of sigma_y, for pictures x of ``size`` (height, width), all in the net's range."""

    op: LinearOperator
    y: Tensor
    size: tuple[int, int]
    sigma_y: float


def pose(
    zero: ZeroShot, picture: Tensor, mask: Tensor | None, bounds: tuple[float, float], seed: int, where: Tensor
) -> Problem:
    """The problem of ``picture`` (1, 3, h, w) in [0, 1]; on the device of ``where``, float32.

    ``mask``: (1, 3, ...), of the picture's size or of the result's, white where nothing is known. Raises ``ImageError``
    or ``UsageError``.
    """
    lo, hi = bounds
    size = (zero.scale * picture.shape[-2], zero.scale * picture.shape[-1])
    keep = None if mask is None else 1 - _marked(zero, mask, size).to(torch.float64)
    op = to(_operator(zero, size, keep), where)
    sigma_y = (hi - lo) * zero.sigma / 255
    # A is linear, not affine: what it makes of the range's shift is taken along.
    ones = op.A(torch.ones(1, 3, *size).to(where))
    if zero.simulate:
        y = (hi - lo) * op.A(picture.to(where)) + lo * ones
        rng = torch.Generator().manual_seed(2**40 + seed)  # not the noise that the prior draws
        return Problem(op, y + sigma_y * torch.randn(y.shape, generator=rng).to(where), size, sigma_y)
    if zero.masked and not (((ones - 1).abs() < 1e-3) | (ones.abs() < 1e-3)).all():
        raise UsageError(f"{zero.operator!r}: what is masked must not be mixed with the rest; put mask behind it.")
    seen = _grey(zero, picture).to(where) if zero.coloured else picture.to(where)
    y = (hi - lo) * seen * (ones if zero.masked else 1) + lo * ones
    return Problem(op, y, size, sigma_y)


def consistency(problem: Problem, x: Tensor, bounds: tuple[float, float]) -> float:
    """Root mean square of A x - y in 8-bit levels; x: (1, 3, H, W) in [0, 1]."""
    lo, hi = bounds
    off = problem.op.A((lo + (hi - lo) * x).to(problem.y)) - problem.y
    return 255 / (hi - lo) * float(off.square().mean().sqrt())


def _operator(zero: ZeroShot, size: tuple[int, int], keep: Tensor | None) -> LinearOperator:
    height, width = size
    for i, (word, name) in enumerate(zip(zero.words, zero.names, strict=True)):
        factor = zero._shrunk(i + 1)
        if name in SHRINKING and (height % factor or width % factor):
            whole = f"{width - width % factor}x{height - height % factor}"
            raise ImageError(f"{width}x{height} pixels: {word} does not divide them; cut the picture to {whole}.")
    try:
        return parse_operator(zero.operator, size, keep=keep, kernels=zero.kernels)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _grey(zero: ZeroShot, picture: Tensor) -> Tensor:
    """(1, 1, h, w): the grey that the operator means."""
    return parse_operator(zero.words[zero.names.index("gray")], (1, 1)).A(picture.double()).float()


def _marked(zero: ZeroShot, mask: Tensor, size: tuple[int, int]) -> Tensor:
    """(H, W), 1 where nothing is known, of the size that the picture has where the word mask stands."""
    marked = (mask.mean(dim=1, keepdim=True) > 0.5).float()
    wanted = zero._shrunk(zero.names.index("mask"))
    if not zero.simulate and marked.shape[-1] == size[1] and zero.scale > 1:
        # A pixel of the measurement is either known or not.
        marked = F.max_pool2d(marked, zero.scale, ceil_mode=True)
    factor = size[1] // marked.shape[-1]
    if wanted > factor:
        marked, factor = F.max_pool2d(marked, wanted // factor, ceil_mode=True), wanted
    repeat = factor // wanted
    return marked.repeat_interleave(repeat, -1).repeat_interleave(repeat, -2)[0, 0]


# ------------------------------------------------------------------------------------------------ what is made of it


def check(restorer: Restorer, settings: Settings, zero: ZeroShot, *, masked: bool) -> Settings:
    """The settings with everything filled in but the sampler that the operator decides.

    Raises ``UsageError`` for a model that is no prior, a mask too much or too few, and what the sampler refuses.
    """
    entry = restorer.entry
    if entry.task != GENERATE or entry.predict.input != ("x",):
        raise UsageError(
            f"Model {entry.name!r} is for {entry.task}; an operator needs a prior, a model that draws new pictures. "
            "Leave out --model to use the one that comes with restorer."
        )
    if zero.masked and not masked:
        raise UsageError(f"{zero.operator!r} needs a mask, white where the picture is not known: --mask FILE.")
    if masked and not zero.masked:
        raise UsageError(f"{zero.operator!r} has no use for a mask; leave out --mask, or write {zero.operator}+mask.")
    for name in ("alpha_schedule", "beta_schedule", "path"):
        if getattr(settings, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is not for zero-shot restoration; leave it out.")
    if settings.sampler is not None and settings.sampler not in NULLSPACE:
        raise unknown("sampler for zero-shot restoration", settings.sampler, list(NULLSPACE))
    eta = _eta(settings)
    steps = min(STEPS, restorer.denoiser.schedule.T) if settings.steps is None else settings.steps
    chosen = replace(settings, sampler=None, eta=eta, steps=steps, times=settings.times or TIMES)
    plain = restorer.settled(chosen)
    settled = replace(plain, sampler=settings.sampler, eta=eta)
    schedule = restorer.denoiser.schedule
    name = settings.sampler or ("ddrm" if zero.method == "ddrm" else "ddnm-plus" if zero.sigma else "ddnm")
    try:
        NULLSPACE[name](None, schedule, None, None, None, [schedule.T, 0], sigma_y=zero.sigma, eta=eta)
        _windows(restorer, settings, zero, (1, 1))
    except ValueError as error:
        raise UsageError(str(error)) from error
    return settled


def _eta(settings: Settings) -> float:
    """What was given, else ours, or with the official paths theirs."""
    if settings.eta is not None:
        return settings.eta
    return OFFICIAL_ETA if (settings.sampler or "").startswith("ddnm-official") else ETA


def calls(settings: Settings, zero: ZeroShot, T: int) -> int:
    """How often the net is asked about a picture of one window, with settled settings."""
    times = _times(settings, zero, T)
    return sum(s < t for t, s in pairwise(times))


def _times(settings: Settings, zero: ZeroShot, T: int) -> list[int]:
    return travel_grid(GRIDS[settings.times](T, settings.steps), zero.travel_length, zero.travel_repeat)


def _guided(restorer: Restorer, settings: Settings) -> int | None:
    """The side of the only pictures that the classifier knows, where one guides."""
    guide = restorer.denoiser.guide
    return guide.net.size if guide and restorer.entry.label(settings.label) is not None else None


def _windows(restorer: Restorer, settings: Settings, zero: ZeroShot, size: tuple[int, int]) -> Windows:
    rule, guided = restorer.entry.size, _guided(restorer, settings)
    if guided and zero.tile not in (None, guided):
        raise ValueError(
            f"The classifier that guides {restorer.entry.name} knows windows of {guided} pixels only; leave out --tile."
        )
    side = side_of(restorer, settings, zero)
    if side is None:
        return windows(size, None, 0)
    overlap = zero.overlap if zero.overlap is not None else side // OVERLAP + 1
    return windows(size, side, overlap, rule.multiple)


def side_of(restorer: Restorer, settings: Settings, zero: ZeroShot) -> int | None:
    """The side of the windows; None: a picture is computed whole."""
    own = _guided(restorer, settings) or restorer.entry.size.trained
    return (own if zero.tile is None else zero.tile) or None


def _over(restorer: Restorer, settings: Settings, zero: ZeroShot, size: tuple[int, int]) -> Windows:
    """The windows of a picture of (height, width), made larger until the net takes it."""
    multiple = restorer.entry.size.multiple
    height, width = (side + -side % multiple for side in size)
    return _windows(restorer, settings, zero, (height, width))


def recipe(restorer: Restorer, settings: Settings, zero: ZeroShot) -> dict[str, Any]:
    """What makes the picture; settled settings."""
    own = restorer.recipe(replace(settings, sampler=None))
    return own | {"task": "restore", "sampler": settings.sampler or zero.method} | zero.recipe()


def reconstruct(
    restorer: Restorer,
    picture: Tensor,
    settings: Settings,
    zero: ZeroShot,
    progress: Progress | None = None,
    mask: Tensor | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """The picture behind a measurement; both float32 (1, 3, H, W), RGB in [0, 1], on the CPU.

    Where the measurement has no noise it is met, as nearly as pixels between black and white can. ``progress`` and
    ``watch``: see ``Restorer.restore``. Raises ``ImageError`` and ``UsageError``.
    """
    settings = check(restorer, settings, zero, masked=mask is not None)
    return solve(restorer, _posed(restorer, picture, settings, zero, mask), settings, zero, progress, watch)


def solve(
    restorer: Restorer,
    problem: Problem,
    settings: Settings,
    zero: ZeroShot,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """As ``reconstruct``, of a problem that was posed, with settings that were checked."""
    denoiser = restorer.denoiser
    x0 = _run(restorer, denoiser, problem, settings, zero, progress, watch)
    if not x0.isfinite().all() and denoiser.dtype != torch.float32:
        x0 = _run(restorer, restorer.exact(), problem, settings, zero, None, watch)
    if not x0.isfinite().all():
        raise ImageError(f"{restorer.entry.name} gave values that are no numbers; try other --steps or another model.")
    lo, hi = denoiser.bounds
    x0 = x0.clamp(lo, hi) if problem.sigma_y else _met(problem, x0, denoiser.bounds)
    return ((x0 - lo) / (hi - lo)).clamp(0, 1).cpu()


def measure(
    restorer: Restorer, picture: Tensor, settings: Settings, zero: ZeroShot, mask: Tensor | None, restored: Tensor
) -> dict[str, float]:
    """How near ``restored`` is to what was measured."""
    problem = _posed(restorer, picture, settings, zero, mask)
    return {"consistency": consistency(problem, restored, restorer.denoiser.bounds)}


def _posed(restorer: Restorer, picture: Tensor, settings: Settings, zero: ZeroShot, mask: Tensor | None) -> Problem:
    where = torch.zeros((), device=restorer.device)
    problem = pose(zero, picture, mask, restorer.denoiser.bounds, settings.seed, where)
    # A classifier knows one size of picture, and a canvas is not made larger for it.
    least = max(restorer.entry.size.minimum, _guided(restorer, settings) or 0)
    if min(problem.size) < least:
        height, width = problem.size
        raise ImageError(f"{width}x{height} pixels is too small; {restorer.entry.name} needs {least} on each side.")
    return problem


@torch.inference_mode()
def _met(problem: Problem, x0: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Both in the range and true to y, or as nearly as can be.

    Projections onto one and the other in turn get there slowly where two channels of three are cut off; with momentum,
    and without it again as soon as it leads astray, in some dozens of rounds. [Beck & Teboulle 2009; O'Donoghue &
    Candès 2015]
    """
    op, y, _, _ = problem
    near = NEAR * (bounds[1] - bounds[0])
    x = ahead = x0.clamp(*bounds)
    pace = 1.0
    for _ in range(ROUNDS):
        if (op.A(x) - y).abs().max() <= near:
            break
        moved = (ahead - op.pinv(op.A(ahead) - y)).clamp(*bounds)
        if ((ahead - moved) * (moved - x)).sum() > 0:
            pace = 1.0
        faster = (1 + (1 + 4 * pace**2) ** 0.5) / 2
        ahead = moved + (pace - 1) / faster * (moved - x)
        x, pace = moved, faster
    return x


def _run(
    restorer: Restorer,
    denoiser: Denoiser,
    problem: Problem,
    settings: Settings,
    zero: ZeroShot,
    progress: Progress | None,
    watch: Watch | None,
) -> Tensor:
    denoiser = adjusted(denoiser, restorer.entry, replace(settings, sampler=restorer.entry.sample.sampler))
    lo, hi = denoiser.bounds
    x = problem.y
    # One window after the other has more states than are counted; every so many are told.
    each = len(_over(restorer, settings, zero, problem.size).corners) if zero.windows == "mask-shift" else 1
    for done, state in enumerate(_states(restorer, denoiser, problem, settings, zero)):
        x = state.x
        if done % each:
            continue
        if done and progress:
            progress(done // each, state)
        if watch:
            watch(done // each, *(((v - lo) / (hi - lo)).cpu() for v in (state.x, state.x0)))
    return x


@torch.inference_mode()
def _states(
    restorer: Restorer, denoiser: Denoiser, problem: Problem, settings: Settings, zero: ZeroShot
) -> Iterator[State]:
    """x_T beside pinv(y), then the states on the way."""
    schedule, multiple = denoiser.schedule, restorer.entry.size.multiple
    times = _times(settings, zero, schedule.T)
    # Drawn on the CPU for the whole canvas: the same seed is the same noise on every device.
    rng = torch.Generator().manual_seed(settings.seed)

    def randn_like(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=rng).to(x.device)

    def predict(x: Tensor, t: int) -> Prediction:
        return denoiser(x, t, torch.zeros_like(x))

    def framed(x: Tensor, t: int, inner: Predict = predict) -> Prediction:
        height, width = x.shape[-2:]
        whole = F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        return Prediction(*(v[..., :height, :width] for v in inner(whole, t)))

    over = _over(restorer, settings, zero, problem.size)
    whole = partial(framed, inner=blended(predict, over))
    x = float(schedule.sigma[times[0]]) * randn_like(torch.empty(1, 3, *problem.size)).to(problem.y.device)
    yield State(times[0], x, problem.op.pinv(problem.y))
    sampler = NULLSPACE[_sampler(problem, settings, zero)]
    words = {"sigma_y": problem.sigma_y, "eta": settings.eta, "randn_like": randn_like}
    try:
        if zero.windows == "mask-shift" and len(over.corners) > 1:
            yield from shifted(framed, schedule, problem.op, problem.y, x, times, over=over, **words)
        else:
            yield from sampler(whole, schedule, problem.op, problem.y, x, times, **words)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _sampler(problem: Problem, settings: Settings, zero: ZeroShot) -> str:
    """The name in NULLSPACE of what the operator allows. Raises ``UsageError`` for a method that it does not."""
    spectral = isinstance(problem.op, SpectralOperator)
    name = settings.sampler
    if name is None and zero.method == "ddnm":
        name = "ddnm" if not problem.sigma_y else "ddnm-plus" if spectral else "ddnm-plus-scalar"
    name = name or zero.method
    needs = name in ("ddnm-plus", "ddrm") or (problem.sigma_y and name in ("ddnm-posterior", "ddnm-official"))
    if needs and not spectral:
        raise UsageError(
            f"{zero.operator!r} has no known singular values, which {name} needs; use --method ddnm without --sampler."
        )
    return name
