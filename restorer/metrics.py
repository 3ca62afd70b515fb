"""How close a restored picture is to the clean one."""

from __future__ import annotations

import math

from torch import Tensor


def psnr(restored: Tensor, clean: Tensor) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels; values in [0, 1]. Equal pictures give inf."""
    error = float((restored.double() - clean.double()).square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)
