"""What a repository or a folder holds, told from its files' names and its JSON files. stdlib only."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from restorer.entry import parse_entry
from restorer.errors import ModelError

CONFIG, INDEX, SCHEDULER = "config.json", "model_index.json", "scheduler_config.json"
UNET = "unet"
"""The folder of a pipeline's net."""
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
"""Names of a diffusers net's weights, the safe one first."""
SAFE = ".safetensors"

_TOLD = (".md", ".txt", ".toml", ".json", ".png", ".jpg")
"""Files that tell of a model, to people and to ``restorer models verify``."""
_SUMS = ("SHA256SUMS", "LICENSE", "NOTICE")


def needed(where: str, names: Collection[str], read: Callable[[str], Mapping[str, Any]]) -> tuple[str, ...]:
    """Those of a repository's files that its model needs, the weights last.

    ``where`` names the repository in errors, ``names`` are its files, and ``read`` gives a JSON file among them. No
    code is ever needed, and no pickle where there are safetensors.
    Raises ``ModelError`` when there is no model that can be used, naming what was found.
    """
    found = f"{where}: no model that restorer can use: "
    config = read(CONFIG) if CONFIG in names else {}
    if "net" in config:  # a card of ours
        weights = parse_entry(config, f"{where}: {CONFIG}").weights
        if weights is None or weights.file not in names or not weights.file.endswith(SAFE) or leaves(weights.file):
            raise ModelError(f"{found}{CONFIG} names no .safetensors file that is there. It has {_some(names)}.")
        return (CONFIG, weights.file)
    part = f"{UNET}/" if f"{UNET}/{CONFIG}" in names else ""
    kind = (read(part + CONFIG) if part else config).get("_class_name")
    if kind != "UNet2DModel":
        what = f"{part + CONFIG} is for {kind}" if kind else "neither a card of restorer nor a UNet2DModel of diffusers"
        raise ModelError(f"{found}{what}. It has {_some(names)}.")
    scheduler = next((name for name in (f"scheduler/{SCHEDULER}", SCHEDULER) if name in names), None)
    if scheduler is None:
        raise ModelError(f"{found}{SCHEDULER} is missing, so the schedule is unknown. It has {_some(names)}.")
    weights = next((part + name for name in WEIGHTS if part + name in names), None)
    if weights is None:
        raise ModelError(f"{found}no {part}{' or '.join(WEIGHTS)}. It has {_some(names)}.")
    return (part + CONFIG, scheduler, weights)


def telling(names: Collection[str]) -> tuple[str, ...]:
    """Those of a repository's files that tell of its model: card, checksums, pictures; to run it none is needed."""
    told = [name for name in names if name.endswith(_TOLD) or name in _SUMS]
    return tuple(sorted(name for name in told if not leaves(name) and not name.startswith(".")))


def is_diffusers(folder: Path) -> bool:
    """Whether a folder holds a model of diffusers, be it one that can be used or not."""
    if (folder / CONFIG).exists():
        try:
            return "_class_name" in json_table(folder / CONFIG)
        except ModelError:
            return False
    return (folder / INDEX).exists() or (folder / UNET / CONFIG).exists()


def json_table(file: Path) -> dict[str, Any]:
    """What a JSON file holds. Raises ``ModelError`` for one that cannot be read, or that is no table."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file}: is no JSON: {error}.") from error
    if not isinstance(data, dict):
        raise ModelError(f"{file}: is no table of keys.")
    return data


def leaves(name: str) -> bool:
    """Whether a file's name leads out of the folder that it is in."""
    ways = PurePosixPath(name), PureWindowsPath(name)
    return any(way.is_absolute() or way.drive or ".." in way.parts for way in ways)


def _some(names: Collection[str]) -> str:
    shown = sorted(name for name in names if not name.startswith("."))
    rest = f" and {len(shown) - 8} more files" if len(shown) > 8 else ""
    return (", ".join(shown[:8]) or "no files") + rest
