"""Several restorations of one picture: their mean, and how far they spread, which is where the model invented.

The mean of samples is nearer to the truth than a sample is, in the mean square, and smoother than any; the spread is
the standard deviation at each pixel, the mean of its three channels.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from restorer import images
from restorer.errors import ImageError
from restorer.images.recipe import same_recipe
from restorer.plan import Job, sampled

if TYPE_CHECKING:
    from restorer.bench import Bench, Ready
    from restorer.record import Record
    from restorer.restore import Made

MEAN, UNCERTAINTY = "mean", "uncertainty"
"""What the names of the two pictures end in."""


class Spread:
    """Running mean and spread of pictures (1, 3, H, W) in [0, 1], of which it keeps none. [Welford 1962]"""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor | None = None
        self.squares: Tensor | None = None

    def add(self, picture: Tensor) -> None:
        """One more. Raises ``ImageError`` for another size than that of the first."""
        if self.mean is None:
            self.mean, self.squares = torch.zeros_like(picture), torch.zeros_like(picture)
        if picture.shape != self.mean.shape:
            raise ImageError("samples of different sizes have no mean; make them again with --overwrite.")
        self.count += 1
        away = picture - self.mean
        self.mean += away / self.count
        self.squares += away * (picture - self.mean)

    @property
    def std(self) -> Tensor:
        """(1, 1, H, W): the standard deviation at each pixel, the mean of its channels; 0 of one picture."""
        return (self.squares / max(self.count - 1, 1)).sqrt().mean(dim=1, keepdim=True)

    def map(self) -> tuple[Tensor, float]:
        """(the spread as a picture (1, 3, H, W), from black over violet and orange to white; what white means).

        White is the most that any pixel spreads, but at least two 8-bit levels: where samples agree, all is dark.
        """
        std = self.std
        most = max(float(std.max()), 2 / 255)
        return heat(std / most), most


def heat(values: Tensor) -> Tensor:
    """(N, 1, H, W) in [0, 1] to colours (N, 3, H, W): ever brighter, so that it reads in grey too."""
    table = torch.tensor(_HEAT, dtype=values.dtype, device=values.device)
    place = values.clamp(0, 1) * (len(table) - 1)
    low = place.floor().clamp(max=len(table) - 2).long()
    colours = torch.lerp(table[low], table[low + 1], (place - low)[..., None])
    return colours.squeeze(1).movedim(-1, 1)


_HEAT = [(0.0, 0.0, 0.02), (0.25, 0.04, 0.42), (0.60, 0.15, 0.40), (0.93, 0.41, 0.15), (0.98, 0.75, 0.14), (1, 1, 0.9)]


@dataclass
class Spreads:
    """The samples of the picture in hand, as they come; when the last is there, its two pictures are written."""

    now: Spread = field(default_factory=Spread)
    missing: list[int] = field(default_factory=list)

    def add(self, bench: Bench, ready: Ready, record: Record, made: Made | Exception | None) -> Record:
        """Take one sample in; with the last, the record tells of the mean and the map. Raises ``ImageError``."""
        number = ready.job.sample
        if number == 1:
            self.now, self.missing = Spread(), []
        if record.status == "planned":
            return record
        if record.status == "done":
            written = images.as_written(ready.picture.restored(made.pixels), format=ready.form, bits=bench.files.bits)
            self.now.add(written)
        elif record.status == "skipped":
            self.now.add(images.read(Path(record.output), max_pixels=bench.files.max_pixels).pixels)
        else:
            self.missing.append(number)
        if number < bench.files.samples:
            return record
        if self.missing:
            gone = ", ".join(map(str, self.missing))
            said = f"{ready.job.name}: no mean and no uncertainty, because of sample {gone}."
            return replace(record, warnings=(*record.warnings, said))
        return self._write(bench, ready, record)

    def _write(self, bench: Bench, ready: Ready, record: Record) -> Record:
        last = Path(record.output)
        pictured = images.read(last, max_pixels=bench.files.max_pixels)
        recipe = {**record.made, "samples": bench.files.samples, "seed": bench.work.recipe["seed"]}
        drawn, most = self.now.map()
        plain = images.Picture(drawn.contiguous(), dpi=pictured.dpi)
        wanted = (
            (MEAN, last.suffix, replace(pictured, pixels=self.now.mean), {"of": MEAN}),
            (UNCERTAINTY, ".png", plain, {"of": UNCERTAINTY, "white": round(255 * most, 2)}),
        )
        written, said = [], []
        for word, suffix, picture, more in wanted:
            target = _place(ready.asked, bench.files.samples, word, suffix)
            if bench.files.exists == "overwrite" or not target.exists():
                bench.write(target, picture, images.format_of(target), {**recipe, **more})
                written.append(str(target))
            elif not same_recipe(images.read_recipe(target), {**recipe, **more}):
                said.append(f"{target} is there, made with other settings; use --overwrite.")
        record = replace(record, beside=(*record.beside, *written), warnings=(*record.warnings, *said))
        return record if bench.comparison is None else bench.compare(ready, record, drawn)


def _place(job: Job, samples: int, word: str, suffix: str) -> Path:
    stem = job.target.stem.removesuffix(f"_s{samples}")
    return sampled(job.target.with_name(f"{stem}{suffix}"), word)
