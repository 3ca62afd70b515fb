"""Tables of speed in docs/performance.md: each under its heading, between the marks, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from restorer.errors import UsageError
from restorer.images.atomic import write_bytes

BEGIN, END = "<!-- speed -->", "<!-- /speed -->"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def told(heading: str, made: str, page: Path | None) -> None:
    """Print a table, and put it into the page if there is one. Raises as ``write``."""
    print(f"\n### {heading}\n\n{made}", flush=True)
    if page:
        write(page, {heading: made})


def markdown(columns: Mapping[str, Sequence[str]]) -> str:
    """A table of columns, head -> cells."""
    rows = [list(columns), ["---"] * len(columns), *zip(*columns.values(), strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write(page: Path, tables: Mapping[str, str]) -> None:
    """Put tables into the page, in the place of those that have their heading. Raises ``UsageError``."""
    try:
        text = page.read_text(encoding="utf-8")
        write_bytes(page, put(text, tables).encode())
    except (OSError, ValueError) as error:
        raise UsageError(f"{page}: the tables cannot be put there: {error}") from error


def put(text: str, tables: Mapping[str, str]) -> str:
    """``text`` with the tables. Raises ``ValueError`` for marks that do not stand in it once, in this order."""
    before, begin, rest = text.partition(BEGIN)
    inside, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"{BEGIN} and {END} must stand in it once, in this order.")
    sections = dict(_sections(inside) | {heading: table.strip() for heading, table in tables.items()})
    body = "".join(f"### {heading}\n\n{table}\n\n" for heading, table in sections.items())
    return f"{before}{BEGIN}\n\n{body}{END}{after}" if body else text


def _sections(inside: str) -> dict[str, str]:
    """Heading -> what stands below it."""
    parts = re.split(r"^### (.+)$", inside, flags=re.MULTILINE)
    return {heading: below.strip() for heading, below in zip(parts[1::2], parts[2::2], strict=True)}
