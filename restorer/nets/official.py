"""What all nets with official weights share: taking a state dict by its official names, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

WRAPPER = "module."
"""What ``DataParallel`` puts before every key."""


def unwrapped(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict without a leading ``module.``, if all keys have it."""
    if official and all(key.startswith(WRAPPER) for key in official):
        return {key.removeprefix(WRAPPER): value for key, value in official.items()}
    return dict(official)


def translated(ours: Iterable[str], words: Mapping[str, str]) -> dict[str, str]:
    """Our keys -> official ones, part by part; a part that is no word of ``words`` stays."""
    return {name: ".".join(words.get(part, part) for part in name.split(".")) for name in ours}


def taken(
    official: Mapping[str, Tensor], names: Mapping[str, str], ours: Mapping[str, Tensor], what: str
) -> dict[str, Tensor]:
    """``official`` by our names: ``names`` are ours -> theirs, ``ours`` is a state dict of the shapes to be.

    ``what`` is said of the net in errors.

    Raises ValueError as ``check_tensors`` does, in the official names.
    """
    check_tensors(official, {names[name]: weight.shape for name, weight in ours.items()}, what)
    return {name: official[key] for name, key in names.items()}


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


def numbered(official: Mapping[str, Tensor], prefix: str) -> int:
    """How many consecutive numbers, from 0, follow ``prefix.`` in the keys."""
    found = {key.removeprefix(f"{prefix}.").partition(".")[0] for key in official if key.startswith(f"{prefix}.")}
    count = 0
    while str(count) in found:
        count += 1
    return count
