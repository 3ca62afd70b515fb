"""Pictures in memory come back as what they were: kind, type, layout, channels, alpha."""

import numpy as np
import pytest
import torch
from PIL import Image
from sample_pictures import levels, ramp

from restorer.errors import ImageError
from restorer.images import to_tensor


def check_contract(pixels, height, width):
    assert pixels.shape == (1, 3, height, width)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()
    assert float(pixels.min()) >= 0
    assert float(pixels.max()) <= 1


@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 1), (7, 9, 3), (7, 9, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_numpy_comes_back_exactly(shape, dtype):
    bits = 16 if dtype == np.uint16 else 8
    array = levels(7, 9, int(np.prod(shape[2:])), bits).reshape(shape)
    if np.issubdtype(dtype, np.floating):
        array = (array / np.float32(255)).astype(np.float32).astype(dtype)
    before = array.copy()
    pixels, restore = to_tensor(array)
    check_contract(pixels, 7, 9)
    back = restore(pixels)
    assert back.dtype == dtype
    # Averaging three equal floats may move the last bit.
    np.testing.assert_allclose(back, before, rtol=2e-7 if np.issubdtype(dtype, np.floating) else 0)
    pixels.zero_()
    np.testing.assert_array_equal(array, before)
    if shape[2:] == (4,):
        np.testing.assert_array_equal(restore(torch.rand(1, 3, 7, 9))[:, :, 3], before[:, :, 3])


@pytest.mark.parametrize("shape", [(1, 5, 6), (3, 5, 6), (4, 5, 6), (1, 1, 5, 6), (1, 3, 5, 6), (1, 4, 5, 6)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_comes_back_exactly(shape, dtype):
    tensor = torch.from_numpy(levels(5, 6, shape[-3]).transpose(2, 0, 1).copy()).reshape(shape)
    tensor = tensor if dtype == torch.uint8 else (tensor / 255).to(dtype)
    before = tensor.clone()
    pixels, restore = to_tensor(tensor)
    check_contract(pixels, 5, 6)
    back = restore(pixels)
    assert (back.dtype, back.shape) == (dtype, tensor.shape)
    torch.testing.assert_close(back, before, rtol=2e-7, atol=0)
    pixels.zero_()
    assert torch.equal(tensor, before)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_pil_comes_back_exactly(mode):
    image = Image.fromarray(ramp(12, 10, 4)).convert("RGB" if mode == "P" else "RGBA")
    if mode == "I;16":
        image = Image.fromarray(levels(12, 10, 1, 16)[:, :, 0])
    elif mode != "RGBA":
        image = image.convert(mode)
    image.info["icc_profile"] = b"a profile"
    pixels, restore = to_tensor(image)
    check_contract(pixels, 12, 10)
    back = restore(pixels)
    assert back.mode == {"1": "L", "P": "RGB"}.get(mode, mode)
    np.testing.assert_array_equal(np.asarray(back), np.asarray(image.convert(back.mode)))
    assert back.info == {"icc_profile": b"a profile"}


def test_a_palette_with_a_transparent_colour_comes_back_with_alpha():
    image = Image.fromarray(ramp(12, 10, 3)).quantize(8)
    image.info["transparency"] = 2
    pixels, restore = to_tensor(image)
    back = restore(pixels)
    assert (back.mode, back.info) == ("RGBA", {})
    np.testing.assert_array_equal(np.asarray(back), np.asarray(image.convert("RGBA")))


def test_grey_is_averaged_and_values_are_clamped():
    _, restore = to_tensor(np.zeros((2, 2), np.float32))
    mixed = torch.tensor([0.0, 0.3, 0.6]).reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    np.testing.assert_allclose(restore(mixed), 0.3, rtol=1e-6)
    np.testing.assert_array_equal(restore(mixed * 10 + 1), 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_alpha_follows_a_result_of_another_size(dtype):
    array = np.full((4, 4, 4), 1, dtype)
    assert to_tensor(array)[1](torch.zeros(1, 3, 8, 8)).shape == (8, 8, 4)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    back = to_tensor(tensor)[1](torch.zeros(1, 3, 8, 8))
    assert back.shape == (4, 8, 8)
    assert (back[3] == 1).all()
    image = Image.fromarray(levels(4, 4, 2))
    assert to_tensor(image)[1](torch.zeros(1, 3, 8, 8)).size == (8, 8)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("photo.jpg", "A str is no picture"),
        (np.zeros(5, np.uint8), r"shape \(5,\)"),
        (np.zeros((5, 5, 2), np.uint8), r"shape \(5, 5, 2\)"),
        (np.zeros((0, 5, 3), np.uint8), r"shape \(0, 5, 3\)"),
        (np.zeros((1, 5, 5, 3), np.uint8), "shape"),
        (np.zeros((5, 5), np.int32), "int32"),
        (np.zeros((5, 5), bool), "bool"),
        (np.full((5, 5), 255.0), "from 255 to 255"),
        (np.full((5, 5), -0.1), "scale them"),
        (np.full((5, 5), np.nan), "nan"),
        (torch.zeros(5, 5), r"shape \(5, 5\)"),
        (torch.zeros(2, 3, 5, 5), r"shape \(2, 3, 5, 5\)"),
        (torch.zeros(2, 5, 5), "shape"),
        (torch.zeros(3, 5, 5, dtype=torch.int64), "int64"),
        (torch.full((3, 5, 5), 2.0), "from 2 to 2"),
        (torch.full((3, 5, 5), float("nan")), "nan"),
        (Image.new("CMYK", (4, 4)), "CMYK"),
        (Image.new("F", (4, 4)), "mode F"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_sentence(image, words):
    with pytest.raises(ImageError, match=words):
        to_tensor(image)


@pytest.mark.parametrize("image", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4)), torch.zeros(3, 4, 4)])
@pytest.mark.parametrize("result", [torch.full((1, 3, 4, 4), float("nan")), torch.zeros(3, 4, 4)])
def test_a_result_that_is_no_picture_is_refused(image, result):
    with pytest.raises(ImageError):
        to_tensor(image)[1](result)
