"""Recipes as files: those that come with restorer, one a paper's setting, and the one that a run was made by."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from restorer.errors import UsageError, unknown

FOLDER = Path(__file__).parent / "presets"
RECIPE = "train.toml"


def presets() -> list[str]:
    """Names of the recipes that come with restorer."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def preset(name: str) -> Path:
    """The file of a recipe that comes with restorer. Raises ``UsageError``."""
    if name not in presets():
        raise unknown("recipe", name, presets())
    return FOLDER / f"{name}.toml"


def read_recipe(recipe: Path) -> dict[str, Any]:
    """The TOML of a file, or of the preset of that name where there is no such file. Raises ``UsageError``."""
    if not recipe.exists() and recipe.name == str(recipe) and not recipe.suffix:
        recipe = preset(recipe.name)
    try:
        return tomllib.loads(recipe.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{recipe}: cannot read the recipe: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"{recipe}: not TOML: {error}.") from error


def as_toml(recipe: Mapping[str, Any]) -> str:
    """TOML that reads as ``recipe``: plain values first, then a table each; what is None is left out."""
    known = {key: value for key, value in recipe.items() if value is not None}
    plain = [f"{key} = {_value(value)}" for key, value in known.items() if not isinstance(value, Mapping)]
    tables = ["\n".join(_table(key, value)) for key, value in known.items() if isinstance(value, Mapping)]
    return "\n\n".join(["\n".join(plain), *tables]) + "\n"


def _table(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    yield f"[{name}]"
    yield from (f"{_key(key)} = {_value(value)}" for key, value in table.items() if value is not None)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items() if each is not None)
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    # Texts, true and false are written as JSON writes them; but for one letter, which TOML wants escaped.
    if isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else _value(key)
