"""SHA256SUMS: the checksums of a model folder's files, one a line, as ``sha256sum -c`` reads them. stdlib only."""

from __future__ import annotations

import re
from pathlib import Path

from restorer.entry import hash_file
from restorer.errors import ModelError
from restorer.hub.layout import leaves

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def read_sums(file: Path) -> dict[str, str]:
    """Name -> sha256. Raises ``ModelError`` for a line that is none, and for a name that leads out of the folder."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read: {error}.") from error
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None or leaves(match[2]) or match[2] in sums:
            raise ModelError(f"{file}, line {number}: no checksum and name of a file in the folder: {line[:80]!r}.")
        sums[match[2]] = match[1]
    return sums


def sums_text(folder: Path) -> str:
    """The lines for all files of a folder but SHA256SUMS itself and hidden ones, in order of name."""
    return "".join(f"{hash_file(folder / name)}  {name}\n" for name in files(folder))


def files(folder: Path) -> list[str]:
    """Names of a folder's files that checksums are for."""
    names = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    seen = (name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))
    return sorted(name for name in seen if name != SUMS)
