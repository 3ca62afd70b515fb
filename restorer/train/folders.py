"""Folders of pictures to train on: which file belongs to which, and what has no partner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from restorer.errors import InputError, UsageError
from restorer.images import format_of
from restorer.train.config import Data

SIDES = (("LQ", "GT"), ("input", "target"))
"""What the folders of pairs are called: of degraded pictures, of clean ones."""

MASKS = ("MASK", "mask")
"""What the folder of masks beside them is called."""


class Pair(NamedTuple):
    """A clean picture and its degraded form, or None where the damage is made on the fly.

    ``mask``: that of a pair, for models that take one.
    """

    gt: Path
    lq: Path | None
    mask: Path | None = None


def training_pairs(root: Path, data: Data, *, strict: bool = True, masked: bool = False) -> list[Pair]:
    """Every training pair of the recipe. Raises ``InputError`` naming folders without pictures and unmatched names.

    The latter only when ``strict``; else they are left out. ``masked``: pairs have a mask each.
    """
    if data.lq is not None and data.gt is not None:
        pairs = _matched(root / data.gt, root / data.lq, strict)
        if masked:
            pairs = _with_masks(pairs, root / data.gt, _masks_of(root, data), strict)
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


def validation_pairs(root: Path, data: Data, *, strict: bool = True, masked: bool = False) -> list[Pair]:
    """All pairs of the validation folder. Raises as ``training_pairs``."""
    if data.validation is None:
        return []
    folder = root / data.validation
    sides = _sides_of(folder)
    if sides:
        pairs = _matched(*sides, strict)
        return _with_masks(pairs, sides[0], _masks_in(folder), strict) if masked else pairs
    if not data.damage and not data.clean:
        raise UsageError(f"{folder}: validation pictures need LQ and GT folders, or a damage in the recipe.")
    return [Pair(file, None) for file in _pictures(folder)]


def unmatched(root: Path, data: Data, *, masked: bool = False) -> Iterator[str]:
    """A sentence on every picture of pairs that has no other half, or, where they are ``masked``, no mask."""
    sides = [] if data.gt is None or data.lq is None else [(root / data.gt, root / data.lq)]
    masks = [_masks_of(root, data)] if sides and masked else []
    if data.validation is not None and (found := _sides_of(root / data.validation)):
        sides.append(found)
        masks += [_masks_in(root / data.validation)] if masked else []
    for gt, lq in sides:
        for name in matched(gt, lq)[1]:
            here, there = (gt, lq) if (gt / name).is_file() else (lq, gt)
            yield f"{here / name}: no picture of that name in {there}; pairs have equal names."
    for (gt, lq), folder in zip(sides if masked else [], masks, strict=True):
        there = _by_stem(folder)
        for pair in matched(gt, lq)[0]:
            if len(found := there.get(_stem(pair.gt, gt), [])) != 1:
                yield _no_mask(pair, found, folder)


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


def _masks_of(root: Path, data: Data) -> Path:
    """The folder of the masks of training pairs."""
    return _masks_in((root / data.gt).parent) if data.mask is None else root / data.mask


def _masks_in(folder: Path) -> Path:
    found = next((folder / name for name in MASKS if (folder / name).is_dir()), None)
    if found is None:
        raise InputError(
            f"{folder}: no folder {MASKS[0]} in it, and the model takes a mask, white where a picture is damaged; make "
            "one of pictures with the names of the pairs."
        )
    return found


def _with_masks(pairs: Sequence[Pair], gt: Path, folder: Path, strict: bool) -> list[Pair]:
    there, result = _by_stem(folder), []
    for pair in pairs:
        found = there.get(_stem(pair.gt, gt), [])
        if len(found) == 1:
            result.append(pair._replace(mask=found[0]))
        elif strict:
            raise InputError(_no_mask(pair, found, folder))
    return result


def _no_mask(pair: Pair, found: Sequence[Path], folder: Path) -> str:
    several = f"several masks of its name in {folder}: {', '.join(sorted(file.name for file in found))}"
    return f"{pair.gt}: {several if found else f'no mask of its name in {folder}'}; a picture has one."


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    """Pictures by their names without the ending: a mask must keep its edges, which a JPEG's does not."""
    result: dict[str, list[Path]] = {}
    for file in _pictures(folder):
        result.setdefault(_stem(file, folder), []).append(file)
    return result


def _stem(file: Path, folder: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


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
