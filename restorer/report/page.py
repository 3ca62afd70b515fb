"""One self-contained HTML page of pairs: nothing is fetched, so it opens from a file and from a mail alike."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from restorer import __version__
from restorer.images.picture import to_levels

LONGEST = 1600
"""Pictures in the page are no longer than this; the files themselves stay where they are."""
QUALITY = 85
MARK = '<meta name="generator" content="restorer'
"""By which a page of ours is known."""


@dataclass(frozen=True)
class Row:
    """One pair, ready for the page: pictures as data URLs, all of one shown size.

    ``change``: root mean square of the difference, in 8-bit levels, by which pairs without scores are sorted.
    """

    name: str
    before: str
    after: str
    size: tuple[int, int]
    change: float
    target: str | None = None
    spread: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    recipe: Mapping[str, Any] | None = None
    seconds: float | None = None

    @property
    def worst(self) -> float:
        """Sorts the worst first: by PSNR where that is known, else the most changed."""
        return -self.change if self.psnr is None else self.psnr

    @property
    def psnr(self) -> float | None:
        """In dB, 999 for equal pictures: a page sorts by finite numbers."""
        return min(self.scores["psnr"], 999.0) if "psnr" in self.scores else None

    @property
    def told(self) -> str:
        """The recipe as text."""
        return json.dumps(self.recipe, indent=1, ensure_ascii=False)


def row(
    name: str,
    before: Tensor,
    after: Tensor,
    *,
    target: Tensor | None = None,
    spread: Tensor | None = None,
    scores: Mapping[str, float] | None = None,
    recipe: Mapping[str, Any] | None = None,
    seconds: float | None = None,
) -> Row:
    """A pair of pictures (1, 3, H, W), float32 RGB in [0, 1]; ``before`` may be smaller, and is shown as large.

    ``target``: the clean picture; ``spread``: the map of where samples disagree. All are made small at once, so that
    the rows of hundreds of large pictures fit into memory.
    """
    height, width = after.shape[-2:]
    ratio = min(1, LONGEST / max(height, width))
    shown = max(1, round(height * ratio)), max(1, round(width * ratio))
    small = [None if v is None else _resized(v, shown) for v in (before, after, target, spread)]
    change = 255 * float((small[0] - small[1]).square().mean().sqrt())
    pictures = [None if v is None else _data_url(v) for v in small]
    return Row(
        name, pictures[0], pictures[1], (width, height), change, *pictures[2:], dict(scores or {}), recipe, seconds
    )


def page(rows: Iterable[Row], title: str = "Before and after") -> str:
    """The page, worst first."""
    from jinja2 import Environment, select_autoescape  # here, as runs that make no page have no need of it

    ordered = sorted(rows, key=lambda row: row.worst)
    measured = [row.psnr for row in ordered if row.psnr is not None]
    # The template is data: names of files are hostile until they are escaped, which is what autoescape does.
    environment = Environment(autoescape=select_autoescape(default_for_string=True, default=True))
    template = environment.from_string((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    mean = sum(measured) / len(measured) if measured else None
    return template.render(rows=ordered, title=title, version=__version__, mean=mean, measured=bool(measured))


def is_ours(file: Path) -> bool:
    """Whether a file is such a page."""
    try:
        with file.open(encoding="utf-8", errors="replace") as opened:
            return MARK in opened.read(2000)
    except OSError:
        return False


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(picture.shape[-2:]) == size:
        return picture
    return interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)


def _data_url(picture: Tensor) -> str:
    levels = to_levels(picture[0].permute(1, 2, 0).contiguous().numpy(), 8)
    out = io.BytesIO()
    Image.fromarray(levels).save(out, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
