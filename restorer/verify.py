"""Does a model's folder hold what it should, and does the model do what its card says? Measured again, not believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from restorer.entry import Entry, Expect, hash_file
from restorer.errors import ModelError, RestorerError
from restorer.images import read
from restorer.load import Found, find, load
from restorer.metrics import psnr
from restorer.restore import Restorer
from restorer.settings import Settings
from restorer.sums import SUMS, files, read_sums
from restorer.zeroshot import ZeroShot, reconstruct

TEST = "test"
"""The ``set`` of the expectation of the test picture: ``test/clean.png`` and ``test/damaged.png`` in the folder."""
TOLERANCE = 0.05
"""dB by which a score may differ: processors sum in other orders, which moved none of ours by 0.01 dB."""


@dataclass(frozen=True)
class Verified:
    """What was found right: how many files, the test picture's PSNR in dB, and sentences on what was not checked."""

    model: str
    files: int
    score: float | None
    expected: float | None
    notes: tuple[str, ...] = ()


def verify(model: str) -> Verified:
    """Check what ``-m`` names. Raises ``ModelError`` that says all that is wrong with its files, or with its score."""
    found = find(model)
    folder = _folder(found)
    sums = folder is not None and (folder / SUMS).is_file()
    faults = [*_weights(found), *(_files(folder) if sums else ())]
    if faults:
        raise ModelError(f"{model}: {'; '.join(faults)}. Get the model again.")
    count = len(read_sums(folder / SUMS)) if sums else 1
    notes = () if sums else (f"there is no {SUMS}, so only the weights were compared",)
    try:
        restorer = Restorer(found, load(found, torch.device("cpu"), torch.float32), torch.device("cpu"))
        told = next((expect for expect in found.entry.expect if expect.set == TEST), None)
        if told is None or folder is None or not (folder / TEST).is_dir():
            return Verified(model, count, None, None, (*notes, "there is no test picture, so no score was measured"))
        score = measure(restorer, folder, told)
    except ModelError:
        raise
    except RestorerError as error:
        raise ModelError(f"{model}: the test picture cannot be restored: {error}") from error
    if not abs(score - told.value) <= TOLERANCE:
        raise ModelError(
            f"{model}: the test picture comes out at {score:.2f} dB, the card says {told.value:.2f}; the model is not "
            "the one that was measured."
        )
    return Verified(model, count, score, told.value, notes)


def measure(restorer: Restorer, folder: Path, told: Expect) -> float:
    """PSNR in dB of the test picture's restoration, over RGB of the 8-bit picture that would be written, in fp32."""
    return psnr(restored(restorer, folder, told).mul(255).round() / 255, picture(folder, "clean"))


def restored(restorer: Restorer, folder: Path, told: Expect) -> Tensor:
    """The test picture, restored as the expectation says."""
    settings, damaged = Settings(told.steps, seed=told.seed), picture(folder, "damaged")
    if told.operator is None:
        return restorer.restore(damaged, settings)
    return reconstruct(restorer, damaged, settings, ZeroShot(told.operator))


def picture(folder: Path, name: str) -> Tensor:
    """A test picture, (1, 3, H, W)."""
    return read(folder / TEST / f"{name}.png").pixels


def _folder(found: Found) -> Path | None:
    """The folder of the model's card, where it is in one."""
    told = found.entry.weights  # which a lone file, and a folder of diffusers, do not say
    return found.weights.parents[told.file.count("/")] if told else None


def _weights(found: Found) -> Iterator[str]:
    """The weights are read again, whatever is remembered of them."""
    now, wanted = hash_file(found.weights), _wanted(found.entry) or found.sha256
    if now != wanted:
        yield f"{found.weights.name} has sha256 {now}, expected {wanted}"


def _wanted(entry: Entry) -> str | None:
    return entry.weights and entry.weights.sha256


def _files(folder: Path) -> Iterator[str]:
    sums, there = read_sums(folder / SUMS), files(folder)
    for name, wanted in sums.items():
        if name not in there:
            yield f"{name} is missing"
        elif (now := hash_file(folder / name)) != wanted:
            yield f"{name} has sha256 {now}, {SUMS} says {wanted}"
    for name in sorted(set(there) - set(sums)):
        yield f"{name} is not in {SUMS}"
