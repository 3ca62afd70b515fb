"""What restorer keeps beside the Hub's cache: in ``restorer/`` of HF_HOME, by the rules of huggingface_hub."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def hf_home() -> Path:
    """HF_HOME, else huggingface/ in the user's cache."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser().absolute()


def hub_cache() -> Path:
    """HF_HUB_CACHE, else hub/ in HF_HOME."""
    return Path(os.environ.get("HF_HUB_CACHE") or hf_home() / "hub").expanduser().absolute()


def kept(*names: str) -> Path:
    """A path in restorer's own folder."""
    return hf_home().joinpath("restorer", *names)


def recall(*names: str) -> dict[str, Any]:
    """What was noted under a name; nothing where nothing was, or what is there cannot be read."""
    try:
        data = json.loads(kept(*names).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def note(data: Mapping[str, Any], *names: str) -> bool:
    """Note something, all or nothing; False where the folder takes nothing, which a reader of notes must survive."""
    file = kept(*names)
    temporary = file.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(data), encoding="utf-8")
        temporary.replace(file)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        return False
    return True
