"""DDPM and DDIM models as diffusers saves them -> model folders: a folder, or a repository of the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import torch

from restorer.convert.wishes import Converted, Wishes
from restorer.errors import ModelError, UsageError
from restorer.load import Found, find, load

MEANT = ("name", "license", "steps")
"""What of the wishes the folder does not say itself."""


def convert(checkpoint: Path, wishes: Wishes) -> Converted:
    """The model in a folder, or of OWNER/REPO[@REVISION]; weights may be a pickle.

    Raises ``ModelError`` and ``UsageError`` with one sentence.
    """
    wishes.refuse("diffusers", [field.name for field in fields(wishes) if field.name not in MEANT])
    found = find(str(checkpoint), pickled=True)
    if found.read is None:
        raise ModelError(f"{checkpoint}: no folder of diffusers, but a model of restorer, which runs as it is.")
    return converted(found, wishes)


def converted(found: Found, wishes: Wishes) -> Converted:
    """A model of diffusers that was found, as one of ours. Raises as ``convert``."""
    assert found.read is not None
    entry, net = found.entry, load(found, torch.device("cpu"), torch.float32)
    if wishes.steps and wishes.steps > net.schedule.T:
        raise UsageError(f"--steps says {wishes.steps} steps, more than the schedule's {net.schedule.T}.")
    said = {key: value for key in ("name", "license") if (value := getattr(wishes, key)) is not None}
    entry = replace(entry, **said, sample=replace(entry.sample, steps=wishes.steps or entry.sample.steps))
    dtype = next(iter(found.read(found.weights, entry).values())).dtype
    return Converted(entry, net.net, dtype)
