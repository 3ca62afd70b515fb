"""The noisy classifiers of guided-diffusion -> a card's ``guide`` table and the net: a bare state dict in a file.

Keys and shapes tell the net, but not the width of a head, which is 64 in all released ones.

[ADM] Dhariwal & Nichol, NeurIPS 2021; guided-diffusion.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restorer.convert.checkpoints import read_checkpoint, some
from restorer.errors import ModelError, UsageError
from restorer.load import build_guide
from restorer.nets import adm_encoder
from restorer.nets.official import unwrapped

SIGN = "out.2.positional_embedding"
"""A key that only classifiers have."""
HEADS = {"head_width": 64}
EXPECTED = f"expected the weights of a guided-diffusion classifier (time_embed.0.weight, input_blocks..., {SIGN})"


def read(file: Path, scale: float) -> tuple[dict[str, Any], nn.Module]:
    """The table of the classifier in ``file`` with the ``scale`` of its pull, and the net with its weights.

    Raises ``ModelError`` for a file that holds none or a damaged one.
    """
    weights = _weights(file)
    try:
        options = adm_encoder.options_of(weights) | HEADS
        if options["in_channels"] != 3:
            raise ModelError(f"{file}: found a classifier of {options['in_channels']} channels; expected 3.")
        with torch.device("meta"):
            net = build_guide(options)
        state = adm_encoder.rename(weights, net)
        # After the shapes were checked: a hostile tensor can say that it is larger than any memory.
        wild = [key for key, value in weights.items() if not value.isfinite().all()]
    except (ValueError, RuntimeError, TypeError, ZeroDivisionError, UsageError) as error:
        raise ModelError(f"{file}: {error}") from error
    if wild:
        raise ModelError(f"{file}: found values that are no numbers in {some(wild)}; the training went astray.")
    net.load_state_dict(state, assign=True)
    return {**options, "scale": scale}, net


def _weights(file: Path) -> dict[str, Tensor]:
    content = read_checkpoint(file)
    if not isinstance(content, Mapping):
        raise ModelError(f"{file}: found a {type(content).__name__}; {EXPECTED}.")
    state = unwrapped({str(key): value for key, value in content.items()})
    if SIGN not in state:
        raise ModelError(f"{file}: found the keys {some(state)}; {EXPECTED}.")
    odd = [key for key, value in state.items() if not isinstance(value, Tensor) or not value.is_floating_point()]
    if odd:
        raise ModelError(f"{file}: expected weights of floats only; found {some(odd)}.")
    return state
