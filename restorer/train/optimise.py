"""One step down the gradient: optimisers, the course of the learning rate, precision, clipping, averaged weights.

Noise and time of item i are functions of the seed and i alone, so neither the batch nor the process that it falls into
changes what is learned from it.

[Lion] Chen et al., Symbolic Discovery of Optimization Algorithms, NeurIPS 2023.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from restorer.diffusion.predict import Denoiser
from restorer.errors import UsageError, unknown
from restorer.train.config import Optimise
from restorer.train.data import Batch
from restorer.train.team import Team

Update = Callable[[list[Tensor], list[Tensor], Tensor | int], None]


@dataclass
class Descent:
    """Takes the steps of one net. ``student`` uses the net as the team joined it.

    ``beside``: what is trained and is no part of the net. ``blind``: y is 0, for models that draw new pictures.
    """

    team: Team
    student: Denoiser
    objective: Callable[..., Tensor]
    optimiser: torch.optim.Optimizer
    course: Optimise
    beside: Sequence[nn.Parameter] = ()
    blind: bool = False
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(self.team.device.type, enabled=self.course.mixed_precision == "fp16")

    def step(self, batches: Sequence[Batch], step: int) -> float:
        """One step on this process's share of its pictures; the mean loss over all of the team's."""
        # Whatever a net may draw by itself, such as dropout, is a function of the step too.
        torch.manual_seed(_mixed(self.course.seed, step * self.team.count + self.team.index))
        total = torch.zeros((), device=self.team.device)
        for i, batch in enumerate(batches, 1):
            with nullcontext() if i == len(batches) else self.team.apart(self.student.net):
                loss = self.loss(batch) / len(batches)
                self.scaler.scale(loss).backward()
            total += loss.detach()
        self._move(learning_rate(self.course, step))
        return float(self.team.mean(total))

    @torch.no_grad()
    def check(self, batch: Batch, step: int) -> None:
        """Raises ``UsageError`` where the weights, as they are after that step, say what is no number."""
        finite(float(self.team.mean(self.loss(batch))), step)

    def loss(self, batch: Batch) -> Tensor:
        """What the objective says of a batch."""
        device, course, schedule = self.team.device, self.course, self.student.schedule
        lo, hi = self.student.bounds
        x0, y = ((lo + (hi - lo) * v).to(device, memory_format=torch.channels_last) for v in (batch.x0, batch.y))
        mask = None if batch.mask is None else three(batch.mask.to(device))
        y = torch.zeros_like(y) if self.blind else y
        if self.student.codec is not None:
            with torch.no_grad():
                x0, y = (self.student.codec.encode(v)[0] for v in (x0, y))
        items = range(batch.first, batch.first + len(x0))
        drawn = [draw_noise(course, i, tuple(x0.shape[1:]), schedule.T) for i in items]
        eps = torch.stack([eps for eps, _ in drawn]).to(device)
        t = torch.cat([t for _, t in drawn])
        student = replace(self.student, label=batch.label, mask=mask)
        with autocast(course, device):
            return self.objective(student, x0, y, eps, t, loss=course.loss)

    def _move(self, lr: float) -> None:
        # Before they are looked at: of what overflows anywhere, all must hear, or some would leave the step out.
        for weight in self.beside:
            weight.grad = self.team.mean(weight.grad)
        self.scaler.unscale_(self.optimiser)
        weights = [weight for group in self.optimiser.param_groups for weight in group["params"]]
        if self.course.clip:
            nn.utils.clip_grad_norm_(weights, self.course.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()


def three(mask: Tensor) -> Tensor:
    """A mask (N, 1, H, W) as nets are shown it, (N, 3, H, W); what they are shown in its place, as it is."""
    return mask.expand(-1, max(3, mask.shape[1]), -1, -1)


def draw_noise(course: Optimise, item: int, shape: tuple[int, ...], T: int) -> tuple[Tensor, Tensor]:
    """The noise of that item, and its time (1,)."""
    rng = torch.Generator().manual_seed(_mixed(course.seed, item))
    return torch.randn(shape, generator=rng), draw_times(1, T, course.time_power, rng)


def draw_times(count: int, T: int, power: float, rng: torch.Generator) -> Tensor:
    """Times 1 ... T with a density of t^(power - 1)."""
    u = torch.rand(count, generator=rng, dtype=torch.float64)
    return (u ** (1 / power) * T).long().clamp(max=T - 1) + 1


def learning_rate(course: Optimise, step: int) -> float:
    """A linear warm-up, then what ``lr_schedule`` says. A function of the step: there is no state to resume."""
    warm = min(1.0, step / max(course.warmup, 1))
    return course.lr * warm * LR_SCHEDULES[course.lr_schedule](course, step)


def _cosine(course: Optimise, step: int) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / course.steps)))
    return course.final_lr + (1 - course.final_lr) * cosine


def _stairs(course: Optimise, step: int) -> float:
    return course.lr_factor ** sum(step > stair for stair in course.lr_steps)


def averaging(decay: float) -> Update:
    """Averaging with a warm-up, so that the first random weights are forgotten soon."""

    def update(averages: list[Tensor], values: list[Tensor], count: Tensor | int) -> None:
        n = int(count)
        torch._foreach_lerp_(averages, values, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def finite(loss: float, step: int) -> float:
    """Raises ``UsageError`` for a loss that is no number."""
    if not math.isfinite(loss):
        raise UsageError(
            f"The loss is {loss} at step {step}, so training stops, and the last checkpoint is kept as it is; lower "
            "train.lr, or set train.mixed_precision to no."
        )
    return loss


def autocast(course: Optimise, device: torch.device) -> AbstractContextManager:
    """The recipe's precision."""
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(course.mixed_precision)
    return nullcontext() if half is None else torch.autocast(device.type, half)


def moved(net: nn.Module) -> list[nn.Parameter]:
    """The weights of a net that training moves: all but those of its codec."""
    return [weight for weight in net.parameters() if weight.requires_grad]


def build_optimiser(course: Optimise, groups: Iterable[Any]) -> torch.optim.Optimizer:
    """The recipe's optimiser for weights, or groups of them. Raises ``UsageError``."""
    if course.optimiser not in OPTIMISERS:
        raise unknown("optimiser", course.optimiser, list(OPTIMISERS))
    kind, more = OPTIMISERS[course.optimiser]
    return kind(groups, lr=course.lr, betas=course.betas, weight_decay=course.weight_decay, **more)


class Lion(torch.optim.Optimizer):
    """[Lion] algorithm 2: the sign of a mean of gradients, so every weight moves by the learning rate."""

    def __init__(self, weights: Iterable[Any], lr: float, betas: tuple[float, float], weight_decay: float) -> None:
        super().__init__(weights, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            lr, (now, memory) = group["lr"], group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
                weight.mul_(1 - lr * group["weight_decay"])
                weight.sub_(lr * mean.lerp(weight.grad, 1 - now).sign_())
                mean.lerp_(weight.grad, 1 - memory)


def _mixed(seed: int, number: int) -> int:
    return (seed * 1_000_003 + number) % 2**32


OPTIMISERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], Mapping[str, Any]]] = {
    "adam": (torch.optim.Adam, {"fused": True}),
    "adamw": (torch.optim.AdamW, {"fused": True}),
    "radam": (torch.optim.RAdam, {"foreach": True}),
    "lion": (Lion, {}),
}
"""Name -> how it is made, and what else it is told."""

LR_SCHEDULES: dict[str, Callable[[Optimise, int], float]] = {
    "cosine": _cosine,
    "step": _stairs,
    "constant": lambda course, step: 1.0,
}
"""Name -> the share of the highest rate after so many steps."""
