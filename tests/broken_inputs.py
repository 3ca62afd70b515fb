"""Some fifty ways in which a picture can be none: a name, and a function that puts it into a folder."""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)


def encoded(format, mode="RGB", size=(40, 30), **options):
    """The bytes of a small picture."""
    values = RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(values).convert(mode).save(out, format, **options)
    return out.getvalue()


def animated(format):
    """Two frames."""
    out = io.BytesIO()
    first, second = (Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (0, 200))
    first.save(out, format, save_all=True, append_images=[second])
    return out.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(header, *chunks):
    head = struct.pack(">IIBBBBB", *header)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IEND", b"")


def bomb_tiff():
    tags = [
        (256, 4, 90000),
        (257, 4, 90000),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (278, 4, 90000),
        (279, 4, 9),
    ]
    rows = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + struct.pack("<I", 0)


def patched(data, at, content):
    return data[:at] + content + data[at + len(content) :]


PNG, JPG, WEBP, TIFF, BMP, PPM, AVIF = (encoded(f) for f in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "AVIF"))
WHOLE = {"png": PNG, "jpg": JPG, "webp": WEBP, "tif": TIFF, "bmp": BMP, "ppm": PPM, "avif": AVIF}

BYTES: dict[str, bytes] = {
    **{f"half.{ending}": data[: len(data) // 2] for ending, data in WHOLE.items()},
    **{f"head.{ending}": data[:20] for ending, data in WHOLE.items()},
    "empty.png": b"",
    "one_byte.jpg": b"\xff",
    "zeros.png": bytes(5000),
    "text.jpg": b"dear diary",
    "html.png": b"<!doctype html><title>404</title>",
    "pdf.jpg": b"%PDF-1.7\n",
    "svg.png": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "gif.png": animated("GIF"),
    "still_gif.png": encoded("GIF"),
    "apng.png": animated("PNG"),
    "moving.webp": animated("WEBP"),
    "moving.avif": animated("AVIF"),
    "pages.tif": animated("TIFF"),
    "zip.tif": b"PK\x03\x04" + bytes(60),
    "bomb.png": png((90000, 90000, 8, 2, 0, 0, 0), chunk(b"IDAT", zlib.compress(b"\0"))),
    "bomb16.png": png((90000, 90000, 16, 6, 0, 0, 0), chunk(b"IDAT", zlib.compress(b"\0"))),
    "bomb.bmp": patched(BMP, 18, struct.pack("<ii", 90000, 90000)),
    "bomb.ppm": b"P6\n90000 90000\n255\n" + bytes(100),
    "bomb16.ppm": b"P6\n90000 90000\n65535\n" + bytes(100),
    "bomb.tif": bomb_tiff(),
    "bomb.jpg": JPG[: JPG.index(b"\xff\xc0") + 5]
    + struct.pack(">HH", 60000, 60000)
    + JPG[JPG.index(b"\xff\xc0") + 9 :],
    "nothing_wide.png": png((0, 10, 8, 2, 0, 0, 0), chunk(b"IDAT", zlib.compress(b""))),
    "no_pixels.png": png((10, 10, 8, 2, 0, 0, 0)),
    "wrong_pixels.png": png((10, 10, 8, 2, 0, 0, 0), chunk(b"IDAT", zlib.compress(b"\0" * 9))),
    "no_palette.png": png((10, 10, 8, 3, 0, 0, 0), chunk(b"IDAT", zlib.compress(bytes(110)))),
    "bad_checksum.png": PNG[:45] + bytes([PNG[45] ^ 1]) + PNG[46:],
    "strange_depth.png": png((10, 10, 7, 2, 0, 0, 0), chunk(b"IDAT", zlib.compress(bytes(400)))),
    "no_end.png": PNG[:-12],
    "loop.tif": b"II*\0" + struct.pack("<I", 8) + struct.pack("<HI", 0, 8),
    "raw.tif": b"II*\0\x10\0\0\0CR\x02\0" + bytes(100),
    "heic.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40),
}
"""Name -> content that is no picture, or not one that is read."""


def fill(folder):
    """Put everything into ``folder``; the names of what is broken."""
    for name, data in BYTES.items():
        (folder / name).write_bytes(data)
    names = list(BYTES)
    for name, target in (
        ("circle_a.png", "circle_b.png"),
        ("circle_b.png", "circle_a.png"),
        ("dangling.png", "gone.png"),
    ):
        (folder / name).symlink_to(target)
        names.append(name)
    os.mkfifo(folder / "pipe.png")
    return [*names, "pipe.png"]
