"""Reading checkpoints from elsewhere: a pickle can hold code, so only tensors, numbers, texts and tables are taken."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from restorer.errors import ModelError


def read_checkpoint(file: Path) -> Any:
    """What ``torch.save`` wrote to ``file``, on the CPU; code in it is not run.

    Numbers of numpy are read; names of files and tables of options, which trainers keep beside the weights, become
    ``Inert``. Raises ``ModelError`` for a file that is missing, damaged, of another kind, or that asks for code.
    """
    head = _head(file)
    # A zip file is mapped, not read: most of a trainer's file is the optimiser's, and stays on the disk.
    zipped = head.startswith(b"PK\x03\x04")
    if zipped:
        _check_zip(file)
    try:
        with warnings.catch_warnings(), safe_globals(HARMLESS):
            warnings.simplefilter("ignore")  # of torch, about pickles; what cannot be read is told below
            return torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except MemoryError:
        raise
    except Exception as error:  # torch.load raises whatever its parts raise
        # Torch's own words recommend to switch the protection off; they are never shown.
        asked = _asked(file, zipped, str(error))
        if asked:
            raise ModelError(
                f"{file}: asks for the code {some(asked, 5)}, which was not run; expected a checkpoint of tensors, "
                "numbers and texts only. Convert a file that was saved as state dicts."
            ) from error
        if zipped:
            raise ModelError(f"{file}: this checkpoint is damaged or cut short; copy or download it again.") from error
        raise ModelError(
            f"{file}: no checkpoint that torch.save wrote: it starts with {head[:8]!r}; is it another kind of file?"
        ) from error


def _check_zip(file: Path) -> None:
    """Raises ``ModelError`` for a zip file that is not whole, or that claims to hold more than there is."""
    try:
        with zipfile.ZipFile(file) as opened:
            records = opened.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(f"{file}: this checkpoint is damaged or cut short; copy or download it again.") from error
    # torch.save packs nothing: what is packed could unpack to any size.
    if any(record.compress_type != zipfile.ZIP_STORED or record.file_size > file.stat().st_size for record in records):
        raise ModelError(
            f"{file}: a packed zip file, expected a checkpoint that torch.save wrote, which packs nothing."
        )


def _asked(file: Path, zipped: bool, told: str) -> list[str]:
    """The names of all code that a checkpoint asks for; of old files, which are no zip, only the first is known."""
    if zipped:
        try:
            with safe_globals(HARMLESS):
                return sorted(get_unsafe_globals_in_checkpoint(str(file)))
        except Exception:  # a damaged file, of which the first error speaks
            return []
    return re.findall(r"\bGLOBAL ([\w.]+)", told)[:1]


class Inert:
    """What stands for an object of somebody's class: it holds what it was given, and does nothing."""

    def __init__(self, *given: Any) -> None:
        self.given = given

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _latin(text: str, encoding: str) -> bytes:
    """Bytes, as old pickles write them."""
    if encoding != "latin1":
        raise ValueError(f"bytes in {encoding!r}")
    return text.encode("latin1")


HARMLESS: list[Any] = [
    *((Inert, name) for name in ("argparse.Namespace", "types.SimpleNamespace")),
    *((Inert, f"pathlib.{name}Path") for name in ("Posix", "Windows", "PurePosix", "PureWindows")),
    *((np._core.multiarray.scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *(np.dtype, type(np.dtype("f4")), type(np.dtype("f8")), type(np.dtype("i4")), type(np.dtype("i8"))),
    (_latin, "_codecs.encode"),
]
"""What may be in a checkpoint besides tensors: what it is here, and what it is called there."""


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
