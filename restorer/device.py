"""Where to compute, and in which precision."""

from __future__ import annotations

import platform

import torch

from restorer.errors import DeviceError, unknown

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" takes the first there is of cuda, xpu, mps, cpu.

    Raises ``DeviceError`` for one that this machine has not, ``UsageError`` for a word that is no device.
    """
    if name == "auto":
        return torch.device(next(kind for kind in _KINDS if _count(kind)))
    kind, colon, index = name.partition(":")
    if kind not in _KINDS or (colon and not index.isdecimal()):
        raise unknown("device", name, ["auto", *_KINDS, "cuda:0"])
    if int(index or 0) >= _count(kind):
        here = ", ".join(k for k in _KINDS if _count(k))
        raise DeviceError(f"Device {name!r} is not on this machine, which has: {here}. Use --device auto.")
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision of that name; "auto" is bf16 where the device does it fast, else fp32. Raises ``UsageError``."""
    if name == "auto":
        return torch.bfloat16 if _fast_bf16(device) else torch.float32
    if name not in DTYPES:
        raise unknown("dtype", name, ["auto", *DTYPES])
    return DTYPES[name]


def precisions(device: torch.device) -> list[str]:
    """The words of ``DTYPES`` that the device computes fast in, full precision first."""
    bf16 = ["bf16"] if _fast_bf16(device) else []
    return ["fp32", *bf16, *([] if device.type == "cpu" else ["fp16"])]


def few_products_pay(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether adding more to multiply less pays: where products take the time, and have no units of their own."""
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and not torch.cpu._is_amx_tile_supported())


def dtype_name(dtype: torch.dtype) -> str:
    """The word of ``DTYPES`` for a torch dtype."""
    return next(name for name, known in DTYPES.items() if known is dtype)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch says it in two ways, on a CPU with a plain RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def _count(kind: str) -> int:
    match kind:
        case "cuda":
            return torch.cuda.device_count()
        case "xpu":
            return torch.xpu.device_count() if torch.xpu.is_available() else 0
        case "mps":
            return int(torch.backends.mps.is_available())
    return 1


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Without instructions for it a CPU converts bf16 back and forth and is slower than with fp32.
    return device.type == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


_KINDS = ("cuda", "xpu", "mps", "cpu")
