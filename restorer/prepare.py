"""What is done to a picture before it is restored, where a model was trained on pictures made so.

A card says it in a word, most with a number behind a colon:

    equalize            its histograms are stretched
    enlarge-nearest:4   4 times as wide and high, every pixel a square of its colour
    enlarge-bicubic:4   4 times as wide and high, by cubic interpolation
    fill:1              what the mask marks becomes white; fill:0.5, mid-grey
    deconvolve          what blur hides is looked for, and the net shown the picture without it, beside it as it is
    shrink:256          restored at 256 pixels on the short side, where that is smaller; its own pixels get the change

[RDDM] Liu et al., CVPR 2024.   [IR-SDE] Luo et al., ICML 2023.   [GOUB] Yue et al., ICML 2024.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from restorer.errors import UsageError, unknown

LARGEST = 16
"""The most times as wide and high that a card may ask for; official models go to 4."""
SMALLEST = 32
"""Pixels on the short side to which a card may shrink pictures at most."""


@dataclass(frozen=True)
class Preparation:
    """What a card's ``prepare`` means.

    ``apply``: (y, mask or None) -> what is restored, all (1, 3, H, W), RGB in [0, 1]; cubic interpolation alone goes
    beyond that beside edges. ``told``: the same for readers. ``scale``: how many times as wide and high the picture
    becomes. ``fills``: it is a mask that says where. ``finish``: (y as given, what was restored, what came of it) ->
    the picture; ``side``: the most pixels on the short side of what is restored. ``beside``: of what is restored, what
    the net is shown beside it, (N, 12, H, W) in [0, 1]: what DECONVOLVED names among a card's inputs.
    """

    apply: Callable[[Tensor, Tensor | None], Tensor]
    told: str = ""
    scale: int = 1
    fills: bool = False
    finish: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda given, prepared, made: made
    side: int | None = None
    beside: Callable[[Tensor], Tensor] | None = None


def preparation(word: str | None) -> Preparation:
    """What a card's ``prepare`` means; None: nothing is done. Raises ``UsageError`` for a word that is none."""
    if word is None:
        return Preparation(lambda y, mask: y)
    name, _, number = word.partition(":")
    if name not in PREPARATIONS:
        raise unknown("prepare", name, list(PREPARATIONS))
    return PREPARATIONS[name](word, number)


def _equalizing(word: str, number: str) -> Preparation:
    if word != "equalize":
        raise UsageError(f"prepare: equalize takes no number; write equalize, not {word!r}.")
    return Preparation(lambda y, mask: equalize(y), "the histogram of each channel is equalised")


def _deconvolving(word: str, number: str) -> Preparation:
    if word != "deconvolve":
        raise UsageError(f"prepare: deconvolve takes no number; write deconvolve, not {word!r}.")
    return Preparation(lambda y, mask: y, "the net is shown it without the blur found in it too", beside=_deconvolved)


def _deconvolved(y: Tensor) -> Tensor:
    from restorer.deconvolution import deconvolved  # for models that ask for it

    return deconvolved(y)


def _enlarging(mode: Literal["nearest", "bicubic"], told: str, word: str, number: str) -> Preparation:
    if not (number.isascii() and number.isdecimal() and 2 <= int(number) <= LARGEST):
        raise UsageError(
            f"prepare: {word!r} does not say how many times to enlarge; write enlarge-{mode}:4, a whole number from 2 "
            f"to {LARGEST}."
        )
    scale = int(number)
    return Preparation(lambda y, mask: enlarge(y, scale, mode), f"it is enlarged {scale} times by {told}", scale)


def _filling(word: str, number: str) -> Preparation:
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"prepare: {word!r} does not say how bright; write fill:1, from 0 (black) to 1 (white).")
    told = f"what a mask marks is filled with {value:g}, where 0 is black and 1 white"
    return Preparation(lambda y, mask: y if mask is None else fill(y, mask, value), told, fills=True)


def _shrinking(word: str, number: str) -> Preparation:
    if not (number.isascii() and number.isdecimal() and int(number) >= SMALLEST):
        raise UsageError(
            f"prepare: {word!r} does not say how small; write shrink:256, a whole number from {SMALLEST} up."
        )
    side = int(number)
    told = f"it is restored at {side} pixels on the short side, and the change is enlarged"
    return Preparation(lambda y, mask: shrink(y, side), told, finish=enlarged_change, side=side)


def shrink(y: Tensor, side: int) -> Tensor:
    """``y`` (N, C, H, W), not larger than ``side`` on its short side; smoothed first, as fewer pixels can hold less."""
    height, width = y.shape[-2:]
    ratio = side / min(height, width)
    if ratio >= 1:
        return y
    size = max(1, round(ratio * height)), max(1, round(ratio * width))
    return interpolate(y, size=size, mode="bilinear", antialias=True)


def enlarged_change(given: Tensor, prepared: Tensor, made: Tensor) -> Tensor:
    """``given`` and what was added to it at a smaller size: right for what varies slowly, as light and colour do."""
    if prepared.shape == given.shape:
        return made
    return given + interpolate(made - prepared, size=given.shape[-2:], mode="bilinear")


def enlarge(y: Tensor, scale: int, mode: Literal["nearest", "bicubic"]) -> Tensor:
    """``y`` (N, C, H, W) to (N, C, scale H, scale W): what nets for super-resolution are shown.

    Neither smooths anything first, and what bicubic interpolation makes of edges goes beyond [0, 1], as in the official
    code of [IR-SDE] and [GOUB].
    """
    options = {"align_corners": False} if mode == "bicubic" else {}
    return interpolate(y, scale_factor=scale, mode=mode, **options)


def fill(y: Tensor, mask: Tensor, value: float) -> Tensor:
    """``y`` with ``value`` where ``mask`` is 1, (N, C, H, W) both; between 0 and 1 a mix, as official formulas have it.

    Official masks of [IR-SDE] and [GOUB] are 1 where the picture is kept; ours where it is not.
    """
    return y * (1 - mask) + value * mask


def equalize(y: Tensor) -> Tensor:
    """Stretch the 8-bit histogram of each channel of ``y`` (N, C, H, W), RGB in [0, 1], to be as even as it can be.

    OpenCV's ``equalizeHist`` of each channel, to the bit: with n pixels, f of them of the darkest level there is, and c
    of that level or darker, a level becomes (c - f) * 255 / (n - f), in float32, rounded half to even. A channel of
    one level stays. Deeper pictures are rounded to 8 bits. What official RDDM does to low-light pictures.
    """
    levels = (y.clamp(0, 1) * 255).round().to(torch.uint8)
    made = [_equalized(channel) for channel in levels.flatten(0, 1)]
    return torch.stack(made).view_as(y).float() / 255


def _equalized(channel: Tensor) -> Tensor:
    counts = torch.bincount(channel.flatten(), minlength=256)
    darkest = int(counts.nonzero()[0])
    rest = channel.numel() - int(counts[darkest])
    if rest == 0:
        return channel
    brighter = (counts.cumsum(0) - counts[darkest]).clamp(min=0)
    table = brighter.float() * (torch.tensor(255.0) / rest)
    return table.round().clamp(0, 255).to(torch.uint8)[channel.long()]


PREPARATIONS: dict[str, Callable[[str, str], Preparation]] = {
    "deconvolve": _deconvolving,
    "equalize": _equalizing,
    "enlarge-nearest": partial(_enlarging, "nearest", "nearest neighbour"),
    "enlarge-bicubic": partial(_enlarging, "bicubic", "bicubic interpolation"),
    "fill": _filling,
    "shrink": _shrinking,
}
"""The name in a card's ``prepare`` -> what it means, made of (the whole word, what stands behind its colon)."""
