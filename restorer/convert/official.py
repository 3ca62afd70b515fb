"""Official checkpoints -> model folders: a table of sources, and what all of them share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from restorer.card import README, write_readme
from restorer.convert import ddim_files, diffusers_folder, irsde, rddm
from restorer.convert.wishes import Converted, Wishes
from restorer.errors import UsageError, unknown
from restorer.load import find, load
from restorer.train.checkpoint import save_model

__all__ = ["SOURCES", "Converted", "Wishes", "convert"]


def convert(
    source: str,
    checkpoint: Path,
    folder: Path,
    wishes: Wishes,
    *,
    overwrite: bool = False,
    dtype: torch.dtype | None = None,
) -> Converted:
    """Write the model folder of a foreign checkpoint. ``dtype`` of the weights: None keeps the file's own.

    The folder appears whole, after the model in it was loaded once, or not at all. ``overwrite`` replaces the model in
    a folder that has content; other files in it stay. Raises ``ModelError`` when the file is not what it should be,
    ``UsageError`` when more must be said of it, or when the folder may not be written.
    """
    if source not in SOURCES:
        raise unknown("source", source, list(SOURCES))
    _check_folder(folder, overwrite)
    made = SOURCES[source](checkpoint, replace(wishes, name=wishes.name or folder.resolve().name))
    return write(folder, replace(made, dtype=dtype or made.dtype))


def write(folder: Path, made: Converted) -> Converted:
    """A model folder, whole or not at all; answers what is in it now. Raises ``UsageError``, ``ModelError``.

    A README.md that is not ours stays, and a note says so.
    """
    unfinished = folder.parent / f".{folder.resolve().name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        entry = save_model(unfinished, made.entry, made.net, made.dtype)
        load(find(str(unfinished)), torch.device("cpu"), torch.float32)
        folder.mkdir(parents=True, exist_ok=True)
        kept = (
            () if write_readme(folder, entry, made.notes) else (f"{folder / README} is not ours and stays as it is.",)
        )
        for file in unfinished.iterdir():
            file.replace(folder / file.name)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written: {error.strerror}; choose another folder.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return replace(made, entry=entry, notes=(*made.notes, *kept))


def _check_folder(folder: Path, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; a model is a folder: choose another --output.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise UsageError(f"{folder} has content already; use -y to replace the model in it, or another --output.")


SOURCES: dict[str, Callable[[Path, Wishes], Converted]] = {
    "rddm": rddm.convert,
    "irsde": irsde.convert,
    "ddim": ddim_files.convert,
    "diffusers": diffusers_folder.convert,
}
"""``--from`` -> what reads the file."""
