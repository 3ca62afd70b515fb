"""A picture as its file stores it: what every reader gives, and what every writer takes."""

from dataclasses import dataclass

import numpy as np

from restorer.errors import ImageError


@dataclass(frozen=True, eq=False)
class Stored:
    """Samples and what stands beside them in the file.

    ``samples`` is (H, W, C), uint8 or uint16, or float32 in [0, 1] when reading a float TIFF; C is 1 grey,
    2 grey + alpha, 3 RGB, 4 RGB + alpha. ``exif`` starts with ``Exif\\0\\0``. ``recipe`` is text for the formats
    that have a place of their own for it.
    """

    samples: np.ndarray
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    recipe: str | None = None


@dataclass(frozen=True)
class Limits:
    """What a reader checks in the header, before any pixel is decoded."""

    name: str
    max_pixels: int

    def check(self, width: int, height: int, frames: int = 1) -> None:
        """Raise `ImageError` for more than one frame, no pixels, or more pixels than the limit."""
        if frames > 1:
            raise ImageError(
                f"{self.name} holds more than one picture, and only still ones are restored; save one as PNG first."
            )
        if width < 1 or height < 1:
            raise ImageError(f"{self.name} says it is {width} x {height} pixels; get a whole copy of it.")
        if width * height > self.max_pixels:
            raise ImageError(
                f"{self.name} says it is {width} x {height} pixels, more than the limit of {self.max_pixels:,}; "
                "raise --max-pixels if you trust it."
            )

    def refuse(self, what: str, do: str = "save it as plain 8-bit or 16-bit RGB first") -> ImageError:
        """The error for a picture that is whole, but of a kind that is not read."""
        return ImageError(f"{self.name} {what}; {do}.")


def plausible_dpi(value: object) -> tuple[float, float] | None:
    """``value`` as (x, y) dots an inch when it is a pair of usable numbers, else None: headers hold any nonsense."""
    if not isinstance(value, tuple) or len(value) != 2:
        return None
    x, y = float(value[0]), float(value[1])
    return (x, y) if 1 <= x <= 30000 and 1 <= y <= 30000 else None
