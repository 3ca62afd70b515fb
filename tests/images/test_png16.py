"""16-bit PNG: every value, filter, interlace and size, checked against rows made as the specification says."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sample_pictures import levels, picture, png_file, samples_of, scanlines

from restorer.errors import ImageError
from restorer.images import decode, encode

COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> colour type
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def test_all_65536_values_are_exact_both_ways():
    samples = np.stack([np.arange(65536).reshape(256, 256)] * 3, axis=2).astype(np.uint16)
    samples[:, :, 1] = samples[::-1, :, 1]
    samples[:, :, 2] = samples[:, :, 2].T
    raw = png_file((256, 256, 16, 2, 0), scanlines(samples, [0]))
    np.testing.assert_array_equal(samples_of(decode(raw, "x")), samples)
    np.testing.assert_array_equal(samples_of(decode(encode(decode(raw, "x")), "x")), samples)


@pytest.mark.parametrize("channels", COLOURS)
@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 3, 1, 0, 2], [2, 2, 1]])
@pytest.mark.parametrize("smooth", [True, False])
def test_filters(channels, filters, smooth):
    samples = levels(13, 11, channels, 16)
    if smooth:
        samples = np.sort(np.sort(samples, axis=0), axis=1)
    data = png_file((11, 13, 16, COLOURS[channels], 0), scanlines(samples, filters))
    np.testing.assert_array_equal(samples_of(decode(data, "x")), samples)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (8, 8), (13, 21)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_interlaced(size, channels):
    height, width = size
    samples = levels(height, width, channels, 16)
    parts = [samples[row::down, column::right] for row, column, down, right in PASSES]
    idat = b"".join(scanlines(part, [4, 1]) for part in parts if part.size)
    data = png_file((width, height, 16, COLOURS[channels], 1), idat)
    np.testing.assert_array_equal(samples_of(decode(data, "x")), samples)
    # Pillow undoes filters and interlace too, and keeps the upper bytes of colour.
    if channels > 2:
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), samples >> 8)


@pytest.mark.parametrize("channels", COLOURS)
def test_other_readers_see_what_was_written(channels):
    samples = levels(9, 14, channels, 16)
    seen = Image.open(io.BytesIO(encode(picture(samples))))
    seen = np.asarray(seen.convert("LA") if channels == 2 else seen)
    np.testing.assert_array_equal(seen.reshape(9, 14, channels), samples if channels == 1 else samples >> 8)


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 4),
    st.lists(st.integers(0, 4), min_size=1),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_any_size_goes_round(height, width, channels, filters, seed):
    samples = levels(height, width, channels, 16, seed)
    np.testing.assert_array_equal(samples_of(decode(encode(picture(samples)), "x")), samples)
    data = png_file((width, height, 16, COLOURS[channels], 0), scanlines(samples, filters))
    np.testing.assert_array_equal(samples_of(decode(data, "x")), samples)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_colour_that_stands_for_transparent(channels):
    samples = levels(5, 6, channels, 16)
    samples[2, 3] = samples[4, 5] = 777
    key = np.full(channels, 777, ">u2").tobytes()
    data = png_file((6, 5, 16, COLOURS[channels], 0), scanlines(samples, [1]), (b"tRNS", key))
    back = samples_of(decode(data, "x"))
    np.testing.assert_array_equal(back[:, :, :-1], samples)
    assert (back[:, :, -1] == 0).sum() == 2
    assert back[2, 3, -1] == back[4, 5, -1] == 0


@pytest.mark.parametrize(
    ("header", "idat", "others"),
    [
        ((4, 4, 16, 3, 0), bytes(36), ()),  # a palette is never 16 bits deep
        ((4, 4, 16, 2, 2), bytes(100), ()),  # an interlace that does not exist
        ((4, 4, 16, 2, 0), bytes(99), ()),  # one byte short
        ((1, 1, 16, 0, 0), b"\5\0\0", ()),  # a filter that does not exist
        ((1, 1, 16, 0, 0), bytes(3), [(b"tRNS", b"\0")]),  # half a colour
        ((4, 4, 8, 3, 0), bytes(20), ()),  # a palette picture without its palette
    ],
)
def test_headers_and_pixels_that_disagree_are_refused(header, idat, others):
    with pytest.raises(ImageError, match="cannot be decoded"):
        decode(png_file(header, idat, *others), "x")
