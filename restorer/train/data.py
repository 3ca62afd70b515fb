"""Training and validation pictures. Item i is the same crop with the same damage in any worker, order or run."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from restorer.degrade import Damage, degrade, drawn
from restorer.errors import InputError, RestorerError, UsageError
from restorer.images import format_of, read
from restorer.train.config import Data

CACHE_BYTES = 2 << 30  # decoded pictures kept by each worker


class Pair(NamedTuple):
    """A clean picture and its degraded form, or None where the damage is made on the fly."""

    gt: Path
    lq: Path | None


@dataclass(eq=False)
class Crops(Dataset):
    """Endless training crops (x0, y), each float32 (3, patch, patch) in [0, 1]; ``[i]`` depends on seed and i alone.

    Where damages have labels it is (x0, y, label), the last a whole number ().

    ``[i]`` may also be the error why there is none; ``together`` passes it on.
    """

    pairs: Sequence[Pair]
    damage: Sequence[Damage]
    patch: int
    seed: int

    def __post_init__(self) -> None:
        self._cache: dict[Path, Tensor] = {}
        self._room = CACHE_BYTES

    def __getitem__(self, index: int) -> tuple[Tensor, ...] | RestorerError:
        # An error that is raised reaches the main process as text with a traceback; one that is returned, as itself.
        try:
            return self.crop(index)
        except RestorerError as error:
            return error

    def crop(self, index: int) -> tuple[Tensor, ...]:
        """The crop of that index. Raises ``ImageError`` or ``InputError`` for a picture that cannot serve."""
        draw = random.Random(f"{self.seed}/{index}")
        pair = draw.choice(self.pairs)
        gt = self._picture(pair.gt)
        top, left = (draw.randint(0, side - self.patch) for side in gt.shape[-2:])
        mirrored = draw.random() < 0.5

        def crop(picture: Tensor) -> Tensor:
            cut = picture[:, top : top + self.patch, left : left + self.patch]
            cut = cut.float() / 255 if cut.dtype == torch.uint8 else cut
            return cut.flip(-1) if mirrored else cut

        x0 = crop(gt)
        if pair.lq is not None:
            return x0, crop(self._picture(pair.lq))
        if not self.damage:
            return x0, x0
        y, label = damaged(x0[None], self.damage, draw)
        return (x0, y[0]) if label is None else (x0, y[0], torch.tensor(label))

    def _picture(self, file: Path) -> Tensor:
        if file in self._cache:
            return self._cache[file]
        picture = read(file)
        pixels = picture.pixels[0]
        if min(pixels.shape[-2:]) < self.patch:
            width, height = picture.size
            raise InputError(f"{file}: {width}x{height} is smaller than the patch of {self.patch}; use a smaller one.")
        if picture.bits == 8:
            pixels = (pixels * 255).round().byte()
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._cache[file] = pixels
        return pixels


def together(items: list[tuple[Tensor, ...] | RestorerError]) -> tuple[Tensor, ...] | RestorerError:
    """A batch (N, 3, patch, patch) twice, and labels (N,) where there are any; or the first error among the items."""
    for item in items:
        if isinstance(item, RestorerError):
            return item
    return tuple(map(torch.stack, zip(*items, strict=True)))


def damaged(x0: Tensor, damage: Sequence[Damage], draw: random.Random) -> tuple[Tensor, int | None]:
    """``x0`` (1, 3, H, W) with one of the damages, at a strength between its bounds; and that one's label."""
    kind, strength = drawn(damage, draw)
    rng = torch.Generator().manual_seed(draw.getrandbits(32))
    return degrade(x0, kind.recipe, strength=strength, rng=rng), kind.label


def training_pairs(root: Path, data: Data) -> list[Pair]:
    """Every training pair of the recipe. Raises ``InputError`` naming folders without pictures and unmatched names."""
    if data.lq is not None and data.gt is not None:
        pairs = _matched(root / data.gt, root / data.lq)
    else:
        pairs = [Pair(file, None) for folder in data.clean for file in _pictures(root / folder)]
    left_out = {root / name for name in data.exclude}
    strangers = left_out - {pair.gt for pair in pairs}
    if strangers:
        raise InputError(f"{min(strangers)}: excluded by the recipe, but not among its pictures.")
    return [pair for pair in pairs if pair.gt not in left_out]


def validation_set(root: Path, data: Data) -> list[tuple[Tensor, ...]]:
    """(x0, y) centre crops, (1, 3, h, w) in [0, 1]; where the damage is made, strengths go evenly through its range.

    It is the first damage; where they have labels each in turn, and (x0, y, label).

    With neither pairs nor a damage y has noise of ``validation_sigma``, not cut off at 0 and 1.
    """
    if data.validation is None:
        return []
    folder = root / data.validation
    paired = (folder / "GT").is_dir() and (folder / "LQ").is_dir()
    if not paired and not data.damage and not data.clean:
        raise UsageError(f"{folder}: validation pictures need LQ and GT folders, or a damage in the recipe.")
    pairs = _matched(folder / "GT", folder / "LQ") if paired else [Pair(file, None) for file in _pictures(folder)]
    pairs = pairs[: data.validation_pictures]
    result = []
    for i, pair in enumerate(pairs):
        x0 = _centre(read(pair.gt).pixels, data.validation_crop)
        if pair.lq is not None:
            y = _centre(read(pair.lq).pixels, data.validation_crop)
        elif not data.damage:
            noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(i))
            y = x0 + data.validation_sigma / 255 * noise
        else:
            kind = data.damage[0 if data.damage[0].label is None else i % len(data.damage)]
            low, high = kind.strength
            strength = min(high, low + (high - low) * (i + 1) / len(pairs))  # which rounding may pass
            y = degrade(x0, kind.recipe, strength=strength, rng=torch.Generator().manual_seed(i))
            if kind.label is not None:
                result.append((x0, y, torch.tensor(kind.label)))
                continue
        result.append((x0, y))
    return result


def _matched(gt: Path, lq: Path) -> list[Pair]:
    clean, degraded = ({file.name: file for file in _pictures(folder)} for folder in (gt, lq))
    lonely = sorted(clean.keys() ^ degraded.keys())
    if lonely:
        names = ", ".join(lonely[:5]) + (", ..." if len(lonely) > 5 else "")
        raise InputError(f"{len(lonely)} pictures are in only one of {gt} and {lq}: {names}. Pairs have equal names.")
    return [Pair(clean[name], degraded[name]) for name in sorted(clean)]


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of pictures.")
    files = sorted(file for file in folder.rglob("*") if file.is_file() and format_of(file))
    if not files:
        raise InputError(f"{folder}: no pictures in it.")
    return files


def _centre(picture: Tensor, side: int) -> Tensor:
    height, width = picture.shape[-2:]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return picture[..., top : top + side, left : left + side]
