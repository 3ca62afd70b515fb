"""A page for tables of speed, and the scripts that write them; ``scripts``, ``alone`` and ``page`` are fixtures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE_TEXT = "# Speed\n\n<!-- speed -->\n<!-- /speed -->\n\nThe end.\n"
QUICK = ("--quick", "--device", "cpu", "--dtype", "fp32")


@pytest.fixture
def scripts(monkeypatch):
    """The files of benchmarks/ find each other, as they do where Python is given one of them."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])


@pytest.fixture
def alone(monkeypatch):
    """What a script starts finds this restorer, and takes one thread."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def page(tmp_path):
    """A page without tables."""
    (tmp_path / "page.md").write_text(PAGE_TEXT)
    return tmp_path / "page.md"
