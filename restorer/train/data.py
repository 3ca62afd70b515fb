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

from restorer.degrade import Damage, degrade, drawn
from restorer.errors import ImageError, InputError, RestorerError, UsageError
from restorer.images import format_of, read
from restorer.prepare import preparation, shrink
from restorer.train.config import Config, Data, Optimise
from restorer.train.team import Team

ATTEMPTS = 20
"""So many pictures may be corrupt one after the other before a run stops, whatever ``corrupt`` says."""


SIDES = (("LQ", "GT"), ("input", "target"))
"""What the folders of pairs are called: of degraded pictures, of clean ones."""


class Pair(NamedTuple):
    """A clean picture and its degraded form, or None where the damage is made on the fly."""

    gt: Path
    lq: Path | None


class Batch(NamedTuple):
    """Items from number ``first`` on: (N, 3, patch, patch) twice, and sentences on pictures that were skipped.

    ``label``: (N,), which damage each has, where damages have labels.
    """

    first: int
    x0: Tensor
    y: Tensor
    skipped: tuple[str, ...] = ()
    label: Tensor | None = None


@dataclass(eq=False)
class Crops(Dataset):
    """Endless training crops (x0, y), each float32 (3, patch, patch) in [0, 1]; ``[i]`` depends on seed and i alone.

    Where damages have labels it is (x0, y, label), the last a whole number ().
    ``prepare``: what is done to degraded pictures, a word of ``prepare.py``. ``room``: bytes for decoded ones.
    ``skipped``: what is wrong with pictures that were drawn and left out.
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

    def __post_init__(self) -> None:
        self._cache: dict[Path, Tensor] = {}
        self.skipped: dict[Path, str] = {}

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """The crop of that index. Raises ``ImageError`` or ``InputError`` for a picture that cannot serve."""
        draw = random.Random(f"{self.seed}/{index}")
        gt, lq = self._readable(draw)
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
            return x0, crop(lq)
        if kind is None:
            return x0, x0
        rng = torch.Generator().manual_seed(draw.getrandbits(32))
        y = degrade(x0[None], kind.recipe, strength=strength, rng=rng)
        x0, y = (shrink(picture, self.patch)[0] for picture in (x0[None], y))
        return (x0, y) if kind.label is None else (x0, y, torch.tensor(kind.label))

    def _readable(self, draw: random.Random) -> tuple[Tensor, Tensor | None]:
        for attempt in range(ATTEMPTS):
            pair = draw.choice(self.pairs)
            try:
                gt = self._picture(pair.gt)
                lq = None if pair.lq is None else self._picture(pair.lq, self.prepare)
            except ImageError as error:
                if not self.skip or attempt == ATTEMPTS - 1:
                    raise
                self.skipped[pair.gt] = f"Skipped: {error}"
                continue
            if lq is not None and lq.shape != gt.shape:
                raise InputError(
                    f"{pair.lq}: {_sides(lq)}, and {pair.gt} is {_sides(gt)}; the pictures of a pair are of one size."
                )
            return gt, lq
        raise AssertionError

    def _picture(self, file: Path, prepare: str | None = None) -> Tensor:
        if file in self._cache:
            return self._cache[file]
        picture = read(file)
        pixels = preparation(prepare).apply(picture.pixels, None)[0]
        if min(pixels.shape[-2:]) < self.patch:
            raise InputError(f"{file}: {_sides(pixels)} is smaller than the patch of {self.patch}; use a smaller one.")
        if picture.bits == 8 and preparation(prepare).scale == 1:  # what interpolation makes is between the levels
            pixels = (pixels * 255).round().byte()
        if pixels.nbytes <= self.room:
            self.room -= pixels.nbytes
            self._cache[file] = pixels
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
            x0, y, *label = map(torch.stack, zip(*(self.crops[i] for i in items), strict=True))
        except RestorerError as error:
            return error
        return Batch(items[0], x0, y, tuple(self.crops.skipped.values())[known:], *label)


def crops_of(root: Path, config: Config) -> Crops:
    """The recipe's endless crops."""
    data, course = config.data, config.train
    room = (data.cache_mb << 20) // max(1, course.workers)
    pairs = training_pairs(root, data)
    more = {"flip": data.flip, "rotate": data.rotate, "skip": data.corrupt == "skip", "room": room}
    more |= {"prepare": config.prepare}
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


def training_pairs(root: Path, data: Data, *, strict: bool = True) -> list[Pair]:
    """Every training pair of the recipe. Raises ``InputError`` naming folders without pictures and unmatched names.

    The latter only when ``strict``; else they are left out.
    """
    if data.lq is not None and data.gt is not None:
        pairs = _matched(root / data.gt, root / data.lq, strict)
    else:
        pairs = [Pair(file, None) for folder in data.clean for file in _pictures(root / folder)]
    left_out = {root / name for name in data.exclude}
    strangers = left_out - {pair.gt for pair in pairs}
    if strangers:
        raise InputError(f"{min(strangers)}: excluded by the recipe, but not among its pictures.")
    kept = [pair for pair in pairs if pair.gt not in left_out]
    if not kept and strict:
        raise InputError(f"{root}: the recipe excludes all of its pictures; leave some in.")
    return kept


def validation_pairs(root: Path, data: Data, *, strict: bool = True) -> list[Pair]:
    """All pairs of the validation folder. Raises as ``training_pairs``."""
    if data.validation is None:
        return []
    folder = root / data.validation
    sides = _sides_of(folder)
    if sides:
        return _matched(*sides, strict)
    if not data.damage and not data.clean:
        raise UsageError(f"{folder}: validation pictures need LQ and GT folders, or a damage in the recipe.")
    return [Pair(file, None) for file in _pictures(folder)]


def unmatched(root: Path, data: Data) -> Iterator[str]:
    """A sentence on every picture of pairs that has no other half."""
    sides = [] if data.gt is None or data.lq is None else [(root / data.gt, root / data.lq)]
    if data.validation is not None and (found := _sides_of(root / data.validation)):
        sides.append(found)
    for gt, lq in sides:
        for name in matched(gt, lq)[1]:
            here, there = (gt, lq) if (gt / name).is_file() else (lq, gt)
            yield f"{here / name}: no picture of that name in {there}; pairs have equal names."


def validation_set(root: Path, data: Data, prepare: str | None = None) -> list[tuple[Tensor, ...]]:
    """(x0, y) centre crops, (1, 3, h, w) in [0, 1]; where the damage is made, strengths go evenly through its range.

    It is the first damage; where they have labels each in turn, and (x0, y, label).
    ``prepare``: what is done to degraded pictures. With neither pairs nor a damage y has noise of
    ``validation_sigma``, not cut off at 0 and 1.
    """
    if data.validation is None:
        return []
    pairs = validation_pairs(root, data)[: data.validation_pictures]
    result = []
    for i, pair in enumerate(pairs):
        x0 = _centre(read(pair.gt).pixels, data.validation_crop)
        if pair.lq is not None:
            y = _centre(preparation(prepare).apply(read(pair.lq).pixels, None), data.validation_crop)
            if y.shape != x0.shape:
                raise InputError(f"{pair.lq}: not of the size of {pair.gt}; the pictures of a pair are of one size.")
        elif not data.damage:
            noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(i))
            y = x0 + data.validation_sigma / 255 * noise
        else:
            kind = data.damage[0 if data.damage[0].label is None else i % len(data.damage)]
            low, high = kind.strength
            strength = min(high, low + (high - low) * (i + 1) / len(pairs))  # which rounding may pass
            y = degrade(x0, kind.recipe, strength=strength, rng=torch.Generator().manual_seed(i))
            x0, y = (shrink(picture, min(x0.shape[-2:]) // kind.reduce) for picture in (x0, y))
            if kind.label is not None:
                result.append((x0, y, torch.tensor(kind.label)))
                continue
        result.append((x0, y))
    return result


def matched(gt: Path, lq: Path) -> tuple[list[Pair], list[str]]:
    """Pairs of equal names, and the names that are in one of the folders only."""
    clean, degraded = ({file.relative_to(folder).as_posix(): file for file in _pictures(folder)} for folder in (gt, lq))
    pairs = [Pair(clean[name], degraded[name]) for name in sorted(clean.keys() & degraded.keys())]
    return pairs, sorted(clean.keys() ^ degraded.keys())


def _sides_of(folder: Path) -> tuple[Path, Path] | None:
    """The folders of clean and of degraded pictures in one that holds pairs."""
    return next(
        ((folder / gt, folder / lq) for lq, gt in SIDES if (folder / gt).is_dir() and (folder / lq).is_dir()), None
    )


def _matched(gt: Path, lq: Path, strict: bool = True) -> list[Pair]:
    pairs, lonely = matched(gt, lq)
    if lonely and strict:
        raise InputError(
            f"{len(lonely)} pictures are in only one of {gt} and {lq}: {', '.join(lonely)}. Pairs have equal names."
        )
    return pairs


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of pictures.")
    files = sorted(file for file in folder.rglob("*") if file.is_file() and format_of(file))
    if not files:
        raise InputError(f"{folder}: no pictures in it.")
    return files


def _sides(picture: Tensor) -> str:
    return f"{picture.shape[-1]}x{picture.shape[-2]}"


def _centre(picture: Tensor, side: int) -> Tensor:
    height, width = picture.shape[-2:]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return picture[..., top : top + side, left : left + side]
