"""The pairs of a run as they come, and what is written of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from restorer import images
from restorer.errors import ImageError
from restorer.images.atomic import write_bytes
from restorer.pairs import COMPARISON, Pair
from restorer.record import Record
from restorer.report.page import Row, is_ours, page, row
from restorer.report.sheets import grid, side, small
from restorer.truth import measure

Style = Literal["side", "grid", "html"]
STYLES: tuple[Style, ...] = ("side", "grid", "html")


@dataclass
class Comparison:
    """Collects pairs. ``side`` is written for each picture at once, beside it; ``grid`` and ``html`` at the end.

    ``place``: where to; only ``side`` can do without.
    """

    style: Style
    place: Path | None = None
    labels: bool = True
    rows: list[Row | Sequence[Tensor]] = field(default_factory=list)

    def add(
        self,
        name: str,
        before: Tensor,
        after: Tensor,
        *,
        output: Path | None = None,
        target: Tensor | None = None,
        spread: Tensor | None = None,
        scores: Mapping[str, float] | None = None,
        recipe: Mapping[str, Any] | None = None,
        seconds: float | None = None,
    ) -> Path | None:
        """Take a pair in, as of `row`; the path where it is written at once, beside ``output``. Raises `ImageError`."""
        if self.style == "side":
            file = self.place or output.with_name(f"{output.stem}_compare.jpg")
            write_sheet(side(before, after, target, labels=self.labels), file)
            return file
        if self.style == "grid":
            self.rows.append(small(before, after, target))
        else:
            words = {"scores": scores, "recipe": recipe, "seconds": seconds}
            self.rows.append(row(name, before, after, target=target, spread=spread, **words))
        return None

    def write(self, title: str = "Before and after") -> Path | None:
        """Write what was collected; None where there is nothing to write. Raises ``ImageError``."""
        if not self.rows:
            return None
        if self.style == "grid":
            write_sheet(grid(self.rows, labels=self.labels), self.place)
            return self.place
        if self.place.exists() and not is_ours(self.place):
            raise ImageError(f"{self.place} is there already and no page of restorer; move it away.")
        write_bytes(self.place, page(self.rows, title).encode())
        return self.place


def place_for(outputs: Sequence[Path], style: Style) -> Path:
    """Where the comparison of these outputs goes: the folder that holds them all."""
    folder = Path(os.path.commonpath([output.absolute().parent for output in outputs]))
    name = "compare.html" if style == "html" else "compare.jpg"
    if len(outputs) == 1:
        name = f"{outputs[0].stem}_{name}"
    try:
        return (folder / name).relative_to(Path.cwd())
    except ValueError:
        return folder / name


def check_place(file: Path) -> None:
    """Raise ``ImageError`` where a picture is that is no comparison of restorer."""
    if file.exists() and images.read_recipe(file) != COMPARISON:
        raise ImageError(f"{file} is there already and no comparison of restorer; move it away.")


def write_sheet(sheet: Tensor, file: Path) -> None:
    """Write a picture about pictures, which says of itself that it is one. Raises ``ImageError``."""
    check_place(file)
    images.write(images.Picture(sheet.contiguous()), file, quality=92, recipe=COMPARISON)


def compared(pair: Pair, into: Comparison, max_pixels: int) -> Record:
    """Read a pair, measure it where there is a ground truth, and put it into the comparison. Raises ``ImageError``."""
    before, after = (images.read(file, max_pixels=max_pixels).pixels for file in (pair.before, pair.after))
    ratio = [b / a for a, b in zip(before.shape[-2:], after.shape[-2:], strict=True)]
    if abs(ratio[0] / ratio[1] - 1) > 0.02:
        raise ImageError(f"{pair.after} has another shape than {pair.before}; compare pictures of one shape.")
    target = None if pair.target is None else images.read(pair.target, max_pixels=max_pixels).pixels
    scores, warnings = {}, []
    if target is not None and target.shape != after.shape:
        warnings, target = [f"{pair.target}: a ground truth of another size than {pair.after}; left out."], None
    if target is not None:
        scores, warnings = measure(after, target)
    recipe = images.read_recipe(pair.after)
    words = {"target": target, "scores": scores, "recipe": recipe, "output": pair.after}
    file = into.add(str(pair.inside), before, after, **words)
    size = (after.shape[-1], after.shape[-2])
    output = str(file) if file else str(pair.after)
    return Record(str(pair.before), output, "done", size=size, scores=scores, warnings=tuple(warnings))
