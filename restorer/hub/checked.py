"""sha256 of large files, remembered by path, size and time of change: to read half a gigabyte takes half a second."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from restorer.entry import hash_file
from restorer.hub.home import note, recall

LARGE = 32_000_000
"""Bytes from which on a file's sha256 is remembered; smaller ones are read as fast."""
RECENT = 2.0
"""A file that changed within so many seconds may change again within one tick of its clock, so it is not remembered."""


def sha256_of(file: Path) -> str:
    """sha256 of a file, in hex; a large one that has not changed since is not read again. Raises ``OSError``."""
    file = file.resolve()
    state = file.stat()
    if state.st_size < LARGE:
        return hash_file(file)
    place = ("checked", f"{hashlib.sha256(str(file).encode()).hexdigest()[:32]}.json")
    known = {"path": str(file), "bytes": state.st_size, "changed": state.st_mtime_ns}
    noted = recall(*place)
    found = noted.pop("sha256", None)
    if noted == known and isinstance(found, str):
        return found
    began = time.time()
    found = hash_file(file)
    if began - state.st_mtime > RECENT:
        note({**known, "sha256": found}, *place)
    return found
