"""HEIC and HEIF, as phones write them: read through pillow-heif where that is installed, and never written."""

import io

import numpy as np

from restorer.images import exif
from restorer.images.stored import Limits, Stored, plausible_dpi


def read(data: bytes, limits: Limits) -> Stored:
    """Bytes of a HEIC file -> `Stored`: its primary picture. Raises `ImageError`, OSError, ValueError, RuntimeError."""
    try:
        import pillow_heif
    except ImportError:
        raise limits.refuse("is a HEIC picture", "install what reads it: pip install 'restorer[heif]'") from None
    # Lazy: the header is checked before pixels are decoded.
    opened = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    image = opened[opened.primary_index]
    limits.check(*image.size)
    samples = np.asarray(image)
    samples = samples if samples.ndim == 3 else samples[:, :, None]
    # The file's own turning is applied already, so the tag that repeats it must not turn it again.
    block, _ = exif.take_orientation(_block(image.info.get("exif")))
    icc = image.info.get("icc_profile")
    return Stored(samples, icc or None, block, image.info.get("xmp") or None, plausible_dpi(image.info.get("dpi")))


def _block(data: bytes | None) -> bytes | None:
    return exif.PREFIX + data.removeprefix(exif.PREFIX) if data else None
