"""Pictures in memory: a PIL image, a numpy array or a torch tensor -> the one contract, and back to the same kind."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from restorer.errors import ImageError
from restorer.images.picture import from_levels, resize_alpha, to_levels
from restorer.images.sized import at_size

Kind = TypeVar("Kind", Image.Image, np.ndarray, Tensor)

# PIL's modes -> the mode that the result has. A palette cannot hold restored colours, and comes back as RGB or RGBA.
_MODES = {"1": "L", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "P": "RGB", "PA": "RGBA"}
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
_LEVELS = (np.dtype(np.uint8), np.dtype(np.uint16))
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def to_tensor(image: Kind) -> tuple[Tensor, Callable[[Tensor], Kind]]:
    """(pixels (1, 3, H, W) float32 in [0, 1] on the CPU, a function that turns such pixels into what ``image`` was).

    Taken are

    * PIL images of mode 1, L, LA, P, PA, RGB, RGBA and I;16, as their pixels lie: no orientation is applied;
    * numpy arrays (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8, uint16, or float32 or float64 in [0, 1];
    * torch tensors (C, H, W) or (1, C, H, W), C in 1, 3, 4, uint8 or floating in [0, 1], on any device.

    The result has the kind, type, layout and channel count of ``image``, at the size of the pixels it is given. One
    channel is restored as three equal ones and averaged back; alpha passes by untouched, or resized with the pixels.
    Raises `ImageError` for any other kind, shape or type, and for values outside [0, 1] or not finite.
    """
    if isinstance(image, Image.Image):
        return _from_pil(image)
    if isinstance(image, np.ndarray):
        return _from_numpy(image)
    if isinstance(image, Tensor):
        return _from_torch(image)
    raise ImageError(f"A {type(image).__name__} is no picture; give a PIL image, a numpy array or a torch tensor.")


def _from_pil(image: Image.Image) -> tuple[Tensor, Callable[[Tensor], Image.Image]]:
    if image.mode in _DEEP:
        pixels, restore = _from_numpy(np.asarray(image).astype(np.uint16))
    elif image.mode in _MODES:
        mode = _MODES[image.mode]
        if image.has_transparency_data:
            mode = {"L": "LA", "RGB": "RGBA"}.get(mode, mode)
        array = np.asarray(image.convert(mode))
        pixels, restore = _from_levels_with_alpha(array) if mode == "LA" else _from_numpy(array)
    else:
        raise ImageError(f"A PIL image of mode {image.mode} is not taken; convert it to RGB first.")
    # The transparent colour of a palette means nothing beside an alpha channel.
    info = {key: value for key, value in image.info.items() if key != "transparency"}

    def back(result: Tensor) -> Image.Image:
        out = Image.fromarray(restore(result))
        told = {key: info.get(key) for key in ("exif", "xmp", "dpi")}
        out.info = info | {k: v for k, v in at_size(image.size, out.size, **told).items() if v is not None}
        return out

    return pixels, back


def _from_numpy(array: np.ndarray) -> tuple[Tensor, Callable[[Tensor], np.ndarray]]:
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"An array of shape {array.shape} is no picture; give (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."
        )
    if array.dtype not in _LEVELS + _FLOATS:
        raise ImageError(
            f"An array of {array.dtype} is not taken; give uint8, uint16, or float32 or float64 in [0, 1]."
        )
    pixels, restore = _from_levels_with_alpha(array if array.ndim == 3 else array[:, :, None])
    return pixels, restore if array.ndim == 3 else lambda result: restore(result)[:, :, 0]


def _from_levels_with_alpha(array: np.ndarray) -> tuple[Tensor, Callable[[Tensor], np.ndarray]]:
    """(H, W, C), C in 1 to 4, checked for shape and type but not for range."""
    if array.dtype in _FLOATS:
        _check_range(float(array.min()), float(array.max()))
    dtype, channels = array.dtype, array.shape[2]
    alpha = array[:, :, -1:].copy() if channels in (2, 4) else None
    colours = array if alpha is None else array[:, :, :-1]

    def back(result: Tensor) -> np.ndarray:
        values = _plane(result, grey=channels <= 2)[0].permute(1, 2, 0).numpy()
        colours = _as_dtype(values, dtype)
        return colours if alpha is None else np.concatenate([colours, _alpha_at(alpha, colours.shape[:2])], axis=2)

    return _contract(torch.from_numpy(_as_float(colours)).permute(2, 0, 1)[None]), back


def _from_torch(tensor: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    shape = tuple(tensor.shape)
    if len(shape) not in (3, 4) or 0 in shape or shape[-3] not in (1, 3, 4) or (len(shape) == 4 and shape[0] != 1):
        raise ImageError(f"A tensor of shape {shape} is no picture; give (C, H, W) or (1, C, H, W) with C in 1, 3, 4.")
    if tensor.dtype != torch.uint8 and not tensor.dtype.is_floating_point:
        raise ImageError(f"A tensor of {tensor.dtype} is not taken; give uint8, or floating in [0, 1].")
    planes = tensor.detach().reshape(1, *shape[-3:])
    if tensor.dtype.is_floating_point:
        _check_range(float(planes.min()), float(planes.max()))
    alpha = planes[:, 3:].clone() if shape[-3] == 4 else None
    values = planes[:, :3].to("cpu", torch.float32)
    if tensor.dtype == torch.uint8:
        values = values / 255

    def back(result: Tensor) -> Tensor:
        colours = _plane(result, grey=shape[-3] == 1)
        if tensor.dtype == torch.uint8:
            colours = torch.from_numpy(to_levels(colours.numpy(), 8))
        colours = colours.to(tensor.device, tensor.dtype)
        if alpha is not None:
            colours = torch.cat([colours, _tensor_alpha_at(alpha, tuple(colours.shape[-2:]))], dim=1)
        return colours if len(shape) == 4 else colours[0]

    return _contract(values), back


def _contract(planes: Tensor) -> Tensor:
    """(1, 1 or 3, H, W) -> (1, 3, H, W), in memory of its own."""
    return planes.repeat(1, 3, 1, 1) if planes.shape[1] == 1 else planes.clone(memory_format=torch.contiguous_format)


def _plane(result: Tensor, grey: bool) -> Tensor:
    """Restored pixels on the CPU, clamped to [0, 1]; averaged to one channel for grey."""
    values = result.detach().to("cpu", torch.float32)
    if values.ndim != 4 or values.shape[:2] != (1, 3):
        raise ImageError(f"Restored pixels are {tuple(values.shape)}; give (1, 3, H, W).")
    if not torch.isfinite(values).all():
        raise ImageError("The restored picture holds NaN or infinite values; try --dtype fp32, or another model.")
    return (values.mean(dim=1, keepdim=True) if grey else values).clamp(0, 1)


def _check_range(low: float, high: float) -> None:
    if not (low >= 0 and high <= 1):  # written so that NaN fails it
        raise ImageError(f"The picture's values run from {low:g} to {high:g}; scale them to the range from 0 to 1.")


def _as_float(array: np.ndarray) -> np.ndarray:
    return from_levels(array) if array.dtype in _LEVELS else array.astype(np.float32)


def _as_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return to_levels(values, 8 * dtype.itemsize) if dtype in _LEVELS else values.astype(dtype)


def _alpha_at(alpha: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Alpha (H, W, 1) at another size; the very same array at its own."""
    if alpha.shape[:2] == size:
        return alpha
    planes = torch.from_numpy(_as_float(alpha)).permute(2, 0, 1)[None]
    return _as_dtype(resize_alpha(planes, size)[0].permute(1, 2, 0).numpy(), alpha.dtype)


def _tensor_alpha_at(alpha: Tensor, size: tuple[int, int]) -> Tensor:
    """Alpha (1, 1, H, W) at another size; the very same tensor at its own."""
    if tuple(alpha.shape[-2:]) == size:
        return alpha
    values = alpha.to("cpu", torch.float32)
    if alpha.dtype != torch.uint8:
        return resize_alpha(values, size).to(alpha.device, alpha.dtype)
    return torch.from_numpy(to_levels(resize_alpha(values / 255, size).numpy(), 8)).to(alpha.device)
