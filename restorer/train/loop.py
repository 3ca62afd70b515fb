"""The training loop: a generator that yields after every step. Who iterates decides what to show.

All randomness is a function of (seed, step), so a run that stops and goes on equals one that did not.

Where the recipe leaves open what the net says (predict.output = "auto"), that is found out first and the net of it
thrown away: what follows is the run of a recipe that names the output. [RDDM] automatic objective selection.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from restorer.card import write_readme
from restorer.diffusion.losses import LOSSES, OBJECTIVES, AutomaticObjective, check_objective
from restorer.diffusion.predict import Denoiser
from restorer.entry import Entry
from restorer.errors import RestorerError, UsageError, unknown
from restorer.load import build_net, build_schedule, check_names, denoiser
from restorer.metrics import psnr
from restorer.sampling import pad, sample
from restorer.settings import Settings
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

AUTO = "auto"
"""The output of recipes that leave it open."""


@dataclass(frozen=True)
class Progress:
    """Where a run is after a step; ``psnr`` in dB on the validation set, on the steps that measured it.

    Of a recipe that leaves the output open: ``share`` as long as it is not chosen, and on the step that chose it;
    ``chosen`` from then on. Steps are counted anew then.
    """

    step: int
    steps: int
    loss: float
    lr: float
    psnr: float | None
    seconds: float
    share: float | None = None
    chosen: str | None = None

    def row(self, *, auto: bool) -> dict[str, object]:
        """As a line of the log; only recipes that leave the output open say what became of it."""
        return {name: value for name, value in vars(self).items() if auto or name not in ("share", "chosen")}


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
    checkpoint = load_checkpoint(run / STATE) if resume and (run / STATE).is_file() else None
    auto = config.predict.output == AUTO
    if checkpoint and auto != (checkpoint.share is not None or checkpoint.chosen is not None):
        raise _other_recipe(run / STATE, "one of them leaves the net's output open, the other does not")
    chosen = checkpoint.chosen if checkpoint else None
    if auto:
        if chosen is None:
            chosen = yield from _choose(config, root, run, device, checkpoint)
            checkpoint = None
        config = _saying(config, chosen)
    net, entry = _fresh(config, device)
    ema = AveragedModel(net, multi_avg_fn=_ema(course.ema_decay))
    optimiser = torch.optim.AdamW(net.parameters(), course.lr, weight_decay=course.weight_decay, fused=True)
    schedule = build_schedule(config.schedule)
    student, teacher = (denoiser(n, schedule, entry) for n in (net, ema.module))
    try:
        check_objective(course.objective, student)
    except ValueError as error:
        raise UsageError(f"train: {error}") from error
    crops = Crops(training_pairs(root, config.data), config.data.damage, config.data.patch_size, course.seed)
    validation = validation_set(root, config.data)
    begin = _restart(run / STATE, checkpoint, optimiser, net=net, ema=ema) if checkpoint else 0
    _make(run)
    trim_log(run, begin)

    for step, batch in enumerate(_batches(crops, course, begin), begin + 1):
        if isinstance(batch, RestorerError):
            raise batch
        started = time.perf_counter()
        lr = _lr(course, step)
        loss = _loss(OBJECTIVES[course.objective], student, batch, step, config, device)
        _descend(optimiser, loss, lr, course.clip)
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
            chosen=chosen,
        )
        log_row(run, progress.row(auto=auto))
        if last or step % course.save_every == 0:
            states = (part.state_dict() for part in (net, ema, optimiser))
            save_checkpoint(run, Checkpoint(step, *states, chosen=chosen))
            write_readme(run / MODEL, save_model(run / MODEL, entry, ema.module))
        yield progress


def _choose(
    config: Config, root: Path, run: Path, device: torch.device, checkpoint: Checkpoint | None
) -> Generator[Progress, None, str]:
    """Train a net that says both until it is settled which of them it says better; returns that output.

    Raises ``UsageError`` when it is not within the recipe's steps, or where it cannot be.
    """
    course = config.train
    if course.objective != "outputs":
        raise UsageError(
            f"train: objective {course.objective} is for a net whose output is named; name it in predict.output, or "
            "set train.objective=outputs."
        )
    net, entry = _fresh(_saying(config, "res"), device)
    student = denoiser(net, build_schedule(config.schedule), entry)
    if not (student.schedule.sigma[1:] > 0).all():
        raise UsageError("predict: output auto needs noise at every time, and this schedule has none at one; name it.")
    objective = AutomaticObjective().to(device)
    # In the net's own optimiser and at its rate, as officially; a decay would pull the share towards eps.
    groups = [{"params": [*net.parameters()]}, {"params": [objective.share], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, course.lr, weight_decay=course.weight_decay, fused=True)
    begin = 0
    if checkpoint:
        begin = _restart(run / STATE, checkpoint, optimiser, net=net)
        objective.share.data.copy_(checkpoint.share)
    crops = Crops(training_pairs(root, config.data), config.data.damage, config.data.patch_size, course.seed)
    _make(run)
    trim_log(run, begin, choosing=True)
    if objective.output:
        return objective.output

    for step, batch in enumerate(_batches(crops, course, begin), begin + 1):
        if isinstance(batch, RestorerError):
            raise batch
        started = time.perf_counter()
        lr = _lr(course, step)
        loss = _loss(objective, student, batch, step, config, device)
        _descend(optimiser, loss, lr, course.clip)

        # Official code looks at the share in the next step, before it is moved again: the same.
        chosen, share = objective.output, float(objective.share.detach())
        seconds = time.perf_counter() - started
        progress = Progress(step, course.steps, _finite(loss.item(), step), lr, None, seconds, share, chosen)
        log_row(run, progress.row(auto=True))
        if step % course.save_every == 0:
            kept = objective.share.detach().cpu()
            save_checkpoint(run, Checkpoint(step, net.state_dict(), {}, optimiser.state_dict(), share=kept))
        yield progress
        if chosen:
            return chosen
    share, threshold = float(objective.share.detach()), objective.THRESHOLD
    raise UsageError(
        f"After {course.steps} steps the residual's share is {share:.4f}; {0.5 + threshold:g} would choose res, "
        f"{0.5 - threshold:g} eps. Name one as predict.output, or raise train.steps or train.lr."
    )


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor, lr: float, clip: float) -> None:
    """One step down the gradient of ``loss``, whose norm over all that is trained is held below ``clip``."""
    loss.backward()
    nn.utils.clip_grad_norm_([weight for group in optimiser.param_groups for weight in group["params"]], clip)
    for group in optimiser.param_groups:
        group["lr"] = lr
    optimiser.step()
    optimiser.zero_grad()


def _make(run: Path) -> None:
    """Raises ``UsageError`` for a run's folder that cannot be."""
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{run}: cannot be made: {error.strerror}; choose another --output.") from error


def _saying(config: Config, output: str) -> Config:
    return replace(config, predict=replace(config.predict, output=output))


def _fresh(config: Config, device: torch.device) -> tuple[nn.Module, Entry]:
    """The recipe's net as its seed makes it, and its card. Raises ``UsageError``."""
    torch.manual_seed(config.train.seed)
    net = build_net(config.net).to(device, memory_format=torch.channels_last)
    entry = config.entry(net.multiple)
    check_names(entry)
    if "mask" in entry.predict.input:
        raise UsageError("predict: input: a net that is shown a mask cannot be trained here; leave it out.")
    if config.data.patch_size % net.multiple:
        raise UsageError(f"data: patch_size {config.data.patch_size} is no multiple of {net.multiple}, the net's.")
    return net, entry


def _restart(
    file: Path,
    checkpoint: Checkpoint,
    optimiser: torch.optim.Optimizer,
    *,
    net: nn.Module,
    ema: nn.Module | None = None,
) -> int:
    """Put a checkpoint back; returns the steps it has behind it."""
    try:
        net.load_state_dict(checkpoint.net)
        if ema:
            ema.load_state_dict(checkpoint.ema)
        optimiser.load_state_dict(checkpoint.optimiser)
    except (RuntimeError, ValueError) as error:
        raise _other_recipe(file, str(error)) from error
    return checkpoint.step


def _other_recipe(file: Path, why: str) -> UsageError:
    return UsageError(
        f"{file}: made by another recipe, so training cannot go on from it; use another --output, or --resume no. "
        f"({why})"
    )


def _batches(crops: Crops, course: Optimise, begin: int) -> DataLoader:
    """The crops of the steps still to do, in order."""
    indices = range(begin * course.batch_size, course.steps * course.batch_size)
    return DataLoader(crops, course.batch_size, sampler=indices, num_workers=course.workers, collate_fn=together)


def _loss(
    objective: Callable[..., Tensor],
    student: Denoiser,
    batch: tuple[Tensor, ...],
    step: int,
    config: Config,
    device: torch.device,
) -> Tensor:
    course = config.train
    rng = torch.Generator().manual_seed((course.seed * 1_000_003 + step) % 2**32)
    lo, hi = student.bounds
    x0, y = ((lo + (hi - lo) * v).to(device, memory_format=torch.channels_last) for v in batch[:2])
    student = replace(student, label=batch[2]) if len(batch) > 2 else student
    y = torch.zeros_like(y) if config.unconditional else y
    eps = torch.randn(x0.shape, generator=rng).to(device)
    t = _times(len(x0), student.schedule.T, course.time_power, rng)
    with _autocast(course, device):
        return objective(student, x0, y, eps, t, loss=course.loss)


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
    validation: list[tuple[Tensor, ...]],
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
    for x0, y, *label in validation:
        height, width = x0.shape[-2:]
        asked = replace(teacher, label=label[0]) if label else teacher
        with _autocast(config.train, device):
            padded = pad(y, entry.size.multiple)
            for state in sample(asked, padded, own, settings, device):
                restored = state.x[..., :height, :width]
        total += psnr(((restored.cpu() - lo) / (hi - lo)).clamp(0, 1), x0)
    return total / len(validation)
