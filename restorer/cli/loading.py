"""What a command loads before it works."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Within, a command imports what loads torch.

    Modules stay for as long as the process does: python need not look for garbage while they are loaded, nor among them
    later and at the end, which would be a quarter of a short command's time. Nothing is done where torch is loaded
    already: what else is in such a process is not the command's to keep.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
