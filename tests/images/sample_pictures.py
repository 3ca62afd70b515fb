"""Pictures and files that the tests of `restorer.images` share."""

import io
import struct
import zlib

import numpy as np
import torch
from PIL import Image, ImageCms

from restorer.images import Picture

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF></x:xmpmeta>'
    + b" " * 200
    + b'<?xpacket end="w"?>'
)


def levels(height, width, channels, bits=8, seed=0):
    """Random samples (H, W, C) of every value."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 1 << bits, (height, width, channels), dtype=np.uint8 if bits == 8 else np.uint16)


def ramp(height, width, channels):
    """A smooth picture (H, W, C) uint8, which lossy formats keep well."""
    y, x = np.mgrid[0:height, 0:width]
    planes = (x * 255 / (width - 1), y * 255 / (height - 1), (x + y) * 255 / (width + height - 2), 255 - x)
    return np.stack(planes[:channels], axis=2).astype(np.uint8)


def planes(samples):
    """(H, W, C) levels -> (1, C, H, W) float32."""
    values = samples.astype(np.float32) / np.iinfo(samples.dtype).max
    return torch.from_numpy(values.transpose(2, 0, 1).copy())[None]


def picture(samples, **fields):
    """A `Picture` of (H, W, 1 to 4) levels."""
    values, channels = planes(samples), samples.shape[2]
    colours = values[:, :1].repeat(1, 3, 1, 1) if channels < 3 else values[:, :3]
    bits = 8 * samples.dtype.itemsize
    alpha = values[:, -1:] if channels in (2, 4) else None
    return Picture(colours, alpha=alpha, grey=channels < 3, bits=bits, **fields)


def samples_of(made):
    """A `Picture` -> the (H, W, C) levels that its file held."""
    values = made.pixels[:, :1] if made.grey else made.pixels
    values = values if made.alpha is None else torch.cat([values, made.alpha], dim=1)
    most, dtype = (255, np.uint8) if made.bits == 8 else (65535, np.uint16)
    return (values[0].permute(1, 2, 0).double().numpy() * most).round().astype(dtype)


def exif_bytes(orientation=None):
    """An EXIF block with a maker, a date, a position and perhaps an orientation."""
    exif = Image.Exif()
    exif[271] = "A maker"
    exif[306] = "2024:02:29 12:34:56"
    exif.get_ifd(0x8769)[36867] = "2024:02:29 12:00:00"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 29.5)})
    if orientation is not None:
        exif[0x0112] = orientation
    return exif.tobytes()


def pil_file(image, format, **options):
    """The bytes of a file as Pillow writes it."""
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_file(header, idat, *others):
    """A PNG of given IHDR fields (width, height, depth, colour type, interlace) and raw scanlines."""
    width, height, depth, colour, interlace = header
    chunks = [png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))]
    chunks += [png_chunk(kind, body) for kind, body in others]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*chunks, png_chunk(b"IDAT", zlib.compress(idat)), png_chunk(b"IEND", b"")])


def scanlines(samples, filters):
    """(H, W, C) uint16 -> PNG scanlines, filtered byte by byte as the specification says; ``filters[row % len]``."""
    height, width, channels = samples.shape
    size = 2 * channels
    rows = [bytes(size) + samples[y].astype(">u2").tobytes() for y in range(height)]
    above, out = bytes(size * (width + 1)), bytearray()
    for y, row in enumerate(rows):
        kind = filters[y % len(filters)]
        out.append(kind)
        for i in range(size, len(row)):
            a, b, c = row[i - size], above[i], above[i - size]
            nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            out.append((row[i] - (0, a, b, (a + b) // 2, nearest)[kind]) % 256)
        above = row
    return bytes(out)
