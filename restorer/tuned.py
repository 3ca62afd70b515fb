"""Which windows are fastest here: measured by ``restorer bench --tune``, kept, and used where none are chosen.

best(timed)                     ->  Timed                   the fastest of what ``restorer.speed.timed`` measured
keep(restorer, found)           ->  bool                    in one file of JSON, beside what others take
recalled(restorer)              ->  Timed or None, and sentences
fewer(restorer, batch, side)    ->  int                     what of a batch memory takes today
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from restorer.compiling import Compiled
from restorer.device import dtype_name
from restorer.hub.home import kept, note
from restorer.memory import most_pixels

if TYPE_CHECKING:
    from restorer.restore import Restorer

CLOSE = 0.03
"""What is slower by less than this share is as good: clocks are no better, and larger windows show the net more."""
FILE = "tuned.json"


class Timed(NamedTuple):
    """``batch`` windows of ``side`` pixels at once take ``seconds`` a megapixel of a picture, for one call of the net.

    What windows share counts once, so that small ones are not taken for faster than they are.
    """

    side: int
    batch: int
    seconds: float

    def line(self) -> dict[str, Any]:
        """As JSON."""
        return {"side": self.side, "batch": self.batch, "seconds_per_megapixel": round(self.seconds, 6)}


def best(found: Sequence[Timed]) -> Timed:
    """The fastest; among those that are as good the largest windows, and of these the fewest at once."""
    least = min(one.seconds for one in found)
    return max((one for one in found if one.seconds <= (1 + CLOSE) * least), key=lambda one: (one.side, -one.batch))


def keep(restorer: Restorer, found: Timed) -> bool:
    """Keep it for ``recalled``; False where nothing can be kept. A file that was damaged is begun anew."""
    known, _ = _read()
    about = _about(restorer)
    return note({**known, _key(about): about | found.line()}, FILE)


def recalled(restorer: Restorer) -> tuple[Timed | None, tuple[str, ...]]:
    """What was kept for this model, device and precision, and what is to be told of a file that is of no use."""
    known, remarks = _read()
    line = known.get(_key(_about(restorer)))
    if line is None:
        return None, remarks
    try:
        found = Timed(line["side"], line["batch"], float(line["seconds_per_megapixel"]))
        sound = all(type(number) is int and number >= 1 for number in found[:2])
    except (KeyError, TypeError, ValueError):
        sound = False
    return (found, ()) if sound else (None, (_useless(),))


def fewer(restorer: Restorer, batch: int, side: int) -> int:
    """So many windows of a side at once, or what memory takes today."""
    if batch == 1:
        return 1
    room = most_pixels(restorer.denoiser, restorer.entry.size.multiple, restorer.device)
    return max(1, int(min(batch, room // side**2)))


def _about(restorer: Restorer) -> dict[str, Any]:
    """What the time hangs on."""
    device = restorer.device
    name = torch.get_device_module(device).get_device_name(device) if device.type in ("cuda", "xpu") else device.type
    return {
        "device": name,
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "torch": torch.__version__,
        "dtype": dtype_name(restorer.denoiser.dtype),
        "weights": restorer.found.sha256,
        "compiled": isinstance(restorer.denoiser.net, Compiled),
    }


def _key(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]


def _read() -> tuple[Mapping[str, Any], tuple[str, ...]]:
    try:
        data = json.loads(kept(FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, ()
    except (OSError, ValueError, RecursionError):
        return {}, (_useless(),)
    return (data, ()) if isinstance(data, dict) else ({}, (_useless(),))


def _useless() -> str:
    return f"{kept(FILE)} cannot be used, so windows are as ever; measure them again: restorer bench --tune."
