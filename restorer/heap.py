"""Memory that a layer of a net gave back is kept for the next layer."""

from __future__ import annotations

import ctypes
import os
import sys

LARGEST = 32 * 2**20
"""Bytes of the largest block that is kept, the most that glibc allows; larger ones are of large pages."""
KEPT = 512 * 2**20
"""Bytes that are kept at most; small beside what a net takes at its fullest."""

# Words of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep() -> None:
    """Let this process keep some of what it frees, where the C library is glibc; elsewhere nothing happens.

    By itself glibc gives blocks back to the system, which must fill them with zeros, page by page, before the next
    layer can write over them: a tenth of the time of a net on a CPU. Large blocks are always given back, so that holes
    between them do not add up; torch is asked to take those in large pages, if it has taken none yet.
    """
    if sys.platform != "linux":
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGEST)
        mallopt(_TRIM_THRESHOLD, KEPT)
