"""What a file tells of its picture's size, told anew where the picture has become larger or smaller.

The thing that is shown stays as large as it was: 4 times the pixels on a side are 4 times the dots an inch.
"""

from typing import Any

from restorer.images import exif as exif_block
from restorer.images import xmp as xmp_packet
from restorer.images.stored import plausible_dpi

Size = tuple[int, int]


def at_size(
    old: Size, new: Size, *, exif: bytes | None, xmp: bytes | None, dpi: tuple[float, float] | None
) -> dict[str, Any]:
    """``exif``, ``xmp`` and ``dpi`` of a picture that had the size ``old`` and has ``new``, (width, height) both.

    A resolution that no file can hold becomes None.
    """
    if old == new:
        return {"exif": exif, "xmp": xmp, "dpi": dpi}
    ratio = new[0] / old[0], new[1] / old[1]
    return {
        "exif": None if exif is None else exif_block.resized(exif, new, ratio),
        "xmp": None if xmp is None else xmp_packet.resized(xmp, new, ratio),
        "dpi": None if dpi is None else plausible_dpi((dpi[0] * ratio[0], dpi[1] * ratio[1])),
    }
