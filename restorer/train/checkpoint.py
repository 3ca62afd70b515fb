"""A run's folder: where training stopped, the log, and the model so far as a folder that ``-m`` takes."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from restorer.entry import Entry, Weights, card, hash_file
from restorer.errors import UsageError
from restorer.images.atomic import write_bytes
from restorer.load import CARD

STATE, LOG, MODEL = "last.pt", "log.csv", "model"
BEST, BEST_STATE, OLDER = "best", "best.pt", "checkpoints"


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on as if it had never stopped.

    ``items``: how many the team has seen, which is where the data go on. ``best``: the highest PSNR so far, in dB.
    Learning rate and randomness are functions of step and item, so nothing of them is kept.
    Of a run that finds out what the net says: ``share`` while it does (see ``AutomaticObjective``), then ``chosen``.
    ``codec``: it is of a codec's training, ``net`` being that, before the net's own.
    """

    step: int
    items: int
    net: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimiser: dict[str, Any]
    scaler: dict[str, Any]
    best: float | None = None
    share: Tensor | None = None
    chosen: str | None = None
    codec: bool = False


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int = 0, best: bool = False) -> None:
    """Write it so that a crash leaves the old one whole; ``keep`` older ones stay, and the ``best``.

    Raises ``UsageError`` where it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unfinished, file = folder / f".{STATE}", folder / STATE
    try:
        with unfinished.open("wb") as opened:
            torch.save(vars(checkpoint), opened)
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.replace(file)
    except (OSError, RuntimeError) as error:  # torch's own writer raises the latter
        with suppress(OSError):
            unfinished.unlink()
        cause = error if isinstance(error, OSError) else error.__context__
        reason = getattr(cause, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(
            f"{file}: the checkpoint of step {checkpoint.step} cannot be written ({reason}). The one before it is "
            "whole: make room, and run this again to go on from there."
        ) from error
    if best:
        _link(file, folder / BEST_STATE)
    _rotate(folder, checkpoint, keep)


def _rotate(folder: Path, checkpoint: Checkpoint, keep: int) -> None:
    """The last checkpoint under its number too, and the ``keep`` before it. Later steps are of another course."""
    older = folder / OLDER
    now = older / f"step-{checkpoint.step:08}.pt"
    there = sorted(older.glob("step-*.pt"))
    before = [file for file in there if file < now]
    kept = before[max(0, len(before) - keep) :]
    if keep:
        older.mkdir(exist_ok=True)
        _link(folder / STATE, now)
        kept.append(now)
    for file in set(there) - set(kept):
        file.unlink()


def _link(file: Path, name: Path) -> None:
    """The file under another name too: the same bytes where the disk can do that, else a copy."""
    unfinished = name.with_name(f".{name.name}")
    unfinished.unlink(missing_ok=True)
    try:
        os.link(file, unfinished)
    except OSError:
        shutil.copyfile(file, unfinished)
    unfinished.replace(name)


def load_checkpoint(file: Path) -> Checkpoint:
    """Raises ``UsageError`` when the file is not a checkpoint of restorer."""
    try:
        return Checkpoint(**torch.load(file, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise UsageError(f"{file}: no such checkpoint; give last.pt of a run, or the run's folder.") from error
    except Exception as error:  # torch.load raises whatever its parts raise
        raise UsageError(f"{file}: not a checkpoint to resume from: {error}") from error


def save_model(folder: Path, entry: Entry, net: nn.Module, dtype: torch.dtype = torch.float16) -> Entry:
    """A model folder: config.json and model.safetensors with the card inside; returns the card with its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "model.safetensors"
    state = {key: value.detach().to("cpu", dtype).contiguous() for key, value in net.state_dict().items()}
    write_bytes(file, save(state, metadata={CARD: json.dumps(card(replace(entry, weights=None)))}))
    weights = Weights(file.name, hash_file(file), file.stat().st_size, str(dtype).removeprefix("torch."))
    entry = replace(entry, weights=weights)
    write_card(folder, entry)
    return entry


def write_card(folder: Path, entry: Entry) -> None:
    """config.json of a model folder."""
    text = json.dumps(card(entry), indent=2, ensure_ascii=False)
    write_bytes(folder / CARD, f"{text}\n".encode())


def trim_log(folder: Path, step: int, *, choosing: bool = False, name: str = LOG) -> None:
    """Leave out of the log what came after ``step``: a run that goes on from there tells it again.

    Rows with a share are of the time when the objective was chosen, before all others; ``choosing``: ``step`` is, too.
    """
    file = folder / name
    if not file.exists():
        return
    header, *rows = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = []
    for row, told in zip(rows, csv.DictReader([header, *rows]), strict=True):
        early = bool(told.get("share"))
        if (early and not choosing) or (early == choosing and int(told["step"]) <= step):
            kept.append(row)
    write_bytes(file, "".join([header, *kept]).encode())


def log_row(folder: Path, row: Mapping[str, object], *, name: str = LOG) -> None:
    """One more line of the run's log.csv, or of the log of that name."""
    file = folder / name
    fresh = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, list(row), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)
