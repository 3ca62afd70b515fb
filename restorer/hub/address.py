"""``OWNER/REPO[@REVISION]``, read."""

from __future__ import annotations

import re
from typing import NamedTuple

MAIN = "main"
"""The revision that is meant where none is named."""

_ADDRESS = re.compile(r"([a-z0-9][\w.-]*/[a-z0-9][\w.-]*)(?:@(\w[\w./-]*))?", re.ASCII | re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FILES = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
"""What ends so is a file that is missing, not a repository."""


class Address(NamedTuple):
    """A repository of the Hub, and the branch, tag or commit of it that is meant, if one is."""

    repo: str
    revision: str | None = None


def address(model: str) -> Address | None:
    """What ``OWNER/REPO[@REVISION]`` says, or None for what is not written so."""
    match = _ADDRESS.fullmatch(model)
    if match is None or ".." in model or model.endswith(_FILES):
        return None
    return Address(match[1], match[2])


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a commit: 40 hex digits, which always mean the same files."""
    return bool(revision and _COMMIT.fullmatch(revision))


def spoken(repo: str, revision: str | None) -> str:
    """The two as one would write them."""
    return repo if revision in (None, MAIN) else f"{repo}@{revision}"
