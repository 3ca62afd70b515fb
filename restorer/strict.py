"""Whether weights are those of a net: every key, every shape; said in one sentence. torch only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

MOST = 5
"""So many names are told of a kind, and how many there are."""


def misfit(net: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """What of a state dict does not fit a net, or None."""
    wanted = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    other = [
        f"{key} {_sides(found[key])} for {_sides(shape)}"
        for key, shape in wanted.items()
        if found.get(key, shape) != shape
    ]
    kinds = {
        "missing": [key for key in wanted if key not in found],
        "unexpected": [key for key in found if key not in wanted],
        "of another shape": other,
    }
    said = [f"{len(names)} {kind}: {_first(names)}" for kind, names in kinds.items() if names]
    return f"tensors do not fit the net, {'; '.join(said)}" if said else None


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST]) + (", ..." if len(names) > MOST else "")


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "single"
