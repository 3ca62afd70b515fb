"""Class guidance: a classifier of noisy pictures moves what a prior says towards one class.

    eps' = eps - sigma_t scale grad log p(label | x_t)

since -eps / sigma_t is the slope of log p(x_t), and by Bayes log p(x_t | label) differs from it by log p(label | x_t)
and a constant. At scale 1, with an ideal net and an ideal classifier, that is the prediction of a net of that class.

[ADM] Dhariwal & Nichol, Diffusion Models Beat GANs on Image Synthesis, NeurIPS 2021, section 4 and algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Classifier(Protocol):
    """NCHW x_t and float times (N,) to (N, classes) logits."""

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        """See the class."""


@dataclass(frozen=True, eq=False)
class Guide:
    """A classifier, how strongly it pulls, and the class towards which; None: it does not pull.

    ``scale`` 1 is Bayes' rule; above 1 pictures are more alike and more of the class.
    """

    net: Classifier
    scale: float = 1.0
    label: int | None = None

    def slope(self, x: Tensor, time: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """scale * grad log p(label | x) at x (N, C, H, W), as exact as x; the classifier calculates in ``dtype``.

        Official DDNM takes it at the start of sampling, whatever x is; [ADM] and we at x.
        """
        # Sampling is in inference mode, whose tensors know no gradients; copies made outside of it do.
        with torch.inference_mode(False), torch.enable_grad():
            x, time = x.clone().requires_grad_(), time.clone()
            chances = self.net(x.to(dtype), time).to(x.dtype).log_softmax(dim=1)
            (slope,) = torch.autograd.grad(chances[:, self.label].sum(), x)
        return self.scale * slope


GUIDED: dict[str, Callable[[float, float], float]] = {
    "eps": lambda left, sigma: -sigma,
    "v": lambda left, sigma: -sigma * (left**2 + sigma**2) / left,
}
"""What a net says -> how it changes by the slope of log p, where x_t = left x0 + sigma eps.

v is left eps - sigma x0, and x0 is (x_t - sigma eps) / left.
"""
