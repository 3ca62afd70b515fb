"""Whether weights from elsewhere are those of a net, told in the names they have there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor


def check_tensors(given: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]], what: str) -> None:
    """Raises ValueError naming keys of ``given`` that are missing, not known, or not of the expected shape.

    ``what`` says whose tensors are expected, as in "this UNet2DModel".
    """
    faults = {
        "missing": [key for key in expected if key not in given],
        "not known": [key for key in given if key not in expected],
        "of another shape": [
            f"{key} {tuple(given[key].shape)} for {tuple(shape)}"
            for key, shape in expected.items()
            if key in given and given[key].shape != shape
        ],
    }
    if any(faults.values()):
        found = "; ".join(f"{fault}: {some(keys)}" for fault, keys in faults.items() if keys)
        raise ValueError(f"Not the {len(expected)} tensors of {what}: {found}.")


def weight_of(given: Mapping[str, Tensor], key: str, what: str, ndim: int = 4) -> Tensor:
    """``given[key]``. Raises ValueError where it is not there or has not ``ndim`` sizes; ``what`` as above."""
    if key not in given or given[key].ndim != ndim:
        found = f"{tuple(given[key].shape)}" if key in given else f"the keys {some(given)}"
        raise ValueError(f"No weights of {what}: expected {ndim} sizes in {key}; found {found}.")
    return given[key]


def some(names: Iterable[str], most: int = 4) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more or "nothing"
