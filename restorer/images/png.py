"""PNG: its chunks, the metadata in them, and which reader and writer its pixels need.

Pillow decodes and encodes 8-bit pixels; it silently cuts 16-bit colour to 8, so those go through `png16`. The chunks
are walked here in either case: every one that the picture needs must be whole and match its checksum, up to the end
mark, so a file that was cut anywhere is refused.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from itertools import chain

from PIL.PngImagePlugin import PngImageFile

from restorer.images import exif, pillow, png16
from restorer.images.stored import Limits, Stored, plausible_dpi

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RECIPE_KEY = b"restorer"
_XMP_KEY = b"XML:com.adobe.xmp"
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_METADATA_LIMIT = 16 * 1024 * 1024
_INCH = 0.0254

Chunk = tuple[bytes, memoryview]


def chunks(data: bytes) -> Iterator[Chunk]:
    """(type, body) of each chunk up to IEND.

    Raises ValueError when the file ends before IEND, or when a chunk that matters to the pixels fails its checksum;
    other chunks that fail theirs are passed over.
    """
    view, at = memoryview(data), len(SIGNATURE)
    while True:
        if at + 12 > len(data):
            raise ValueError("the file ends before its end mark")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise ValueError(f"the {kind!r} chunk is cut")
        whole = zlib.crc32(view[at + 4 : end]) == struct.unpack_from(">I", data, end)[0]
        if not whole and kind in _PIXEL_CHUNKS:
            raise ValueError(f"the {kind!r} chunk fails its checksum")
        if whole:
            yield kind, view[at + 8 : end]
        if kind == b"IEND":
            return
        at = end + 4


def read(data: bytes, limits: Limits) -> Stored:
    """Bytes of a PNG -> `Stored` with uint8 or uint16 samples. Raises `ImageError`, ValueError, OSError, zlib.error."""
    kind, body = next(chunks(data))
    if kind != b"IHDR" or len(body) != 13:
        raise ValueError("the header is missing")
    header = png16.Header.parse(bytes(body))
    limits.check(header.width, header.height)
    found = list(chunks(data))
    frames = [struct.unpack_from(">I", body)[0] for kind, body in found if kind == b"acTL" and len(body) == 8]
    limits.check(header.width, header.height, max(frames, default=1))
    if header.colour == png16.PALETTE and not any(kind == b"PLTE" for kind, _ in found):
        raise ValueError("its palette is missing")
    if header.depth == 16:
        idat = b"".join(body for kind, body in found if kind == b"IDAT")
        key = next((bytes(body) for kind, body in found if kind == b"tRNS"), None)
        samples = png16.decode(header, idat, key)
    else:
        # Only what the pixels need: no metadata of a hostile file reaches Pillow's parser.
        bare = _join((kind, body) for kind, body in found if kind in _PIXEL_CHUNKS)
        samples = pillow.samples(PngImageFile(io.BytesIO(bare)), limits)
    return Stored(samples, **metadata(found))


def metadata(found: list[Chunk]) -> dict[str, object]:
    """What the chunks say beside the pixels: the fields ``icc``, ``exif``, ``xmp``, ``dpi``, ``recipe`` of `Stored`.

    A field that cannot be read is None; nothing is raised.
    """
    # The first of a kind counts; none of these may stand twice.
    first = {kind: bytes(body) for kind, body in reversed(found) if kind in (b"iCCP", b"eXIf", b"pHYs")}
    texts = dict(filter(None, (_itxt(bytes(body)) for kind, body in reversed(found) if kind == b"iTXt")))
    recipe = texts.get(RECIPE_KEY)
    block = first.get(b"eXIf")
    return {
        "icc": _inflate(first.get(b"iCCP", b"").partition(b"\0")[2][1:]),
        "exif": exif.PREFIX + block.removeprefix(exif.PREFIX) if block else None,
        "xmp": texts.get(_XMP_KEY),
        "dpi": _dpi(first.get(b"pHYs", b"")),
        "recipe": None if recipe is None else recipe.decode("utf-8", "replace"),
    }


def write(stored: Stored, quality: int) -> bytes:
    """`Stored` -> bytes of a PNG. Lossless, so ``quality`` means nothing here."""
    if stored.samples.dtype.itemsize == 2:
        header, idat = png16.encode(stored.samples)
        pixels = [(b"IHDR", header), (b"IDAT", idat), (b"IEND", b"")]
    else:
        pixels = list(chunks(pillow.write_png(stored.samples)))
    return _join(chain(pixels[:1], _metadata_chunks(stored), pixels[1:]))


def _metadata_chunks(stored: Stored) -> Iterator[tuple[bytes, bytes]]:
    if stored.recipe is not None:
        yield b"iTXt", RECIPE_KEY + b"\0\0\0\0\0" + stored.recipe.encode()
    if stored.icc is not None:
        yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(stored.icc)
    if stored.dpi is not None:
        yield b"pHYs", struct.pack(">IIB", *(round(dots / _INCH) for dots in stored.dpi), 1)
    if stored.exif is not None:
        yield b"eXIf", stored.exif.removeprefix(exif.PREFIX)
    if stored.xmp is not None:
        yield b"iTXt", _XMP_KEY + b"\0\0\0\0\0" + stored.xmp


def _join(pieces: Iterator[tuple[bytes, bytes | memoryview]]) -> bytes:
    out = [SIGNATURE]
    for kind, body in pieces:
        checksum = zlib.crc32(body, zlib.crc32(kind))
        out += struct.pack(">I4s", len(body), kind), body, struct.pack(">I", checksum)
    return b"".join(out)


def _itxt(body: bytes) -> tuple[bytes, bytes] | None:
    """(keyword, text as UTF-8) of an iTXt chunk: keyword, 0, compressed?, method, language, 0, translated, 0, text."""
    key, _, rest = body.partition(b"\0")
    parts = rest[2:].split(b"\0", 2)
    if len(rest) < 2 or len(parts) != 3:
        return None
    text = _inflate(parts[2]) if rest[0] else parts[2]
    return None if text is None else (key, text)


def _inflate(packed: bytes) -> bytes | None:
    """The bytes behind a small zlib stream; None when it is empty, damaged, or opens into more than the limit."""
    stream = zlib.decompressobj()
    try:
        plain = stream.decompress(packed, _METADATA_LIMIT)
    except zlib.error:
        return None
    return plain if plain and stream.eof else None


def _dpi(body: bytes) -> tuple[float, float] | None:
    if len(body) != 9 or body[8] != 1:
        return None
    return plausible_dpi(tuple(dots * _INCH for dots in struct.unpack_from(">II", body)))
