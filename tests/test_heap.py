"""What is freed is kept: the second time, a large block costs no new pages."""

import os
import platform
import subprocess
import sys

import pytest

ALLOCATE = """
import ctypes, resource, sys
import torch
NO_LARGE_PAGES = 41  # of prctl(2), for this process: where the system has them always, there is little to count
ctypes.CDLL(None).prctl(NO_LARGE_PAGES, 1, 0, 0, 0)
from restorer import heap
if sys.argv[1] == "keep":
    heap.keep()
def pages(blocks):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(blocks):
        torch.empty(20 * 2**20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
pages(20)
print(pages(5))
"""

BLOCK = 20 * 2**20 / os.sysconf("SC_PAGESIZE")
"""Pages."""


def pages(word):
    """New pages of five blocks of 20 MiB, one after another, after twenty.

    What is cut off behind a block to align it waits in one of glibc's caches of small pieces, seven of a size; until
    that is full the block before it cannot be merged, and is too small to be aligned again. So up to ten of the first
    blocks, by where the heap happens to lie, are cut anew.
    """
    # What a model loaded here has asked for must not reach the other process.
    clean = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    # Where it is not told, glibc learns by chance to keep some of these blocks.
    clean["MALLOC_MMAP_THRESHOLD_"] = str(128 * 1024)
    done = subprocess.run([sys.executable, "-c", ALLOCATE, word], check=True, capture_output=True, text=True, env=clean)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_a_block_that_was_freed_is_taken_again():
    usual = pages("as it is")
    assert usual > 4.9 * BLOCK
    assert pages("keep") < 0.1 * BLOCK
