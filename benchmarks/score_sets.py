"""Which sets of pictures fit which task, and their pairs of clean and damaged pictures; for scores.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from restorer.degrade import degrade
from restorer.degrade.lowres import reduced
from restorer.entry import GENERATE, Entry, enlargement
from restorer.images import format_of, read
from restorer.metrics import psnr, ssim
from restorer.prepare import enlarge
from restorer.protocols import PLAIN, measure

CLEAN_SETS = ("Kodak24", "McMaster", "Set14", "Set5", "CBSD68_every5th")
"""Folders of eval_clean whose pictures are damaged here, picture i of a set with seed i."""
USUAL = 0.5
"""The strength of damage, where a test names none."""
SIDE = 256
"""Of the centres that a prior is shown, which takes its time."""


@dataclass(frozen=True)
class Test:
    """What a model of a task is tried on: clean pictures damaged by ``recipe``, or the ``pairs`` of a folder.

    ``sigma``: the noise that the model is told, in 8-bit levels; the picture is then neither cut off nor rounded, as
    the field does. ``scale``: the input is so many times smaller, and its own score is that of its bicubic enlargement.
    ``bare``: the model does not enlarge, for the input is enlarged already. ``shift``: the target may be off by so many
    pixels, and the best place counts. ``marked``: only what the mask of the pair marks is measured, the rest is black,
    as RDDM measures shadows. ``holes``: what the recipe makes black is what a mask marks.
    """

    name: str
    recipe: str | None = None
    pairs: str | None = None
    sigma: float | None = None
    scale: int = 1
    bare: bool = False
    shift: int = 0
    marked: bool = False
    holes: bool = False


class Pair(NamedTuple):
    """Tensors (1, 3, H, W) in [0, 1], and the mask that belongs to them."""

    name: str
    clean: Tensor
    damaged: Tensor
    mask: Tensor | None = None


class Score(NamedTuple):
    """PSNR in dB and SSIM, over RGB of 8-bit pictures."""

    psnr: float
    ssim: float


def served(entry: Entry) -> Iterator[tuple[str, Entry]]:
    """(task, its card) of all that a model does; what a prior does is what it can be told of."""
    if entry.task == GENERATE:
        yield from ((task, entry) for task in PRIOR)
    elif not entry.serves:
        yield entry.task, entry
    else:
        yield from ((duty.task, entry.serving(duty.task, float(duty.scale))) for duty in entry.serves)


def fitting(task: str, entry: Entry) -> tuple[Test, ...]:
    """The tests that a model can be put to."""
    if entry.task == GENERATE:
        return PRIOR[task]
    scale, told = enlargement(entry.prepare), entry.sample.begin == "picture"
    return tuple(
        test
        for test in FITTING.get(task, ())
        if (told or test.sigma is None) and (test.scale == scale or (test.bare and scale > 1))
    )


def sets_of(test: Test, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``wanted`` that the test is made on."""
    return tuple(name for name in ((test.pairs,) if test.pairs else CLEAN_SETS) if name in wanted)


def files_of(data: Path, test: Test, name: str) -> list[Path]:
    """The pictures of a set; none where the folder is not there."""
    folder = data / "eval_pairs" / name / "input" if test.pairs else data / "eval_clean" / name
    return sorted(file for file in folder.iterdir() if format_of(file)) if folder.is_dir() else []


def pair_of(file: Path, test: Test, seed: int) -> Pair:
    """A picture and its damaged form. Raises ``ImageError``."""
    if test.pairs is None:
        return made(file.name, read(file).pixels, test, seed)
    root = file.parents[1]
    mask = read(root / "mask" / file.name).pixels.mean(dim=1, keepdim=True) if test.marked else None
    return Pair(file.name, read(root / "target" / file.name).pixels, read(file).pixels, mask)


def made(name: str, clean: Tensor, test: Test, seed: int) -> Pair:
    """A clean picture, and what the test makes of it."""
    if test.scale > 1:
        height, width = (side - side % test.scale for side in clean.shape[-2:])
        clean = clean[..., :height, :width]
        return Pair(name, clean, levels(reduced(clean, test.scale)))
    damaged = _damaged(clean, test, seed)
    mask = 1 - _damaged(torch.ones_like(clean), test, seed) if test.holes else None
    return Pair(name, clean, damaged if test.sigma is not None else levels(damaged), mask)


def centre(picture: Tensor) -> Tensor:
    """At most SIDE x SIDE pixels of it."""
    top, left = (max(0, (side - SIDE) // 2) for side in picture.shape[-2:])
    return picture[..., top : top + SIDE, left : left + SIDE]


def score(picture: Tensor, pair: Pair, test: Test) -> Score:
    """How near a restored picture, or the input, is to the clean one."""
    if picture.shape[-1] * test.scale == pair.clean.shape[-1] and test.scale > 1:
        picture = enlarge(picture, test.scale, "bicubic")
    picture, clean = levels(picture), pair.clean
    if test.marked:
        found = measure(picture, clean, ("psnr", "ssim"), PLAIN, 0, pair.mask)
        return Score(found["psnr-marked"], found["ssim-marked"])
    if test.shift:
        picture, clean = _best_place(picture, clean, test.shift)
    return Score(psnr(picture, clean), ssim(picture, clean))


def levels(picture: Tensor) -> Tensor:
    """As an 8-bit file would hold it."""
    return (picture.clamp(0, 1) * 255).round() / 255


def _damaged(picture: Tensor, test: Test, seed: int) -> Tensor:
    return degrade(picture, test.recipe, strength=USUAL, rng=torch.Generator().manual_seed(seed))


def _best_place(picture: Tensor, clean: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The inner part of the clean picture, and that part of the other, of equal size, which is nearest to it."""
    height, width = (side - 2 * most for side in clean.shape[-2:])
    inner = clean[..., most : most + height, most : most + width]
    places = [(top, left) for top in range(2 * most + 1) for left in range(2 * most + 1)]
    parts = (picture[..., top : top + height, left : left + width] for top, left in places)
    return max(parts, key=lambda part: psnr(part, inner)), inner


FITTING: dict[str, tuple[Test, ...]] = {
    "derain": (
        Test("rain 0.5", recipe="rain"),
        Test("Rain100L", pairs="derain_Rain100L"),
        Test("Rain100H", pairs="derain_Rain100H"),
        Test("Rain1400", pairs="derain_Rain1400val"),
    ),
    "denoise": (
        Test("sigma 25, told", recipe="noise:0.25", sigma=25.0),
        Test("sigma 25", recipe="noise:0.25"),
        Test("sigma 50, told", recipe="noise:0.5", sigma=50.0),
        Test("sigma 50", recipe="noise:0.5"),
        Test("CC", pairs="denoise_CC_real"),
        Test("Nam", pairs="denoise_Nam_real"),
    ),
    "deblur": (
        Test("blur 0.5", recipe="blur"),
        Test("GoPro", pairs="deblur_GoPro"),
        Test("Levin, at the best place within 5 pixels", pairs="deblur_Levin", shift=5),
    ),
    "enhance": (
        Test("lowlight 0.5", recipe="lowlight"),
        Test("LOL eval15", pairs="lowlight_LOL_eval15"),
    ),
    "dehaze": (
        Test("haze 0.5", recipe="haze"),
        Test("SOTS indoor", pairs="dehaze_SOTS_indoor"),
    ),
    "deshadow": (
        Test("shadow 0.5", recipe="shadow"),
        Test("ISTD, composed targets, in the shadow", pairs="shadow_ISTD_pseudoGT", marked=True),
        Test("documents", pairs="shadow_document"),
    ),
    "dejpeg": (
        Test("quality 10", recipe="jpeg:0.765"),
        Test("quality 20", recipe="jpeg:0.529"),
        Test("quality 40", recipe="jpeg:0.294"),
    ),
    "upscale": (
        Test("2 times", scale=2),
        Test("4 times", scale=4),
        Test("City100 Nikon, enlarged already", pairs="sr_City100_Nikon", bare=True),
        Test("City100 iPhone X, enlarged already", pairs="sr_City100_iPhoneX", bare=True),
    ),
    "inpaint": (Test("half the pixels lost", recipe="mask:0.5", holes=True),),
}
"""Task -> what its models are tried on."""

PRIOR: dict[str, tuple[Test, ...]] = {
    "inpaint": (Test("half the pixels lost, told which", recipe="mask:0.5", holes=True),),
}
"""Task -> what a prior is tried on, told what happened."""

ALL_SETS = (*CLEAN_SETS, *(test.pairs for tests in FITTING.values() for test in tests if test.pairs))
"""Every folder."""
