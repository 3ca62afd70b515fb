"""The formats that Pillow reads and writes: JPEG, WebP, AVIF, BMP, 8-bit netpbm, and the pixels of 8-bit PNG and TIFF.

The classes are called directly and not through ``Image.open``: that one measures pictures against a limit of its own,
which is a global of the process and warns, and it tries formats that nobody asked for. The global that makes Pillow
accept cut files is left off, so that no half-decoded picture comes out.
"""

import io
from dataclasses import replace

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.WebPImagePlugin import WebPImageFile

from restorer.images import exif
from restorer.images.stored import Limits, Stored, plausible_dpi

# A JPEG with pictures behind the first (MPO: depth, gain map, preview) is read as its first: that is the photograph.
READERS: dict[str, type[ImageFile]] = {
    "jpg": JpegImageFile,
    "webp": WebPImageFile,
    "avif": AvifImageFile,
    "bmp": BmpImageFile,
    "ppm": PpmImageFile,
}
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def read(data: bytes, limits: Limits, format: str) -> Stored:
    """Bytes in a format of `READERS` -> `Stored`, uint8. Raises `ImageError`, OSError, SyntaxError, ValueError."""
    try:
        image = READERS[format](io.BytesIO(data))
    except Image.DecompressionBombError as fault:
        raise limits.refuse(f"is larger than Pillow reads ({fault})", "save it as PNG or TIFF first") from fault
    frames = image.n_frames if isinstance(image, WebPImageFile | AvifImageFile) else 1
    limits.check(*image.size, frames)
    # Asked for before decoding, which may clear it.
    icc, block, xmp = (image.info.get(key) for key in ("icc_profile", "exif", "xmp"))
    dpi = plausible_dpi(image.info.get("dpi"))
    if image.mode == "CMYK":
        pixels, icc = cmyk_samples(image, icc), None
    else:
        pixels = samples(image, limits)
    block = exif.PREFIX + block.removeprefix(exif.PREFIX) if block else None
    return Stored(pixels, icc or None, block, xmp or None, dpi)


def header_xmp(data: bytes, format: str) -> bytes | None:
    """The XMP packet of a file in a format of `READERS`, without decoding its pixels. Raises as `read`."""
    return READERS[format](io.BytesIO(data)).info.get("xmp")


def samples(image: Image.Image, limits: Limits) -> np.ndarray:
    """An 8-bit picture of any mode -> (H, W, C) uint8, transparency of any kind as an alpha channel."""
    if image.mode in ("1", "L", "LA"):
        mode = "LA" if image.has_transparency_data else "L"
    elif image.mode in ("P", "PA", "RGB", "RGBX", "RGBA", "YCbCr"):
        mode = "RGBA" if image.has_transparency_data else "RGB"
    else:
        raise limits.refuse(f"holds {image.mode} pixels, which are not read")
    converted = image if image.mode == mode else image.convert(mode)
    pixels = np.asarray(converted)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def cmyk_samples(image: Image.Image, icc: bytes | None) -> np.ndarray:
    """A CMYK picture -> (H, W, 3) uint8 in sRGB, through its own profile where it has one that works."""
    if icc:
        from PIL import ImageCms  # here, as few pictures are CMYK

        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            srgb = ImageCms.createProfile("sRGB")
            return np.asarray(ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB"))
        except (OSError, ImageCms.PyCMSError):
            pass  # A profile that is broken, or made for something else, says nothing: convert as if it were not there.
    return np.asarray(image.convert("RGB"))


def write_png(samples: np.ndarray) -> bytes:
    """(H, W, C) uint8 -> PNG with nothing but pixels."""
    out = io.BytesIO()
    _image(samples).save(out, "PNG")
    return out.getvalue()


def write_jpg(stored: Stored, quality: int) -> bytes:
    """`Stored` (1 or 3 channels) -> JPEG; from quality 90 on, colour keeps its full resolution (4:4:4)."""
    out = io.BytesIO()
    _image(stored.samples).save(
        out,
        "JPEG",
        quality=quality,
        subsampling="4:4:4" if quality >= 90 else "4:2:0",
        # JPEG counts whole dots; (0, 0) says that nothing is known.
        dpi=tuple(round(dots) for dots in stored.dpi or (0, 0)),
        icc_profile=stored.icc or b"",
        exif=stored.exif or b"",
        xmp=stored.xmp or b"",
    )
    return out.getvalue()


def write_webp(stored: Stored, quality: int) -> bytes:
    """`Stored` -> WebP: lossy below quality 100, lossless at 100. Alpha is exact, and so are colours under it."""
    out, stored = io.BytesIO(), _coloured(stored)
    _image(stored.samples).save(
        out,
        "WEBP",
        quality=quality,
        lossless=quality == 100,
        exact=True,
        icc_profile=stored.icc or b"",
        exif=stored.exif or b"",
        xmp=stored.xmp or b"",
    )
    return out.getvalue()


def write_avif(stored: Stored, quality: int) -> bytes:
    """`Stored` -> AVIF; from quality 90 on, colour keeps its full resolution (4:4:4). Alpha is exact.

    Only the AOM encoder is known to take the option that makes it so.
    """
    grey, alpha = stored.samples.shape[2] == 1, stored.samples.shape[2] in (2, 4)
    out, stored = io.BytesIO(), stored if grey else _coloured(stored)
    _image(stored.samples).save(
        out,
        "AVIF",
        quality=quality,
        subsampling="4:0:0" if grey else "4:4:4" if quality >= 90 else "4:2:0",
        codec="aom" if alpha else "auto",
        advanced={"a:lossless": "1"} if alpha else None,
        icc_profile=stored.icc or b"",
        exif=stored.exif or b"",
        xmp=stored.xmp or b"",
    )
    return out.getvalue()


def write_bmp(stored: Stored, quality: int) -> bytes:
    """`Stored` (1 or 3 channels) -> BMP. Lossless, so ``quality`` means nothing here."""
    out = io.BytesIO()
    _image(stored.samples).save(out, "BMP", dpi=stored.dpi or (96, 96))
    return out.getvalue()


def _image(samples: np.ndarray) -> Image.Image:
    return Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)


def _coloured(stored: Stored) -> Stored:
    """Grey as three equal channels, for the formats that have no grey; colour as it is.

    A profile for grey, which no colour picture may carry, is left out.
    """
    samples = stored.samples
    if samples.shape[2] >= 3:
        return stored
    samples = np.concatenate([samples[:, :, :1].repeat(3, axis=2), samples[:, :, 1:]], axis=2)
    return replace(stored, samples=samples, icc=None if (stored.icc or b"")[16:20] == b"GRAY" else stored.icc)
