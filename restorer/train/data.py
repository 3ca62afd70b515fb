"""Training and validation pictures. Item i is the same crop with the same damage in any worker, order or run."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from restorer.degrade import Damage, degrade_with_mask, drawn
from restorer.errors import ImageError, InputError, RestorerError
from restorer.images import Picture, read
from restorer.prepare import preparation, shrink
from restorer.train.config import Config, Data, Optimise
from restorer.train.folders import Pair, training_pairs, validation_pairs
from restorer.train.team import Team

ATTEMPTS = 20
"""So many pictures may be corrupt one after the other before a run stops, whatever ``corrupt`` says."""


class Example(NamedTuple):
    """What is learned from, or measured on: a clean picture and its degraded form, (3, H, W) or (1, 3, H, W).

    ``mask``: (1, H, W) or (1, 1, H, W), 1 where y is damaged, for models that take one; or the (12, H, W) or
    (1, 12, H, W) that ``Preparation.beside`` makes of y. ``label``: a whole number (), which damage it is, where
    damages have labels.
    """

    x0: Tensor
    y: Tensor
    mask: Tensor | None = None
    label: Tensor | None = None


class Batch(NamedTuple):
    """Items from number ``first`` on: (N, 3, patch, patch) twice, and sentences on pictures that were skipped.

    ``label``: (N,), which damage each has, where damages have labels. ``mask``: (N, 1 or 12, patch, patch), as that of
    an ``Example``.
    """

    first: int
    x0: Tensor
    y: Tensor
    skipped: tuple[str, ...] = ()
    label: Tensor | None = None
    mask: Tensor | None = None


@dataclass(eq=False)
class Crops(Dataset):
    """Endless training crops, float32 (3, patch, patch) in [0, 1]; ``[i]`` depends on seed and i alone.

    ``prepare``: what is done to degraded pictures, a word of ``prepare.py``. ``room``: bytes for decoded ones.
    ``masked``: whether their masks are wanted. ``skipped``: what is wrong with pictures that were drawn and left out.
    """

    pairs: Sequence[Pair]
    damage: Sequence[Damage]
    patch: int
    seed: int
    flip: bool = True
    rotate: bool = False
    skip: bool = False
    room: int = 2 << 30
    prepare: str | None = None
    masked: bool = False

    def __post_init__(self) -> None:
        self._cache: dict[tuple[Path, str], Tensor] = {}
        self.skipped: dict[Path, str] = {}

    def __getitem__(self, index: int) -> Example:
        """The crop of that index. Raises ``ImageError`` or ``InputError`` for a picture that cannot serve."""
        draw = random.Random(f"{self.seed}/{index}")
        gt, lq, mask = self._readable(draw)
        kind, strength = drawn(self.damage, draw) if self.damage and lq is None else (None, 0.0)
        side = min(self.patch * (kind.reduce if kind else 1), *gt.shape[-2:])
        top, left = (draw.randint(0, length - side) for length in gt.shape[-2:])
        mirrored = draw.random() < 0.5 and self.flip
        turns = draw.randrange(4) if self.rotate else 0

        def crop(picture: Tensor) -> Tensor:
            cut = picture[:, top : top + side, left : left + side]
            cut = cut.float() / 255 if cut.dtype == torch.uint8 else cut
            return (cut.flip(-1) if mirrored else cut).rot90(turns, (-2, -1))

        x0 = crop(gt)
        if lq is not None:
            made = Example(x0, crop(lq), None if mask is None else crop(mask))
        elif kind is not None:
            made = damaged(x0[None], kind, strength, draw.getrandbits(32), self.patch)
            made = Example(made.x0[0], made.y[0], made.mask[0], made.label)
        else:
            made = Example(x0, x0)
        return shown(made, self.prepare, masked=self.masked)

    def _readable(self, draw: random.Random) -> tuple[Tensor, Tensor | None, Tensor | None]:
        for attempt in range(ATTEMPTS):
            pair = draw.choice(self.pairs)
            try:
                gt = self._picture(pair.gt, "clean")
                lq = None if pair.lq is None else self._picture(pair.lq, "degraded")
                mask = None if pair.mask is None else self._picture(pair.mask, "mask")
                if lq is not None and preparation(self.prepare).beside:
                    mask = self._picture(pair.lq, "beside")
            except ImageError as error:
                if not self.skip or attempt == ATTEMPTS - 1:
                    raise
                self.skipped[pair.gt] = f"Skipped: {error}"
                continue
            if lq is not None and lq.shape != gt.shape:
                raise InputError(
                    f"{pair.lq}: {_sides(lq)}, and {pair.gt} is {_sides(gt)}; the pictures of a pair are of one size."
                )
            if mask is not None and mask.shape[-2:] != gt.shape[-2:]:
                raise InputError(
                    f"{pair.mask}: {_sides(mask)}, and {pair.gt} is {_sides(gt)}; a mask is of its picture's size."
                )
            return gt, lq, mask
        raise AssertionError

    def _picture(self, file: Path, part: str) -> Tensor:
        """The pixels of a file (C, H, W) as a "clean" or "degraded" picture, a "mask", or what is shown "beside"."""
        if (file, part) in self._cache:
            return self._cache[file, part]
        picture, prepared = read(file), preparation(self.prepare if part in ("degraded", "beside") else None)
        pixels = marked(picture)[0] if part == "mask" else prepared.apply(picture.pixels, None)[0]
        pixels = prepared.beside(pixels[None])[0] if part == "beside" else pixels
        if min(pixels.shape[-2:]) < self.patch:
            raise InputError(f"{file}: {_sides(pixels)} is smaller than the patch of {self.patch}; use a smaller one.")
        if picture.bits == 8 and prepared.scale == 1:  # what interpolation makes is between the levels
            pixels = (pixels * 255).round().byte()
        if pixels.nbytes <= self.room:
            self.room -= pixels.nbytes
            self._cache[file, part] = pixels
        return pixels


@dataclass(eq=False)
class Told(Dataset):
    """Crops for a ``DataLoader``: ``[range]`` is a ``Batch``, or the error why there is none.

    An error that is raised reaches the main process as text with a traceback; one that is returned, as itself.
    """

    crops: Crops

    def __getitem__(self, items: range) -> Batch | RestorerError:
        known = len(self.crops.skipped)
        try:
            parts = zip(*(self.crops[i] for i in items), strict=True)
            x0, y, mask, label = (None if part[0] is None else torch.stack(part) for part in parts)
        except RestorerError as error:
            return error
        return Batch(items[0], x0, y, tuple(self.crops.skipped.values())[known:], label, mask)


def crops_of(root: Path, config: Config) -> Crops:
    """The recipe's endless crops."""
    data, course = config.data, config.train
    room = (data.cache_mb << 20) // max(1, course.workers)
    pairs = training_pairs(root, data, masked=config.masked)
    more = {"flip": data.flip, "rotate": data.rotate, "skip": data.corrupt == "skip", "room": room}
    more |= {"prepare": config.prepare, "masked": config.masked}
    return Crops(pairs, data.damage, data.patch_size, course.seed, **more)


def crops_remarks(crops: Crops, course: Optimise, team: Team) -> tuple[str, ...]:
    """What should be known of the pictures before a run."""
    seen, pictures = course.pictures * team.count, len(set(crops.pairs))
    if seen <= pictures:
        return ()
    return (
        f"A step sees {seen} crops, and there are {pictures} pictures: some are drawn twice in a step, by other crops. "
        "That does no harm; many more pictures would do good.",
    )


def feed(crops: Crops, course: Optimise, begin: int, steps: int, team: Team) -> Iterator[list[Batch]]:
    """For each of so many steps this process's batches, the items from ``begin`` on being shared out in turn.

    Raises what is wrong with a picture.
    """
    size, count = course.batch_size, steps * course.grad_accum
    start = -(-begin // size) + team.index
    shares = (range(block * size, (block + 1) * size) for block in range(start, start + count * team.count, team.count))
    told = DataLoader(Told(crops), batch_size=None, sampler=shares, num_workers=course.workers, collate_fn=_as_it_is)
    loaded, named = iter(told), set()
    for _ in range(steps):
        batches = [_sound(next(loaded)) for _ in range(course.grad_accum)]
        # Each worker names a picture that it skips.
        yield [batch._replace(skipped=_new(batch.skipped, named)) for batch in batches]


def _new(sentences: tuple[str, ...], named: set[str]) -> tuple[str, ...]:
    fresh = tuple(sentence for sentence in sentences if sentence not in named)
    named.update(fresh)
    return fresh


def _as_it_is(batch: Batch | RestorerError) -> Batch | RestorerError:
    return batch


def _sound(batch: Batch | RestorerError) -> Batch:
    if isinstance(batch, RestorerError):
        raise batch
    return batch


def damaged(x0: Tensor, kind: Damage, strength: float, seed: int, side: int) -> Example:
    """``x0`` (1, 3, H, W) damaged as ``seed`` says, and both brought to ``side`` pixels on the short side if larger."""
    y, mask = degrade_with_mask(x0, kind.recipe, strength=strength, rng=torch.Generator().manual_seed(seed))
    label = None if kind.label is None else torch.tensor(kind.label)
    return Example(*(shrink(picture, side) for picture in (x0, y, mask)), label)


def marked(mask: Picture) -> Tensor:
    """(1, 1, H, W) of a mask's file, as a restoration is shown it: its grey, and nothing where it is transparent."""
    pixels = mask.pixels if mask.alpha is None else mask.pixels * mask.alpha
    return pixels.mean(dim=1, keepdim=True)


def shown(made: Example, prepare: str | None, *, masked: bool) -> Example:
    """The example as the model has it: what its mask marks filled if that is wanted, and no mask that is not."""
    prepared = preparation(prepare)
    if prepared.fills:
        return made._replace(y=prepared.apply(made.y, made.mask))
    return made if masked or prepared.beside else made._replace(mask=None)


def validation_set(root: Path, data: Data, prepare: str | None = None, *, masked: bool = False) -> list[Example]:
    """Centre crops, (1, 3, h, w) in [0, 1]; where the damage is made, strengths go evenly through its range.

    It is the first damage; where they have labels each in turn.
    ``prepare``: what is done to degraded pictures. ``masked``: whether their masks are wanted. With neither pairs nor a
    damage y has noise of ``validation_sigma``, not cut off at 0 and 1.
    """
    if data.validation is None:
        return []
    pairs = validation_pairs(root, data, masked=masked)[: data.validation_pictures]
    prepared, result = preparation(prepare), []
    for i, pair in enumerate(pairs):
        x0 = _centre(read(pair.gt).pixels, data.validation_crop)
        mask = label = None
        if pair.lq is not None:
            y = prepared.apply(read(pair.lq).pixels, None)
            mask = _centre(prepared.beside(y), data.validation_crop) if prepared.beside else None
            y = _centre(y, data.validation_crop)
            if y.shape != x0.shape:
                raise InputError(f"{pair.lq}: not of the size of {pair.gt}; the pictures of a pair are of one size.")
            if pair.mask is not None:
                mask = _centre(marked(read(pair.mask)), data.validation_crop)
                if mask.shape[-2:] != x0.shape[-2:]:
                    raise InputError(f"{pair.mask}: not of the size of {pair.gt}; a mask is of its picture's size.")
        elif not data.damage:
            noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(i))
            y = x0 + data.validation_sigma / 255 * noise
        else:
            kind = data.damage[0 if data.damage[0].label is None else i % len(data.damage)]
            low, high = kind.strength
            strength = min(high, low + (high - low) * (i + 1) / len(pairs))  # which rounding may pass
            x0, y, mask, label = damaged(x0, kind, strength, i, min(x0.shape[-2:]) // kind.reduce)
        result.append(shown(Example(x0, y, mask, label), prepare, masked=masked))
    return result


def _sides(picture: Tensor) -> str:
    return f"{picture.shape[-1]}x{picture.shape[-2]}"


def _centre(picture: Tensor, side: int) -> Tensor:
    height, width = picture.shape[-2:]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return picture[..., top : top + side, left : left + side]
