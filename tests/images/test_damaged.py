"""Damaged and hostile files: an `ImageError` with one sentence, always, and never a part of a picture."""

import io
import os
import struct
import threading
import time

import numpy as np
import pytest
import tifffile
from PIL import Image
from sample_pictures import ICC, XMP, exif_bytes, levels, picture, pil_file, png_chunk, png_file, ramp

from restorer.errors import ImageError
from restorer.images import FORMATS, decode, encode, read

RGB = Image.fromarray(ramp(24, 20, 3))


def made(format, bits=8):
    return encode(
        picture(levels(12, 10, 3, bits), format=format, icc=ICC[:200], exif=exif_bytes(), xmp=XMP, dpi=(300.0, 300.0)),
        recipe={"model": "a"},
    )


def float_tiff():
    out = io.BytesIO()
    tifffile.imwrite(out, np.zeros((5, 5, 3), np.float32), photometric="rgb", metadata=None)
    return out.getvalue()


FILES = {
    **{f"{format} 8": made(format) for format in FORMATS},
    **{f"{format} 16": made(format, 16) for format in ("png", "tiff", "ppm")},
    "progressive": pil_file(RGB, "JPEG", progressive=True),
    "webp lossless": pil_file(RGB, "WEBP", lossless=True),
    "png palette": pil_file(RGB.quantize(9), "PNG"),
    "tiff lzw": pil_file(RGB, "TIFF", compression="tiff_lzw"),
    "tiff float": float_tiff(),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_cut_anywhere_is_refused(kind):
    data = FILES[kind]
    step = max(1, len(data) // 100)
    # The last row of a BMP ends in two bytes that fill it up to a multiple of four.
    last = len(data) - (3 if kind == "bmp 8" else 1)
    for length in (*range(0, last, step), last):
        with pytest.raises(ImageError) as caught:
            decode(data[:length], "cut.file")
        message = str(caught.value)
        assert message.startswith("cut.file ")
        assert "\n" not in message


# Pillow says what it makes of broken tags in warnings; they are no matter of these tests.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FILES)
def test_a_file_with_wrong_bytes_is_read_or_refused(kind):
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(FILES[kind])
        for place in rng.integers(0, len(data), rng.integers(1, 5)):
            data[place] = rng.integers(0, 256)
        try:
            whole = decode(bytes(data), "x", max_pixels=1_000_000)
        except ImageError:
            continue
        assert float(whole.pixels.min()) >= 0
        assert float(whole.pixels.max()) <= 1


@pytest.mark.parametrize("kind", FILES)
def test_a_whole_file_is_read(kind):
    assert decode(FILES[kind], "x").pixels.shape[1] == 3


def test_paths_that_are_no_picture(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("a shopping list")
    for name, words in [
        ("missing.png", "does not exist"),
        ("empty.png", "is empty"),
        ("text.png", "is not a picture"),
        (".", "is a folder"),
        ("text.png/x.png", "cannot be read|does not exist"),
        ("a\0b.png", "cannot be read"),
    ]:
        with pytest.raises(ImageError, match=words):
            read(tmp_path / name)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    path = tmp_path / "locked.png"
    path.write_bytes(FILES["png 8"])
    path.chmod(0)
    with pytest.raises(ImageError, match="permission"):
        read(path)


def test_a_file_is_known_by_its_content_not_its_name(tmp_path):
    path = tmp_path / "Imágenes #Día 3.png"
    path.write_bytes(FILES["jpg 8"])
    assert read(path).format == "jpg"


def bomb(format):
    side = 100_000
    if format == "png":
        return png_file((side, side, 8, 2, 0), bytes(1000))
    if format == "png 16":
        return png_file((side, side, 16, 2, 0), bytes(1000))
    if format == "jpg":
        data = bytearray(FILES["jpg 8"])
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
        return bytes(data)
    if format == "webp":
        canvas = (16383 - 1).to_bytes(3, "little") * 2
        chunks = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas + b"VP8L" + struct.pack("<I", 8) + bytes(8)
        return b"RIFF" + struct.pack("<I", len(chunks)) + chunks
    if format == "bmp":
        return b"BM" + struct.pack("<IHHI IiiHHIIiiII", 54, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    if format == "ppm":
        return b"P6\n100000 100000\n255\n"
    if format == "ppm 16":
        return b"P6\n100000 100000\n65535\n"
    data = bytearray(FILES["tiff 8" if format == "tiff" else "tiff 16"])
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as tiff:
        for tag in (256, 257):
            found = tiff.pages.first.tags[tag]
            struct.pack_into("<I" if found.dtype == 4 else "<H", data, found.valueoffset, 60_000)
    return bytes(data)


@pytest.mark.parametrize("format", ["png", "png 16", "jpg", "webp", "bmp", "ppm", "ppm 16", "tiff", "tiff 16"])
def test_a_bomb_is_refused_by_its_header(format):
    start = time.perf_counter()
    with pytest.raises(ImageError, match=r"more than the limit|larger than Pillow reads"):
        decode(bomb(format), "bomb")
    assert time.perf_counter() - start < 2


def test_a_chain_of_pages_without_end_is_not_followed():
    data = bytearray(FILES["tiff 8"])
    count = struct.unpack_from("<H", data, 8)[0]
    struct.pack_into("<I", data, 10 + 12 * count, len(data))
    for _ in range(50_000):  # reduced pages, which do not count, of one tag each
        data += struct.pack("<HHHIII", 1, 254, 4, 1, 1, len(data) + 18)
    start = time.perf_counter()
    assert decode(bytes(data), "x").size == (10, 12)
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("kind", FILES)
def test_pillows_own_limit_says_nothing(kind, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    if "webp" in kind:  # the one reader that holds its limit against us: above 178 million pixels, as it comes
        with pytest.raises(ImageError, match="larger than Pillow reads"):
            decode(FILES[kind], "x")
    else:
        assert decode(FILES[kind], "x").pixels.shape[0] == 1


def test_hostile_metadata_does_no_harm():
    import zlib

    flood = zlib.compress(bytes(50_000_000))
    chunks = [(b"iCCP", b"a\0\0" + flood), (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + flood), (b"eXIf", b"MM junk")]
    chunks += [(b"iTXt", b"restorer"), (b"pHYs", bytes(9)), (b"acTL", b"")]
    whole = decode(png_file((2, 1, 8, 0, 0), bytes(3), *chunks), "x")
    assert (whole.icc, whole.xmp, whole.exif, whole.dpi) == (None, None, None, None)
    # A chunk beside the pixels that fails its checksum is passed over; one of the pixels is not.
    data = bytearray(FILES["png 8"])
    data[data.index(b"eXIf") + 10] ^= 255
    assert decode(bytes(data), "x").exif is None
    data[data.index(b"IDAT") + 10] ^= 255
    with pytest.raises(ImageError, match="checksum"):
        decode(bytes(data), "x")


def test_bytes_behind_the_end_of_a_png_do_not_matter():
    assert decode(FILES["png 8"] + b"trailer", "x").size == decode(FILES["png 8"], "x").size
    assert decode(FILES["png 8"] + png_chunk(b"acTL", bytes([0, 0, 0, 9, 0, 0, 0, 0])), "x").size == (10, 12)


def test_pictures_are_read_in_parallel():
    failures = []

    def work(data, size):
        for _ in range(20):
            if decode(data, "x").size != size:
                failures.append(size)

    jobs = [(data, decode(data, "x").size) for data in FILES.values()]
    threads = [threading.Thread(target=work, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
