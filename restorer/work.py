"""What is done to each of many pictures, as a value: so ``restore`` and ``degrade`` share all the rest.

restoring(restorer, settings, ...)    Work of a model
degrading(recipe, strength, seed)     Work that damages
"""

from __future__ import annotations

import hashlib
import math
import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from restorer import __version__
from restorer.compiling import Since, plain
from restorer.device import dtype_name
from restorer.memory import PROBE, window_bytes, within_memory
from restorer.prepare import preparation
from restorer.restore import Made, Restorer
from restorer.settings import Settings, states
from restorer.tuned import recalled

if TYPE_CHECKING:
    from restorer.degrade import Damage
    from restorer.zeroshot import ZeroShot

USUAL = 0.5
"""The strength of damage, unless another is asked for."""

UNMASKED = "no --mask was given, so its holes are taken to be painted already, as the model wants them."
"""What is told of a picture whose model fills what a mask marks."""

Told = Callable[[int], None]
"""Called with the steps that are done; from 1 again when a picture is begun anew."""


@dataclass(frozen=True)
class Cost:
    """What computing takes: seconds a pixel of the result, all its steps together; bytes a pixel of a window.

    ``side``: where pictures are computed at that many pixels on the short side at most. ``window``: pixels that go
    through the net at once at most, None for those of any model.
    """

    seconds: float
    window_bytes: float
    side: int | None = None
    window: int | None = None

    def computed(self, width: int, height: int) -> float:
        """The pixels that are computed of a result of that size."""
        return width * height * min(1.0, (self.side or math.inf) / min(width, height)) ** 2


@dataclass(frozen=True)
class Work:
    """What is done to pictures: ``apply(pixels, told)`` does it, ``recipe`` says it, ``steps`` counts it.

    ``pixels`` are (N, 3, H, W), at most ``batch`` pictures of one size; of each comes a ``Made``. ``apply`` may also be
    given (pixels, told, mask or None, watch or None, sample), where the i-th sample has the seed of the recipe + i; a
    watch is called as `restorer.restore.Watch` says, and sees one picture alone.

    ``scale``: how many times as wide and high it makes a picture. ``warnings``: sentences that hold for every picture.
    ``measure``: (pixels, mask or None, result) -> scores that need no ground truth. ``simulated``: the picture is its
    own ground truth. ``coloured``: a grey picture becomes one in colour. ``cost`` measures what it will take.
    """

    apply: Callable[..., list[Made]]
    recipe: Mapping[str, Any]
    steps: int = 1
    device: str = "cpu"
    dtype: str = "fp32"
    scale: int = 1
    batch: int = 1
    warnings: tuple[str, ...] = ()
    measure: Callable[[Tensor, Tensor | None, Tensor], Mapping[str, float]] | None = None
    simulated: bool = False
    coloured: bool = False
    cost: Callable[[], Cost] | None = None


def restoring(
    restorer: Restorer,
    settings: Settings,
    *,
    masked: bool = False,
    scale: float | None = None,
    zero: ZeroShot | None = None,
) -> Work:
    """The work of ``restore``; seed -1 draws one for the whole run. ``masked``: each picture comes with a mask.

    ``scale``: how many times pictures are wanted enlarged, None: as the model does. ``zero``: what is known of the
    damage, for a prior. Raises ``UsageError`` for settings out of range, or when the model's scale or its need of a
    mask is another.
    """
    seed = secrets.randbelow(2**32) if settings.seed == -1 else settings.seed
    settings = replace(settings, seed=seed)
    common = {"device": str(restorer.device), "dtype": dtype_name(restorer.denoiser.dtype)}
    if zero is not None:
        return Work(**common, **_reconstructing(restorer, settings, zero, masked))
    restorer.check(masked=masked, scale=scale)
    settings = restorer.settled(settings)

    def apply(y: Tensor, told: Told, mask: Tensor | None = None, watch: Any = None, sample: int = 0) -> list[Made]:
        drawn = replace(settings, seed=settings.seed + sample)
        return restorer.make(y, drawn, lambda done, state: told(done), mask, watch)

    return Work(
        apply=apply,
        recipe=restorer.recipe(settings),
        steps=states(settings),
        scale=restorer.scale,
        batch=settings.tiling.together,
        warnings=(UNMASKED,) if restorer.fills and not masked else (),
        cost=lambda: _cost(restorer, states(settings), _window(restorer, settings)),
        **common,
    )


def _reconstructing(restorer: Restorer, settings: Settings, zero: ZeroShot, masked: bool) -> dict[str, Any]:
    from restorer import zeroshot  # here, as models that are told nothing of the damage have no need of it

    settings = zeroshot.check(restorer, settings, zero, masked=masked)
    multiple = restorer.entry.size.multiple
    calls = zeroshot.calls(settings, zero, restorer.denoiser.schedule.T)

    def apply(y: Tensor, told: Told, mask: Tensor | None = None, watch: Any = None, sample: int = 0) -> list[Made]:
        drawn = replace(settings, seed=settings.seed + sample)

        def attempt(side: int | None) -> Tensor:
            cut = replace(zero, tile=side or 0)
            return zeroshot.reconstruct(restorer, y, drawn, cut, lambda done, state: told(done), mask, watch)

        size = (zero.scale * y.shape[-2], zero.scale * y.shape[-1])
        first = zeroshot.side_of(restorer, settings, zero)
        since = Since(restorer.denoiser)
        pixels, side, remarks = within_memory(attempt, first, size, multiple)
        how = {} if side == first else {"tile": side}
        return [Made(pixels, how | since.how, remarks + since.remarks)]

    return {
        "apply": apply,
        "recipe": zeroshot.recipe(restorer, settings, zero),
        "steps": calls,
        "scale": zero.scale,
        "measure": lambda y, mask, x: zeroshot.measure(restorer, y, settings, zero, mask, x),
        "simulated": zero.simulate,
        "coloured": zero.coloured,
        "cost": lambda: _cost(restorer, calls),
    }


def _cost(restorer: Restorer, calls: int, window: int | None = None) -> Cost:
    """Measured on one small window, the second time that the net sees it, without compiling it."""
    denoiser, multiple = plain(restorer.denoiser), restorer.entry.size.multiple
    wanted = window_bytes(denoiser, multiple, restorer.device)
    side = -(-2 * PROBE // multiple) * multiple
    blank = torch.zeros(1, 3, side, side, device=restorer.device).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        denoiser(blank, denoiser.schedule.T, blank, blank)
        started = perf_counter()
        float(denoiser(blank, denoiser.schedule.T, blank, blank).x0.sum())  # which waits for the device
        seconds = calls * (perf_counter() - started)
        prepared = preparation(restorer.entry.prepare)
        if prepared.beside:
            started = perf_counter()
            prepared.beside(blank.cpu())
            seconds += perf_counter() - started
    return Cost(seconds / side**2, wanted, prepared.side, window)


def _window(restorer: Restorer, settings: Settings) -> int | None:
    """The pixels of the windows that were tuned, where nobody has chosen."""
    found, _ = recalled(restorer)
    return found.side**2 * found.batch if found and settings.tiling.side is None else None


def degrading(recipe: str | Sequence[Mapping[str, Any]], strength: float | None, seed: int) -> Work:
    """The work of ``degrade``; seed -1 draws one for the whole run.

    ``recipe``: words, the name of a TOML file, or its tables, of which one is drawn for each picture. ``strength``:
    None is 0.5, or what the tables say. Raises ``UsageError`` for an unknown recipe, ``InputError`` for a missing file.
    """
    from restorer.degrade import damages, is_file, parse_recipe

    seed = secrets.randbelow(2**32) if seed == -1 else seed
    made = {"restorer": __version__, "degrade": recipe, "seed": seed}
    if not isinstance(recipe, str) or is_file(recipe):
        return _one_of_several(damages(recipe), strength, made)
    parse_recipe(recipe)
    strength = USUAL if strength is None else strength

    def apply(x: Tensor, told: Told, mask: Tensor | None = None, watch: Any = None, sample: int = 0) -> list[Made]:
        return [Made(_damaged(x, recipe, strength, seed + sample))]

    return Work(apply, {**made, "strength": strength})


def _one_of_several(kinds: Sequence[Damage], strength: float | None, made: Mapping[str, Any]) -> Work:
    from restorer.degrade import drawn, tables

    def apply(x: Tensor, told: Told, mask: Tensor | None = None, watch: Any = None, sample: int = 0) -> list[Made]:
        seed = made["seed"] + sample
        # Of the seed alone the draw would be the same for all pictures.
        pixels = hashlib.sha256(x.contiguous().numpy().tobytes()).hexdigest()
        kind, own = drawn(kinds, random.Random(f"{seed}/{pixels}"))
        own = own if strength is None else strength
        return [Made(_damaged(x, kind.recipe, own, seed), {"drawn": {"recipe": kind.recipe, "strength": own}})]

    asked = {} if strength is None else {"strength": strength}
    return Work(apply, {**made, "degrade": tables(kinds), **asked})


def _damaged(x: Tensor, recipe: str, strength: float, seed: int) -> Tensor:
    from restorer.degrade import degrade

    # Noise goes beyond black and white, which files do not.
    return degrade(x, recipe, strength=strength, rng=torch.Generator().manual_seed(seed)).clamp(0, 1)
