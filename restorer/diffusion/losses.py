"""What a net is trained to say.

[RDDM] Liu et al., CVPR 2024, section 3.3: a term for each output of the net.
[IR-SDE] Luo et al., ICML 2023: L_gamma, the noise, and J_gamma, the best way back.
[Refusion] Luo et al., CVPR workshops 2023, section 3.2: the codec's own loss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorer.diffusion.predict import FLOOR, OUTPUTS, Denoiser
from restorer.diffusion.process import euler_eps
from restorer.diffusion.schedule import Schedule, at, diffuse


def targets(output: str, x0: Tensor, y: Tensor, eps: Tensor) -> tuple[Tensor, ...]:
    """The truth that each output of a net of this kind (a key of OUTPUTS) is compared with.

    Raises ValueError where the truth depends on t: for "euler_eps", see ``matching_loss``, and "v".
    """
    res = y - x0
    truths = {
        "res": (res,),
        "eps": (eps,),
        "x0": (x0,),
        "res_eps": (res, eps),
        "res_sum": (res, res + eps),
        "x0_eps": (x0, eps),
        "x0_sum": (x0, x0 + eps),
    }
    if output not in truths:
        raise ValueError(f"What a net should say that says {output} depends on the time.")
    return truths[output]


def diffusion_loss(denoiser: Denoiser, x0: Tensor, y: Tensor, eps: Tensor, t: Tensor, *, loss: str = "l1") -> Tensor:
    """Mean error of the net's outputs at the times ``t`` (N,), summed over outputs; x0, y: NCHW in the net's range."""
    x = diffuse(denoiser.schedule, x0, y, eps, t)
    said = denoiser.raw(x, t, y).float().chunk(OUTPUTS[denoiser.output].count, dim=1)
    measure = LOSSES[loss]
    if denoiser.output == "v":
        truths = (velocity(denoiser.schedule, x0, eps, t),)
    else:
        truths = targets(denoiser.output, x0, y, eps)
    return sum(measure(out, truth) for out, truth in zip(said, truths, strict=True))


def velocity(schedule: Schedule, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """What a net should say at ``t`` (N,) that says v, see ``predict.from_v``."""
    return at(1 - schedule.shift, t, x0) * eps - at(schedule.sigma, t, x0) * x0


def noise_loss(denoiser: Denoiser, x0: Tensor, y: Tensor, eps: Tensor, t: Tensor, *, loss: str = "l1") -> Tensor:
    """[IR-SDE] L_gamma: the error of eps, times sigma_t (gamma), which makes it the error of what is in the picture."""
    said = denoiser.raw(diffuse(denoiser.schedule, x0, y, eps, t), t, y).float()
    weight = at(denoiser.schedule.sigma, t, x0)
    return LOSSES[loss](weight * said, weight * eps)


def matching_loss(denoiser: Denoiser, x0: Tensor, y: Tensor, eps: Tensor, t: Tensor, *, loss: str = "l1") -> Tensor:
    """[IR-SDE] J_gamma with gamma = 1, maximum likelihood: how far an Euler step to t - 1 ends from the best x there.

    The objective of the official nets. Its optimum is ``euler_eps``, not eps, see ``process``.
    """
    x = diffuse(denoiser.schedule, x0, y, eps, t)
    said = denoiser.raw(x, t, y).float()
    weight, target = euler_eps(denoiser.schedule, x, y, eps, t)
    return LOSSES[loss](weight * said, weight * target)


def check_objective(objective: str, denoiser: Denoiser) -> None:
    """Raises ValueError where a key of OBJECTIVES is not for what the net says, or not for its schedule."""
    output = denoiser.output
    fitting = {"noise": ("eps",), "matching": ("eps", "euler_eps")}.get(objective)
    if fitting and output not in fitting:
        raise ValueError(f"The objective {objective} is for nets that say {' or '.join(fitting)}, not {output}.")
    if objective == "outputs" and output == "euler_eps":
        raise ValueError("A net that says euler_eps is trained with the objective matching, not outputs.")
    if objective == "matching" and denoiser.schedule.shift[-1] == 1:
        raise ValueError("The objective matching needs a schedule that leaves something of the clean picture at t = T.")


class AutomaticObjective(nn.Module):
    """[RDDM] automatic objective selection (AOSA): learns whether a net of one output had better say res or eps.

    ``share`` (1,) is how far the output is read as the residual; it is to be trained with the net's own optimiser and
    learning rate (officially Adam, 8e-5). Once it is ``THRESHOLD`` away from one half, ``output`` is settled, and the
    paper starts anew: a fresh net is trained for that output alone. (Official code can go on with res only, since it
    takes the mark of eps, 0, for undecided.) There must be noise at every time: not the schedules of family "linspace".
    """

    THRESHOLD = 1e-2

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor([0.5]))

    @property
    def output(self) -> str | None:
        """The key of OUTPUTS that was chosen, or None while undecided."""
        lead = float(self.share.detach()) - 0.5
        if abs(lead) < self.THRESHOLD:
            return None
        return "res" if lead > 0 else "eps"

    def forward(self, denoiser: Denoiser, x0: Tensor, y: Tensor, eps: Tensor, t: Tensor, *, loss: str = "l1") -> Tensor:
        """As ``diffusion_loss``, which it is once the output is chosen; ``denoiser.output`` is not looked at."""
        if self.output is not None:
            return diffusion_loss(replace(denoiser, output=self.output), x0, y, eps, t, loss=loss)
        share = self.share.squeeze()
        res_error, eps_error = self.errors(denoiser, x0, y, eps, t, loss=loss)
        return share * res_error + (1 - share) * eps_error

    def errors(
        self, denoiser: Denoiser, x0: Tensor, y: Tensor, eps: Tensor, t: Tensor, *, loss: str = "l1"
    ) -> tuple[Tensor, Tensor]:
        """Of res and of eps, each a mixture by ``share`` of the output itself and of what the other reading makes."""
        schedule, measure, share = denoiser.schedule, LOSSES[loss], self.share.squeeze()
        x = diffuse(schedule, x0, y, eps, t)
        said = denoiser.raw(x, t, y).float()
        shift, sigma = at(schedule.shift, t, x0), at(schedule.sigma, t, x0)
        # At T official code divides by the floor in every schedule, see Denoiser's clip.
        at_end = (t == schedule.T).to(x0.device).view(-1, 1, 1, 1)
        left = torch.where(at_end, FLOOR, (1 - shift).clamp(min=FLOOR))
        res_of_eps = y - ((x - shift * y - sigma * said) / left).clamp(*denoiser.bounds)
        eps_of_res = (x - y - (shift - 1) * said) / sigma
        return (
            measure(share * said + (1 - share) * res_of_eps, y - x0),
            measure(share * eps_of_res + (1 - share) * said, eps),
        )


class Compression(nn.Module):
    """[Refusion] what a codec is trained by, as one module, since gradients of teams are those of a module's call."""

    WEIGHT = 1e-3
    """Of the terms that keep a latent near the mean of its picture, and at half its spread."""

    def __init__(self, codec: nn.Module) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, x0: Tensor, y: Tensor, loss: str = "l1") -> Tensor:
        """How far two pictures, (N, 3, H, W) in [0, 1], are from what comes back, both with the features of ``y``."""
        measure = LOSSES[loss]
        latent, hidden = self.codec.encode(y)
        back = measure(self.codec.decode(latent, hidden), y)
        back = back + measure(self.codec.decode(self.codec.encode(x0)[0], hidden), x0)
        near = (latent.mean() - y.mean()).abs() + (latent.std() - 0.5 * y.std()).abs()
        return back + self.WEIGHT * near


def compression_loss(denoiser: Denoiser, x0: Tensor, y: Tensor, eps: Tensor, t: Tensor, *, loss: str = "l1") -> Tensor:
    """``Compression``, which is the denoiser's net; half of the pairs the other way round, by the sign of their noise.

    Officially so, too (``use_swap``): the codec must hold a clean picture's own features as well.
    """
    swapped = eps[:, :1, :1, :1] > 0
    return denoiser.net(torch.where(swapped, y, x0), torch.where(swapped, x0, y), loss)


OBJECTIVES: dict[str, Callable[..., Tensor]] = {
    "outputs": diffusion_loss,
    "noise": noise_loss,
    "matching": matching_loss,
}
"""What is compared with the truth."""

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "l2": F.mse_loss}
"""How it is compared."""
