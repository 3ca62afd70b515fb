"""Facts about this machine, for ``restorer doctor`` and ``bench``: nothing here changes anything."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restorer import __version__
from restorer.cli.output import counted
from restorer.entry import embedded
from restorer.errors import RestorerError

if TYPE_CHECKING:
    import torch

LIBRARIES = ("torch", "numpy", "pillow", "safetensors", "huggingface_hub", "tifffile", "typer", "rich")


def facts() -> dict[str, Any]:
    """Everything, as JSON holds it."""
    return {
        "versions": versions(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": {"name": cpu_name(), "cores": os.cpu_count()},
        "memory": memory(),
        "devices": devices(),
        "cache": cache(),
        "models": models(),
    }


def versions() -> dict[str, str]:
    """Of python, restorer, and what it stands on."""
    found = {"python": platform.python_version(), "restorer": __version__}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = "missing"
    return found


def cpu_name() -> str:
    """As its maker calls it, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def memory() -> dict[str, int | None]:
    """Bytes in all, and bytes to be had; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {"total": _pages_in_all(), "free": None}
    known = {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith(" kB")}
    return {"total": known.get("MemTotal"), "free": known.get("MemAvailable")}


def _pages_in_all() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def devices() -> dict[str, Any]:
    """What torch sees, and what ``--device auto --dtype auto`` takes."""
    import torch

    from restorer.device import choose_device, choose_dtype, dtype_name

    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    seen = {f"cuda:{i}": name for i, name in enumerate(cuda)}
    if torch.xpu.is_available():
        seen |= {f"xpu:{i}": torch.xpu.get_device_name(i) for i in range(torch.xpu.device_count())}
    if torch.backends.mps.is_available():
        seen["mps"] = "Apple GPU"
    seen["cpu"] = counted(torch.get_num_threads(), "thread")
    auto, cpu = choose_device("auto"), torch.device("cpu")
    return {
        "seen": seen,
        "auto": {"device": str(auto), "dtype": dtype_name(choose_dtype("auto", auto))},
        "fast_bf16_on_cpu": choose_dtype("auto", cpu) is torch.bfloat16,
    }


def cpu_line() -> str:
    """The CPU and the threads that torch takes of it."""
    import torch

    return f"{cpu_name()}, {counted(torch.get_num_threads(), 'thread')}"


def line(device: torch.device) -> str:
    """What computes there, for those who compare numbers: the device's name, threads of a CPU, and torch."""
    import torch

    if device.type in ("cuda", "xpu"):
        name = torch.get_device_module(device).get_device_name(device)
    else:
        name = cpu_line() if device.type == "cpu" else "Apple GPU"
    return f"{name}, torch {torch.__version__}"


def cache() -> dict[str, Any]:
    """The folder where the Hugging Face Hub keeps downloads, the room on its disk, and whether that is all there is."""
    from restorer.hub.home import hub_cache

    folder = hub_cache()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return {"folder": str(folder), "free": shutil.disk_usage(there).free, "offline": offline()}


def offline() -> bool:
    """Whether nothing may be fetched: the rule of huggingface_hub."""
    said = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return said.upper() in {"1", "ON", "YES", "TRUE"}


def models() -> dict[str, str]:
    """Name -> "OK", or what is wrong with the model."""
    return {name: _check(name) for name in embedded()}


def _check(name: str) -> str:
    from restorer.load import find

    try:
        find(name)
    except RestorerError as error:
        return str(error)
    return "OK"
