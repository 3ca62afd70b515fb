"""Reading checkpoints from elsewhere: a pickle can hold code, so only tensors, numbers, texts and tables are taken."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from restorer.errors import ModelError


def read_checkpoint(file: Path) -> Any:
    """What ``torch.save`` wrote to ``file``, on the CPU; code in it is not run.

    Raises ``ModelError`` for a file that is missing, damaged, of another kind, or that asks for code.
    """
    head = _head(file)
    # A zip file is mapped, not read: most of a trainer's file is the optimiser's, and stays on the disk.
    zipped = head.startswith(b"PK\x03\x04")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about pickles; what cannot be read is told below
            return torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except MemoryError:
        raise
    except Exception as error:  # torch.load raises whatever its parts raise
        # Torch's own words recommend to switch the protection off; they are never shown.
        asked = re.search(r"\bGLOBAL ([\w.]+)", str(error))
        if asked:
            raise ModelError(
                f"{file}: asks for the code {asked[1]}, which was not run; expected a checkpoint of tensors, numbers "
                "and texts only. Convert a file that was saved as state dicts."
            ) from error
        if zipped:
            raise ModelError(f"{file}: this checkpoint is damaged or cut short; copy or download it again.") from error
        raise ModelError(
            f"{file}: no checkpoint that torch.save wrote: it starts with {head[:8]!r}; is it another kind of file?"
        ) from error


def _head(file: Path) -> bytes:
    """The first bytes. Raises ``ModelError`` for what is no checkpoint at first sight."""
    if file.is_dir():
        raise ModelError(f"{file}: a folder, expected the checkpoint file of a trainer, such as model-100.pt.")
    try:
        with file.open("rb") as opened:
            head = opened.read(16)
    except OSError as error:
        raise ModelError(f"{file}: cannot read this checkpoint: {error.strerror}.") from error
    if not head:
        raise ModelError(f"{file}: an empty file, expected a checkpoint; copy or download it again.")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < file.stat().st_size:
        raise ModelError(
            f"{file}: a safetensors file, expected a checkpoint that torch.save wrote; "
            "if its card is inside, it runs as it is, with --model."
        )
    return head


def some(names: Iterable[object], most: int = 4) -> str:
    """The first few names, and how many more there are."""
    names = [str(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "nothing"
