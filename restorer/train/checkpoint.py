"""A run's folder: where training stopped, the log, and the model so far as a folder that ``-m`` takes."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
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


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on as if it had never stopped.

    Of a run that finds out what the net says: ``share`` while it does (see ``AutomaticObjective``), then ``chosen``.
    """

    step: int
    net: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimiser: dict[str, Any]
    share: Tensor | None = None
    chosen: str | None = None


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write it so that a crash leaves the old one whole."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{STATE}"
    torch.save(vars(checkpoint), unfinished)
    unfinished.replace(folder / STATE)


def load_checkpoint(file: Path) -> Checkpoint:
    """Raises ``UsageError`` when the file is not a checkpoint of restorer."""
    try:
        return Checkpoint(**torch.load(file, map_location="cpu", weights_only=True))
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


def trim_log(folder: Path, step: int, *, choosing: bool = False) -> None:
    """Leave out of log.csv what came after ``step``: a run that goes on from there tells it again.

    Rows with a share are of the time when the objective was chosen, before all others; ``choosing``: ``step`` is, too.
    """
    file = folder / LOG
    if not file.exists():
        return
    header, *rows = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = []
    for row, told in zip(rows, csv.DictReader([header, *rows]), strict=True):
        early = bool(told.get("share"))
        if (early and not choosing) or (early == choosing and int(told["step"]) <= step):
            kept.append(row)
    write_bytes(file, "".join([header, *kept]).encode())


def log_row(folder: Path, row: Mapping[str, object]) -> None:
    """One more line of the run's log.csv."""
    file = folder / LOG
    fresh = not file.exists()
    with file.open("a", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, list(row), lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)
