"""What a net is trained to say. [RDDM] Liu et al., CVPR 2024, section 3.3: a term for each output of the net."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from restorer.diffusion.predict import OUTPUTS, Denoiser
from restorer.diffusion.schedule import diffuse


def targets(output: str, x0: Tensor, y: Tensor, eps: Tensor) -> tuple[Tensor, ...]:
    """The truth that each output of a net of this kind (a key of OUTPUTS) is compared with."""
    res = y - x0
    return {
        "res": (res,),
        "eps": (eps,),
        "x0": (x0,),
        "res_eps": (res, eps),
        "res_sum": (res, res + eps),
        "x0_eps": (x0, eps),
        "x0_sum": (x0, x0 + eps),
    }[output]


def diffusion_loss(denoiser: Denoiser, x0: Tensor, y: Tensor, eps: Tensor, t: Tensor, *, loss: str = "l1") -> Tensor:
    """Mean error of the net's outputs at the times ``t`` (N,), summed over outputs; x0, y: NCHW in the net's range."""
    x = diffuse(denoiser.schedule, x0, y, eps, t)
    said = denoiser.raw(x, t, y).float().chunk(OUTPUTS[denoiser.output].count, dim=1)
    measure = LOSSES[loss]
    return sum(measure(out, truth) for out, truth in zip(said, targets(denoiser.output, x0, y, eps), strict=True))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "l2": F.mse_loss}
