"""What is freed is kept: the second time, a large block costs no new pages."""

import os
import platform
import subprocess
import sys

import pytest

ALLOCATE = """
import resource, sys
import torch
from restorer import heap
if sys.argv[1] == "keep":
    heap.keep()
def pages(megabytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.empty(megabytes * 2**20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
pages(1)
print(pages(20))
"""


def pages(word):
    """New pages of five blocks of 20 MiB, one after another."""
    # What a model loaded here has asked for must not reach the other process.
    clean = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    done = subprocess.run([sys.executable, "-c", ALLOCATE, word], check=True, capture_output=True, text=True, env=clean)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_a_block_that_was_freed_is_taken_again():
    usual = pages("as it is")
    assert usual > 20_000
    assert pages("keep") < usual / 4
