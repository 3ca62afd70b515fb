"""Files of every kind that others write, and those that are refused with one sentence."""

import io
import warnings

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps
from sample_pictures import ICC, exif_bytes, levels, picture, pil_file, planes, ramp, samples_of

from restorer.errors import ImageError
from restorer.images import decode, encode
from restorer.images.exif import take_orientation

RGB = Image.fromarray(ramp(20, 24, 3))
PALETTE = RGB.quantize(16)


def tiff_file(samples, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, samples, metadata=None, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("image", "format", "options", "mode"),
    [
        (RGB.convert("1"), "PNG", {}, "L"),
        (RGB.convert("1"), "BMP", {}, "L"),
        (RGB.convert("1"), "PPM", {}, "L"),
        (RGB.convert("1"), "TIFF", {"compression": "group4"}, "L"),
        (RGB.convert("L"), "PNG", {"transparency": 7}, "LA"),
        (RGB.convert("L"), "TIFF", {}, "L"),
        (RGB.convert("LA"), "PNG", {}, "LA"),
        (RGB, "PNG", {"transparency": (0, 0, 0)}, "RGBA"),
        (RGB, "TIFF", {"compression": "tiff_lzw"}, "RGB"),
        (RGB, "TIFF", {"compression": "packbits"}, "RGB"),
        (RGB, "PPM", {}, "RGB"),
        (RGB.convert("RGBA"), "TIFF", {}, "RGBA"),
        (Image.fromarray(ramp(20, 24, 4)), "WEBP", {"lossless": True, "exact": True}, "RGBA"),
        (PALETTE, "PNG", {}, "RGB"),
        (PALETTE, "BMP", {}, "RGB"),
        (PALETTE, "TIFF", {}, "RGB"),
        (PALETTE, "PNG", {"transparency": 3}, "RGBA"),
        (PALETTE, "PNG", {"transparency": bytes(range(0, 160, 10))}, "RGBA"),
    ],
)
def test_modes(image, format, options, mode):
    data = pil_file(image, format, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert(mode))
    expected = expected.reshape(*expected.shape[:2], -1)
    made = decode(data, "x")
    assert made.grey == (mode in ("L", "LA"))
    assert (made.alpha is not None) == (mode in ("LA", "RGBA"))
    np.testing.assert_array_equal(samples_of(made), expected)


def test_cmyk_without_a_profile_is_converted_plainly():
    data = pil_file(RGB.convert("CMYK"), "JPEG", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(samples_of(decode(data, "x")), expected)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_profile_and_one_that_does_not_fit_is_passed_over(format, monkeypatch):
    data = pil_file(RGB.convert("CMYK"), format, icc_profile=ICC)  # an RGB profile, which does not fit
    made = decode(data, "x")
    assert made.icc is None
    np.testing.assert_array_equal(samples_of(made), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))

    def through_profile(image, source, target, outputMode):
        assert (image.mode, outputMode) == ("CMYK", "RGB")
        return Image.new("RGB", image.size, (1, 2, 3))

    monkeypatch.setattr(ImageCms, "profileToProfile", through_profile)
    made = decode(data, "x")
    assert (samples_of(made) == (1, 2, 3)).all()
    assert made.icc is None


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_applied_and_its_tag_cleared(orientation, format):
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(format, {})
    data = pil_file(RGB, format, exif=exif_bytes(orientation), dpi=(300, 150), **lossless)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    made = decode(data, "x")
    assert made.size == expected.size
    np.testing.assert_array_equal(samples_of(made), np.asarray(expected))
    exif = Image.Exif()
    exif.load(made.exif)
    assert 0x0112 not in exif
    assert exif[271] == "A maker"
    assert exif.get_ifd(0x8825)[1] == "N"
    if made.dpi:
        assert made.dpi == pytest.approx((150, 300) if orientation >= 5 else (300, 150), abs=0.02)
    # Another reader must not turn it again.
    again = ImageOps.exif_transpose(Image.open(io.BytesIO(encode(made))))
    assert again.size == expected.size


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_orientation_of_16_bit_files(orientation):
    samples = levels(5, 7, 3, 16)
    expected = np.rot90(samples, {1: 0, 3: 2, 6: -1}[orientation])
    deep = {"extratags": [(274, "H", 1, orientation, True)], "photometric": "rgb"}
    np.testing.assert_array_equal(samples_of(decode(tiff_file(samples, **deep), "x")), expected)
    png = encode(picture(samples, exif=exif_bytes(orientation)))
    np.testing.assert_array_equal(samples_of(decode(png, "x")), expected)


@pytest.mark.parametrize("format", ["JPEG", "TIFF", "WEBP"])
def test_orientation_in_xmp_alone_is_applied_once(format):
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>6</tiff:Orientation></x:xmpmeta>'
    made = decode(xmp_file(format, packet), "x")
    assert made.size == (20, 24)
    assert made.xmp == b'<x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>'
    both = decode(pil_file(RGB, "JPEG", xmp=packet, exif=exif_bytes(3)), "x")
    assert both.size == (24, 20)
    assert b"Orientation" not in both.xmp


def xmp_file(format, packet):
    if format == "TIFF":
        return tiff_file(np.asarray(RGB), photometric="rgb", extratags=[(700, "B", len(packet), packet, True)])
    return pil_file(RGB, format, xmp=packet)


@pytest.mark.parametrize("order", ["little", "big"])
def test_the_exif_block_is_edited_in_place(order):
    exif = Image.Exif()
    exif.endian = "<" if order == "little" else ">"
    exif[271] = "A maker"
    exif[0x0112] = 8
    before = exif.tobytes()
    after, orientation = take_orientation(before)
    assert orientation == 8
    assert len(after) == len(before)
    assert b"A maker" in after
    assert take_orientation(after) == (after, None)


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0II",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0" + bytes(60),
        b"Exif\0\0II+\0\x08\0\0\0" + bytes(60),
        b"Exif\0\0junk" * 9,
    ],
)
def test_an_exif_block_that_cannot_be_parsed_is_dropped(block):
    assert take_orientation(block) == (None, None)
    assert decode(pil_file(RGB, "JPEG", exif=block, dpi=(72, 72)), "x").exif is None


# Pillow says what it makes of broken tags in warnings.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", ["jpg", "png", "webp", "tiff", "avif"])
def test_an_exif_block_with_odd_tags_can_be_written(format):
    rng = np.random.default_rng(0)
    for _ in range(60):
        block = bytearray(exif_bytes(6))
        for place in rng.integers(6, len(block), 3):
            block[place] = rng.integers(0, 256)
        exif, _ = take_orientation(bytes(block))
        assert decode(encode(picture(ramp(4, 4, 3), format=format, exif=exif)), "x").size == (4, 4)


TIFF_OPTIONS = [{}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}, {"bigtiff": True}]
PLANES = {"planarconfig": "separate"}  # which one channel cannot be


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize(
    ("channels", "options"),
    [(c, options) for c in (1, 3, 4) for options in TIFF_OPTIONS] + [(3, PLANES), (4, PLANES)],
)
def test_16_bit_tiff_of_others(byteorder, channels, options):
    samples = levels(37, 41, channels, 16)
    if channels == 1:
        samples, colours = samples[:, :, 0], "minisblack"
    else:
        colours = "rgb"
    if options.get("planarconfig"):
        stored = np.moveaxis(samples, 2, 0)
    else:
        stored = samples
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    made = decode(tiff_file(stored, byteorder=byteorder, photometric=colours, **options, **extra), "x")
    assert (made.bits, made.grey) == (16, channels == 1)
    np.testing.assert_array_equal(samples_of(made), samples.reshape(37, 41, channels))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("byteorder", "<>")
def test_16_bit_tiff_in_a_compression_that_tifffile_leaves_to_others(channels, byteorder):
    # A file whose compression only Pillow undoes: PackBits, as runs of literal bytes.
    samples = levels(5, 7, channels, 16)
    row = 7 * channels * 2
    rows = samples.astype(f"{byteorder}u2").tobytes()
    packed = b"".join(bytes([row - 1]) + rows[at : at + row] for at in range(0, len(rows), row))
    plain = tiff_file(
        samples[:, :, 0] if channels == 1 else samples,
        byteorder=byteorder,
        photometric="minisblack" if channels == 1 else "rgb",
        **({"extrasamples": ["unassalpha"]} if channels == 4 else {}),
    )
    np.testing.assert_array_equal(samples_of(decode(repacked(plain, packed, byteorder), "x")), samples)


def repacked(plain, packed, byteorder):
    """A one-strip TIFF with PackBits pixels in place of plain ones."""
    order = {"<": "little", ">": "big"}[byteorder]
    body = bytearray(plain)
    with tifffile.TiffFile(io.BytesIO(plain)) as tiff:
        tags = tiff.pages.first.tags
        for tag, value in ((259, 32773), (273, len(plain)), (279, len(packed))):
            size = {3: 2, 4: 4}[tags[tag].dtype]
            body[tags[tag].valueoffset : tags[tag].valueoffset + size] = value.to_bytes(size, order)
    return bytes(body) + packed


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_tiff_in_range_counts_as_16_bits(dtype):
    samples = np.random.default_rng(0).random((9, 8, 3)).astype(dtype)
    made = decode(tiff_file(samples, photometric="rgb"), "x")
    assert made.bits == 16
    assert torch.equal(made.pixels[0], torch.from_numpy(samples.astype(np.float32)).permute(2, 0, 1))


def test_inverted_grey_and_multiplied_alpha_are_undone():
    grey = levels(5, 5, 1, 16)
    made = decode(tiff_file(grey[:, :, 0], photometric="miniswhite"), "x")
    np.testing.assert_array_equal(samples_of(made), 65535 - grey)
    half = np.full((4, 4, 4), (16384, 8192, 0, 32768), np.uint16)
    made = decode(tiff_file(half, photometric="rgb", extrasamples=["assocalpha"]), "x")
    np.testing.assert_allclose(samples_of(made)[0, 0], [32768, 16384, 0, 32768], atol=2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("most", [256, 1023, 65535])
def test_16_bit_netpbm_of_others(channels, most):
    samples = np.random.default_rng(0).integers(0, most + 1, (6, 7, channels), dtype=np.uint16)
    header = f"P{5 if channels == 1 else 6}\n# a comment\n7 6\n{most}\n".encode()
    made = decode(header + samples.astype(">u2").tobytes(), "x")
    assert made.bits == 16
    np.testing.assert_array_equal(samples_of(made), np.round(samples / most * 65535).astype(np.uint16))


def test_a_jpeg_with_more_pictures_behind_it_is_its_first():
    data = pil_file(RGB, "MPO", save_all=True, append_images=[RGB.resize((8, 8))])
    assert decode(data, "x").size == (24, 20)


def test_a_second_tiff_page_that_is_a_thumbnail_does_not_count():
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as tiff:
        tiff.write(levels(9, 9, 3), photometric="rgb", metadata=None)
        tiff.write(levels(3, 3, 3), photometric="rgb", subfiletype=1, metadata=None)
    assert decode(out.getvalue(), "x").size == (9, 9)


def pages():
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as tiff:
        for _ in range(2):
            tiff.write(levels(9, 9, 3), photometric="rgb", metadata=None)
    return out.getvalue()


def frames(format):
    return pil_file(RGB, format, save_all=True, append_images=[RGB.rotate(90)])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (frames("PNG"), "holds more than one picture"),
        (frames("WEBP"), "holds more than one picture"),
        (frames("AVIF"), "holds more than one picture"),
        (pages(), "holds more than one picture"),
        (pil_file(RGB, "GIF"), "not a picture in a format that is read"),
        (b"a text file called photo.png", "not a picture in a format that is read"),
        (b"", "empty"),
        (tiff_file(levels(4, 4, 3).astype(np.uint32), photometric="rgb"), "32-bit"),
        (tiff_file(levels(4, 4, 1)[:, :, 0].astype(np.int16), photometric="minisblack"), "16-bit samples of a kind"),
        (tiff_file(levels(4, 4, 3).astype(np.float32), photometric="rgb"), "holds values from"),
        (tiff_file(np.full((4, 4, 3), np.nan, np.float32), photometric="rgb"), "holds values from"),
        (tiff_file(levels(4, 4, 4, 16), photometric="separated"), "4 channels|16-bit samples of a kind"),
        (tiff_file(levels(4, 4, 4, 16), photometric="rgb", extrasamples=["unspecified"]), "neither colour nor alpha"),
        (tiff_file(levels(4, 4, 1)[:, :, 0], photometric="minisblack", subfiletype=1), "camera's raw file"),
        (tiff_file(levels(4, 4, 1, 16)[:, :, 0], photometric="cfa"), "camera's raw file"),
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(64), "camera's raw file"),
        (pil_file(RGB.convert("LAB"), "TIFF"), "LAB"),
    ],
)
def test_what_is_not_read_is_refused_in_one_sentence(data, words):
    with pytest.raises(ImageError, match=words) as caught:
        decode(data, "the.name")
    message = str(caught.value)
    assert message.startswith("the.name ")
    assert message.endswith(".")
    assert "\n" not in message


def test_nothing_of_pillows_own_limit_is_met_or_changed():
    from PIL import ImageFile

    before = Image.MAX_IMAGE_PIXELS
    data = pil_file(Image.new("1", (10000, 9500)), "PNG")  # above the size at which Image.open warns
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(ImageError, match="10000 x 9500 pixels, more than the limit of 1,000"):
            decode(data, "x", max_pixels=1000)
    assert not said
    assert before == Image.MAX_IMAGE_PIXELS
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_pixels_are_contiguous_and_belong_to_the_picture():
    made = decode(pil_file(RGB, "PNG"), "x")
    assert made.pixels.is_contiguous()
    assert torch.equal(made.pixels, planes(np.asarray(RGB)))
    made.pixels.zero_()
