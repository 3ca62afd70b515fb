"""Every format, channel count and depth: what goes in comes out, in the file that `output_format` announces."""

import io
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from sample_pictures import ICC, XMP, exif_bytes, levels, picture, planes, ramp, samples_of

from restorer.errors import ImageError, UsageError
from restorer.images import FORMATS, as_written, decode, encode, output_format
from restorer.images.exif import resized
from restorer.images.picture import from_levels, to_levels

LOSSLESS = [
    (format, channels, bits)
    for format, form in FORMATS.items()
    for channels in (1, 2, 3, 4)
    for bits in (8, 16)
    if format not in ("jpg", "webp", "avif") and (form.alpha or channels in (1, 3)) and (form.deep or bits == 8)
]


@pytest.mark.parametrize(("format", "channels", "bits"), LOSSLESS)
def test_lossless_formats_give_every_level_back(format, channels, bits):
    samples = levels(21, 34, channels, bits)
    made = picture(samples, format=format)
    data = encode(made)
    back = decode(data, "x")
    assert (back.format, back.grey, back.bits, back.size) == (format, channels < 3, bits, (34, 21))
    np.testing.assert_array_equal(samples_of(back), samples)
    assert torch.equal(back.pixels, made.pixels)
    assert encode(made) == data


@pytest.mark.parametrize(("format", "channels", "bits"), [*LOSSLESS, ("bmp", 4, 8), ("ppm", 2, 16)])
def test_what_is_written_is_known_without_the_file(format, channels, bits):
    """Values between the levels, three different channels even for grey, and alpha where the format has none."""
    made = picture(levels(9, 7, channels, bits), format=format)
    made = made.restored(torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0)))
    back = decode(encode(made, format=format), "x")
    assert torch.equal(as_written(made, format=format), back.pixels)


@pytest.mark.parametrize("format", ["jpg", "webp", "avif"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_lossy_formats_stay_close_and_keep_alpha_exactly(format, channels):
    samples = ramp(40, 64, channels)
    if channels in (2, 4):
        samples[:, :, -1] = levels(40, 64, 1)[:, :, 0]
    made = picture(samples, format=format)
    back = decode(encode(made), "x")
    assert back.format == output_format(made) == ("png" if format == "jpg" and channels in (2, 4) else format)
    assert back.grey == (channels < 3 and (back.format in ("jpg", "png") or (format, channels) == ("avif", 1)))
    # WebP has no colour at full resolution, and rounds its greys to the range of video.
    assert (back.pixels - made.pixels).abs().max() < (0.06 if format == "webp" else 0.025)
    if channels in (2, 4):
        assert torch.equal(back.alpha, made.alpha)
    assert encode(made) == encode(made)


def test_webp_is_lossless_at_full_quality():
    samples = levels(20, 20, 4)
    assert (samples_of(decode(encode(picture(samples, format="webp"), quality=100), "x")) == samples).all()


def test_jpeg_and_avif_keep_colour_at_full_resolution_from_quality_90():
    red = np.zeros((16, 16, 3), np.uint8)
    red[:, ::2, 0] = 255
    for format in ("jpg", "avif"):
        full, half = (decode(encode(picture(red, format=format), quality=quality), "x") for quality in (90, 89))
        error = [(made.pixels - planes(red)).abs().mean() for made in (full, half)]
        assert error[0] < 0.05 < error[1]


@pytest.mark.parametrize(
    ("own", "channels", "bits", "asked", "depth", "used"),
    [
        ("jpg", 3, 8, "auto", "auto", "jpg"),
        ("jpg", 1, 8, "auto", "auto", "jpg"),
        ("jpg", 4, 8, "auto", "auto", "png"),
        ("jpg", 3, 8, "auto", 16, "png"),
        ("tiff", 4, 16, "auto", "auto", "tiff"),
        ("ppm", 3, 16, "auto", "auto", "ppm"),
        ("ppm", 4, 8, "auto", "auto", "png"),
        ("bmp", 3, 16, "auto", "auto", "png"),
        ("bmp", 3, 16, "auto", 8, "bmp"),
        ("webp", 4, 8, "auto", "auto", "webp"),
        ("avif", 3, 16, "auto", "auto", "png"),
        ("heic", 3, 8, "auto", "auto", "png"),
        ("png", 4, 16, "jpg", "auto", "jpg"),
        ("jpg", 3, 8, "tiff", 16, "tiff"),
    ],
)
def test_output_format(own, channels, bits, asked, depth, used):
    assert output_format(picture(levels(2, 2, channels, bits), format=own), asked, depth) == used


def test_an_unknown_format_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'webp'"):
        output_format(picture(levels(2, 2, 3)), "wepb")


@pytest.mark.parametrize("format", [name for name, form in FORMATS.items() if not form.alpha])
def test_a_named_format_without_alpha_is_laid_over_white(format):
    made = picture(np.full((8, 8, 4), (255, 0, 0, 0), np.uint8))
    assert (decode(encode(made, format=format), "x").pixels > 0.99).all()


def test_depth_can_be_chosen():
    deep = picture(levels(9, 9, 3, 16))
    shallow = decode(encode(deep, bits=8), "x")
    assert shallow.bits == 8
    assert (shallow.pixels - deep.pixels).abs().max() <= 0.5 / 255 + 1e-6
    raised = decode(encode(shallow, bits=16), "x")
    assert raised.bits == 16
    assert torch.equal(raised.pixels, shallow.pixels)


@pytest.mark.parametrize("bits", [8, 16])
def test_levels_are_exact_and_rounded_to_the_nearest(bits):
    every = np.arange(1 << bits).astype(np.uint8 if bits == 8 else np.uint16)
    np.testing.assert_array_equal(to_levels(from_levels(every), bits), every)
    most = (1 << bits) - 1
    values = np.array([-0.5, 0.49 / most, 0.51 / most, 1.0, 7.0], np.float32)
    np.testing.assert_array_equal(to_levels(values, bits), [0, 0, 1, most, most])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value):
    made = picture(levels(4, 4, 3))
    made.pixels[0, 1, 2, 3] = value
    with pytest.raises(ImageError, match="NaN or infinite"):
        encode(made)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"format": "jpg", "bits": 16}, "8 bits a channel"), ({"quality": 0}, "quality"), ({"quality": 101}, "quality")],
)
def test_options_that_cannot_be_met_are_refused(options, words):
    with pytest.raises(ImageError, match=words):
        encode(picture(levels(4, 4, 3)), **options)


def test_what_a_format_cannot_hold_is_a_sentence():
    with pytest.raises(ImageError, match="cannot be written as jpg"):
        encode(picture(levels(4, 4, 3), format="jpg", exif=b"Exif\0\0" + bytes(70000)))
    with pytest.raises(ImageError, match="cannot be written as webp"):
        encode(picture(np.zeros((1, 16384, 3), np.uint8), format="webp"))


# format -> the fields that it carries
CARRIES = {
    "png": ("icc", "exif", "xmp", "dpi"),
    "jpg": ("icc", "exif", "xmp", "dpi"),
    "tiff": ("icc", "exif", "xmp", "dpi"),
    "webp": ("icc", "exif", "xmp"),
    "avif": ("icc", "exif", "xmp"),
    "bmp": ("dpi",),
    "ppm": (),
}


@pytest.mark.parametrize(("format", "bits"), [(f, b) for f in FORMATS for b in (8, 16) if b == 8 or FORMATS[f].deep])
def test_everything_beside_the_pixels_survives(format, bits):
    full = {"icc": ICC, "exif": exif_bytes(), "xmp": XMP, "dpi": (300.0, 150.0)}
    data = encode(picture(levels(8, 9, 3, bits), format=format, **full), recipe=None)
    back = decode(data, "x")
    for name in CARRIES[format]:
        if name == "dpi":
            assert back.dpi == pytest.approx((300, 150), abs=0.02)
        elif name != "exif":
            assert getattr(back, name) == full[name]
    if "exif" in CARRIES[format]:
        # Seen by another reader, and by a second trip through ours.
        for exif in (Image.open(io.BytesIO(data)).getexif(), parsed(back.exif), parsed(twice(back).exif)):
            assert exif[271] == "A maker"
            assert exif[306] == "2024:02:29 12:34:56"
            assert exif.get_ifd(0x8769)[36867] == "2024:02:29 12:00:00"
            assert exif.get_ifd(0x8825) == {1: "N", 2: (48.0, 51.0, 29.5)}


@pytest.mark.parametrize("format", FORMATS)
def test_metadata_is_left_out_when_asked_but_not_the_profile(format):
    made = picture(levels(8, 9, 3), format=format, icc=ICC, exif=exif_bytes(), xmp=XMP, dpi=(300.0, 300.0))
    back = decode(encode(made, metadata=False), "x")
    assert (back.exif, back.xmp) == (None, None)
    assert (back.icc == ICC) == ("icc" in CARRIES[format])


def test_a_grey_profile_does_not_reach_colour():
    grey = ICC[:16] + b"GRAY" + ICC[20:]
    made = picture(ramp(8, 8, 1), icc=grey)
    assert decode(encode(made), "x").icc == grey
    assert decode(encode(made, format="webp"), "x").icc is None


def test_a_result_of_another_size_takes_alpha_along():
    made = picture(levels(6, 5, 4), exif=exif_bytes())
    same, larger = made.restored(torch.zeros(1, 3, 6, 5)), made.restored(torch.zeros(1, 3, 12, 10))
    assert torch.equal(same.alpha, made.alpha)
    assert (larger.size, tuple(larger.alpha.shape)) == ((10, 12), (1, 1, 12, 10))
    with pytest.raises(ImageError, match="alpha"):
        replace(made, pixels=torch.zeros(1, 3, 12, 10))


@pytest.mark.parametrize("pixels", [torch.zeros(3, 4, 4), torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 4).double()])
def test_a_picture_refuses_other_shapes_and_types(pixels):
    with pytest.raises(ImageError, match=r"\(1, 3, H, W\)"):
        replace(picture(levels(4, 4, 3)), pixels=pixels)


def parsed(block):
    exif = Image.Exif()
    exif.load(block)
    return exif


def twice(made):
    return decode(encode(made), "x")


def sized_exif():
    """An EXIF block that tells a picture of 5 x 6 at 300 x 150 dots an inch, as cameras do."""
    exif = Image.Exif()
    exif[256], exif[257], exif[282], exif[283], exif[271] = 5, 6, 300.0, 150.0, "A maker"
    exif.get_ifd(0x8769).update({40962: 5, 40963: 6, 41486: IFDRational(1000), 36867: "2024:02:29 12:00:00"})
    return exif.tobytes()


SIZED_XMP = XMP.replace(
    b'xmp:Rating="4"/>',
    b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" tiff:ImageWidth="5" '
    b'tiff:XResolution="300/1"><exif:PixelYDimension>6</exif:PixelYDimension></rdf:Description>',
)


@pytest.mark.parametrize("format", ["jpg", "png", "tiff", "webp"])
def test_a_larger_result_tells_its_own_size_and_more_dots_an_inch(format):
    facts = {"exif": sized_exif(), "xmp": SIZED_XMP, "dpi": (300.0, 150.0)}
    small = picture(levels(6, 5, 3), format=format, **facts)
    large = small.restored(torch.zeros(1, 3, 24, 20))
    back = decode(encode(large), "x")
    if "dpi" in CARRIES[format]:
        assert back.dpi == pytest.approx((1200, 600), abs=0.05)
    told = parsed(back.exif)
    assert (told[271], told.get_ifd(0x8769)[36867]) == ("A maker", "2024:02:29 12:00:00")
    assert [told.get_ifd(0x8769)[tag] for tag in (40962, 40963, 41486)] == [20, 24, 4000]
    if format != "tiff":  # which tells these in its own directory
        assert [told[tag] for tag in (256, 257, 282, 283)] == [20, 24, 1200, 600]
    assert b'tiff:ImageWidth="20"' in back.xmp and b'tiff:XResolution="1200/1"' in back.xmp
    assert b"<exif:PixelYDimension>24</exif:PixelYDimension>" in back.xmp and b"PixelYDimension>6" not in back.xmp
    same = small.restored(torch.zeros(1, 3, 6, 5))
    assert (same.exif, same.xmp, same.dpi) == tuple(facts.values())


@pytest.mark.parametrize("order", ["II", "MM"])
def test_sizes_are_told_in_either_byte_order_and_in_what_room_there_is(order):
    mark = "<" if order == "II" else ">"
    entries = struct.pack(mark + "HHIHH", 256, 3, 1, 5, 0) + struct.pack(mark + "HHII", 282, 5, 1, 50)
    entries += struct.pack(mark + "HHII", 283, 5, 1, 50)  # both resolutions in one place
    body = order.encode() + struct.pack(mark + "HIH", 42, 8, 3) + entries + struct.pack(mark + "I", 0)
    body += struct.pack(mark + "II", 72, 1)
    made = resized(b"Exif\0\0" + body, (70000, 9), (4.0, 4.0))
    assert struct.unpack_from(mark + "HHII", made, 6 + 10) == (256, 4, 1, 70000)
    assert struct.unpack_from(mark + "II", made, 6 + 50) == (288, 1) and len(made) == len(body) + 6
    for broken in (b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0" + body[:20], b"Exif\0\0" + body[:-8]):
        assert resized(broken, (8, 9), (4.0, 4.0)) == broken
    assert picture(levels(6, 5, 3), dpi=(29000.0, 1.0)).restored(torch.zeros(1, 3, 12, 10)).dpi is None
