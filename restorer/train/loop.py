"""The training loop: a generator that yields after every step. Who iterates decides what to show.

All randomness is a function of (seed, step), so a run that stops and goes on equals one that did not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from restorer.diffusion.losses import LOSSES, OBJECTIVES
from restorer.diffusion.predict import Denoiser
from restorer.entry import Entry
from restorer.errors import RestorerError, UsageError, unknown
from restorer.load import build_net, build_schedule, check_names, denoiser
from restorer.metrics import psnr
from restorer.restore import Settings, pad, sample
from restorer.train.checkpoint import (
    MODEL,
    STATE,
    Checkpoint,
    load_checkpoint,
    log_row,
    save_checkpoint,
    save_model,
    trim_log,
)
from restorer.train.config import Config, Optimise
from restorer.train.data import Crops, together, training_pairs, validation_set


@dataclass(frozen=True)
class Progress:
    """Where a run is after a step; ``psnr`` in dB on the validation set, on the steps that measured it."""

    step: int
    steps: int
    loss: float
    lr: float
    psnr: float | None
    seconds: float


def train(config: Config, root: Path, run: Path, device: torch.device, *, resume: bool = True) -> Iterator[Progress]:
    """Train the recipe on the pictures below ``root``; everything is kept in the folder ``run``.

    Goes on from the run's last checkpoint when ``resume``; leaves the EMA weights as a model folder in ``run/model``.
    Raises ``UsageError`` for a recipe, ``InputError`` for data that cannot work.
    """
    course = config.train
    if course.loss not in LOSSES:
        raise unknown("loss", course.loss, list(LOSSES))
    if course.objective not in OBJECTIVES:
        raise unknown("objective", course.objective, list(OBJECTIVES))
    torch.manual_seed(course.seed)
    net = build_net(config.net).to(device, memory_format=torch.channels_last)
    entry = config.entry(net.multiple)
    check_names(entry)
    if "mask" in entry.predict.input:
        raise UsageError("predict: input: a net that is shown a mask cannot be trained here; leave it out.")
    if config.data.patch_size % net.multiple:
        raise UsageError(f"data: patch_size {config.data.patch_size} is no multiple of {net.multiple}, the net's.")
    ema = AveragedModel(net, multi_avg_fn=_ema(course.ema_decay))
    optimiser = torch.optim.AdamW(net.parameters(), course.lr, weight_decay=course.weight_decay, fused=True)
    schedule = build_schedule(config.schedule)
    student, teacher = (denoiser(n, schedule, entry) for n in (net, ema.module))
    crops = Crops(training_pairs(root, config.data), config.data.damage, config.data.patch_size, course.seed)
    validation = validation_set(root, config.data)
    begin = _restart(run / STATE, net, ema, optimiser) if resume and (run / STATE).is_file() else 0
    run.mkdir(parents=True, exist_ok=True)
    trim_log(run, begin)

    for step, batch in enumerate(_batches(crops, course, begin), begin + 1):
        if isinstance(batch, RestorerError):
            raise batch
        started = time.perf_counter()
        lr = _lr(course, step)
        for group in optimiser.param_groups:
            group["lr"] = lr
        loss = _loss(student, batch, step, course, device)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), course.clip)
        optimiser.step()
        optimiser.zero_grad()
        ema.update_parameters(net)

        last = step == course.steps
        scored = validation and (last or step % course.val_every == 0)
        progress = Progress(
            step,
            course.steps,
            _finite(loss.item(), step),
            lr,
            _score(teacher, validation, entry, config, device) if scored else None,
            time.perf_counter() - started,
        )
        log_row(run, vars(progress))
        if last or step % course.save_every == 0:
            save_checkpoint(run, Checkpoint(step, net.state_dict(), ema.state_dict(), optimiser.state_dict()))
            save_model(run / MODEL, entry, ema.module)
        yield progress


def _restart(file: Path, net: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Put a checkpoint back; returns the steps it has behind it."""
    checkpoint = load_checkpoint(file)
    try:
        net.load_state_dict(checkpoint.net)
        ema.load_state_dict(checkpoint.ema)
        optimiser.load_state_dict(checkpoint.optimiser)
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"{file}: made by another recipe, so training cannot go on from it; use another --output, or --resume no. "
            f"({error})"
        ) from error
    return checkpoint.step


def _batches(crops: Crops, course: Optimise, begin: int) -> DataLoader:
    """The crops of the steps still to do, in order."""
    indices = range(begin * course.batch_size, course.steps * course.batch_size)
    return DataLoader(crops, course.batch_size, sampler=indices, num_workers=course.workers, collate_fn=together)


def _loss(student: Denoiser, batch: tuple[Tensor, Tensor], step: int, course: Optimise, device: torch.device) -> Tensor:
    rng = torch.Generator().manual_seed((course.seed * 1_000_003 + step) % 2**32)
    lo, hi = student.bounds
    x0, y = ((lo + (hi - lo) * v).to(device, memory_format=torch.channels_last) for v in batch)
    eps = torch.randn(x0.shape, generator=rng).to(device)
    t = _times(len(x0), student.schedule.T, course.time_power, rng)
    with _autocast(course, device):
        return OBJECTIVES[course.objective](student, x0, y, eps, t, loss=course.loss)


def _times(count: int, T: int, power: float, rng: torch.Generator) -> Tensor:
    """Times 1 ... T with a density of t^(power - 1)."""
    u = torch.rand(count, generator=rng, dtype=torch.float64)
    return (u ** (1 / power) * T).long().clamp(max=T - 1) + 1


def _lr(course: Optimise, step: int) -> float:
    warm = min(1.0, step / max(course.warmup, 1))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / course.steps)))
    return course.lr * warm * (course.final_lr + (1 - course.final_lr) * cosine)


def _ema(decay: float):
    """Averaging with a warm-up, so that the first random weights are forgotten soon."""

    def update(averages: list[Tensor], values: list[Tensor], count: Tensor | int) -> None:
        n = int(count)
        torch._foreach_lerp_(averages, values, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def _autocast(course: Optimise, device: torch.device) -> AbstractContextManager:
    return torch.autocast(device.type, torch.bfloat16, enabled=course.mixed_precision == "bf16")


def _finite(loss: float, step: int) -> float:
    if not math.isfinite(loss):
        raise UsageError(f"The loss is {loss} at step {step}; lower train.lr, or set train.mixed_precision to no.")
    return loss


def _score(
    teacher: Denoiser,
    validation: list[tuple[Tensor, Tensor]],
    entry: Entry,
    config: Config,
    device: torch.device,
) -> float:
    """Mean PSNR in dB of the EMA weights at the card's own settings."""
    own = entry.sample
    sigma = config.data.validation_sigma if own.begin == "picture" else None
    settings = Settings(own.steps, own.eta, seed=0, times=own.times, sigma=sigma)
    lo, hi = teacher.bounds
    total = 0.0
    for x0, y in validation:
        height, width = x0.shape[-2:]
        with _autocast(config.train, device):
            padded = pad(y, entry.size.multiple)
            for state in sample(teacher, padded, own, settings, device):
                restored = state.x[..., :height, :width]
        total += psnr(((restored.cpu() - lo) / (hi - lo)).clamp(0, 1), x0)
    return total / len(validation)
