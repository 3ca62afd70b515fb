"""Ground truth: the clean picture that belongs to a restored one, and how near that came to it."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from restorer import images
from restorer.errors import ImageError
from restorer.metrics import METRICS
from restorer.plan import Job, partners

SCORES = ("psnr", "ssim")
"""The keys of `METRICS` that a record holds."""


def find_truth(place: Path, job: Job) -> Path:
    """``place`` itself when it is a file, else the picture of the job's name in it; its ending may differ.

    Raises ``ImageError`` when there is none, or several.
    """
    found = partners(place, job)
    if len(found) != 1:
        several = f"several pictures of its name in {place}: {' and '.join(file.name for file in found)}"
        raise ImageError(f"{job.name}: {several if found else f'no ground truth of its name in {place}'}.")
    return found[0]


def read_truth(file: Path, size: tuple[int, int], max_pixels: int) -> Tensor:
    """The clean picture (1, 3, height, width), RGB in [0, 1]; ``size``: (width, height) that it must have, upright.

    Raises ``ImageError`` when it cannot be decoded, or is of another size.
    """
    picture = images.read(file, max_pixels=max_pixels)
    if picture.size != size:
        own, wanted = ("{}x{}".format(*pixels) for pixels in (picture.size, size))
        raise ImageError(f"{file}: a ground truth of {own} pixels, the picture has {wanted}.")
    return picture.pixels


def measure(restored: Tensor, clean: Tensor) -> tuple[dict[str, float], list[str]]:
    """(name -> score, sentences about what cannot be measured) of two pictures (1, 3, H, W) of one size."""
    scores, sentences = {}, []
    for name in SCORES:
        try:
            scores[name] = METRICS[name](restored, clean)
        except ImageError as error:  # SSIM of a picture smaller than its window
            sentences.append(str(error))
    return scores, sentences
