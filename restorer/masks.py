"""Masks of pictures: which file holds a picture's, and what it says. White is marked; what is transparent is not."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from restorer import images
from restorer.errors import ImageError
from restorer.images.read import read_bytes
from restorer.plan import Job, partners


@dataclass(frozen=True, eq=False)
class Mask:
    """A mask's file, read but not decoded."""

    file: Path
    data: bytes

    @property
    def sha256(self) -> str:
        """Of the file, in hex."""
        return hashlib.sha256(self.data).hexdigest()

    def pixels(self, size: tuple[int, int], max_pixels: int, scale: int = 1) -> Tensor:
        """(1, 3, height, width) in [0, 1]; ``size``: (width, height) of its picture, both upright.

        It may also be ``scale`` times as large, as the result is.

        Raises ``ImageError`` when it cannot be decoded, or is of another size.
        """
        picture = images.decode(self.data, str(self.file), max_pixels=max_pixels)
        larger = (scale * size[0], scale * size[1])
        if picture.size not in (size, larger):
            own, wanted, enlarged = ("{}x{}".format(*pixels) for pixels in (picture.size, size, larger))
            wanted += "" if scale == 1 else f", the result {enlarged}"
            raise ImageError(f"{self.file}: a mask of {own} pixels, the picture has {wanted}; make them of one size.")
        return picture.pixels if picture.alpha is None else picture.pixels * picture.alpha


def read_mask(place: Path, job: Job) -> Mask:
    """The mask of the picture of ``job``. Raises ``ImageError`` when there is none."""
    file = find_mask(place, job)
    return Mask(file, read_bytes(file))


def find_mask(place: Path, job: Job) -> Path:
    """``place`` itself when it is a file, else the picture of the job's name in it; its ending may differ.

    Raises ``ImageError`` when there is none, or several.
    """
    found = partners(place, job)
    if not found and job.source is None:
        raise ImageError("Standard input has no name to find its mask by; name the mask's file: --mask FILE.")
    if len(found) != 1:
        names = " and ".join(file.name for file in found)
        name = job.inside or Path(job.source.name)
        raise ImageError(
            f"{job.name}: {f'several masks: {names}' if found else f'no mask {name.with_suffix(str())}.*'} in {place}; "
            "a mask has the name of its picture."
        )
    return found[0]
