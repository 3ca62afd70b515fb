"""The speed of a training step: ours against that of RDDM's official trainer, on the same net and pictures.

    python benchmarks/trainer.py REPO [--device cuda] [--dim 64] [--batch 1] [--rounds 10] [--size 256] [--quick]
        [--write [PAGE]]

REPO: a clone of nachifur/RDDM, of which experiment 2 is run (two U-Nets that say residual and noise, L1, Adam, clipped
gradients, an average of the weights every 10 steps). Official is the trainer's own loop in fp32, one batch a step, with
a plain accelerator and averaging in the place of its libraries'. Ours is what `restorer train` does in a step, in fp32
and with bf16 autocast, with the same optimiser. Our convolutions are plain where the official ones standardise their
weights in each call, see restorer/nets/rddm_unet.py. Pictures are on the device already, so reading and damaging them
is in neither.

First both are asked for the loss of the same weights, pictures, noise and times. Then they take steps in turn, A B C A
B C, each one timed, after as many as --warmup says. --write puts the table into docs/performance.md.
--quick is toy sizes, to see that it runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import repeat
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from speed_page import PAGE, told
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from turns import Comparison, Turn, table, take

from restorer.cli import machine
from restorer.device import choose_device
from restorer.diffusion.losses import diffusion_loss
from restorer.diffusion.predict import Denoiser
from restorer.diffusion.schedule import rddm_schedule
from restorer.errors import RestorerError
from restorer.nets.rddm_unet import TwoRddmUNets, rename

LR, BETAS, CLIP = 8e-5, (0.9, 0.99), 1.0
DECAY, EVERY = 0.995, 10
"""Of the average of the weights: how much it keeps, and how often it is taken."""
TOLERANCE = 1e-4
"""By which part the two losses may differ in fp32."""
SEVERAL = 3
"""So many draws of noise and times are compared."""
MULTS = (1, 2, 4, 8)
NEVER = 10**9
TOY = {"dim": 16, "batch": 1, "rounds": 1, "warmup": 0, "size": 32}


class Bar:
    """In the place of the official progress bar."""

    def __init__(self, **options: Any) -> None:
        pass

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *fault: object) -> None:
        pass

    def set_description(self, text: str) -> None:
        pass

    def update(self, steps: int) -> None:
        pass


class Average:
    """An average of weights, taken every so many steps."""

    def __init__(self, net: nn.Module) -> None:
        self.net, self.steps = net, 0
        self.model = AveragedModel(net, multi_avg_fn=_lerp)

    def to(self, device: torch.device) -> None:
        """It is there already."""

    def update(self) -> None:
        """Count a step."""
        self.steps += 1
        if self.steps % EVERY == 0:
            self.model.update_parameters(self.net)


def _lerp(averages: list[Tensor], values: list[Tensor], count: Tensor | int) -> None:
    torch._foreach_lerp_(averages, values, 1 - DECAY)


class Official:
    """The official net, its diffusion, and the loop of its trainer."""

    def __init__(self, module: ModuleType, dim: int, device: torch.device) -> None:
        self.net = module.UnetRes(dim=dim, dim_mults=MULTS, share_encoder=0, condition=True)
        words = {"image_size": 256, "timesteps": 1000, "sampling_timesteps": 5, "sum_scale": 1, "condition": True}
        words |= {"objective": "pred_res_noise", "loss_type": "l1"}
        self.diffusion = module.ResidualDiffusion(self.net, **words).to(device)
        module.tqdm = Bar
        # Its constructor reads data; what its loop uses of it is set here.
        self.trainer = module.Trainer.__new__(module.Trainer)
        vars(self.trainer).update(
            accelerator=_accelerator(),
            model=self.diffusion,
            opt=torch.optim.Adam(self.diffusion.parameters(), lr=LR, betas=BETAS),
            ema=Average(self.diffusion),
            device=device,
            condition=True,
            gradient_accumulate_every=1,
            save_and_sample_every=NEVER,
            step=0,
        )

    def step(self, batch: tuple[Tensor, Tensor]) -> None:
        """One step of the official loop; ``batch``: clean and damaged, (N, 3, H, W) in [0, 1]."""
        self.trainer.dl = repeat(list(batch))
        self.trainer.train_num_steps = self.trainer.step + 1
        self.trainer.train()

    @torch.no_grad()
    def loss(self, batch: tuple[Tensor, Tensor], eps: Tensor, t: Tensor) -> float:
        """Of that noise and those times, 1 ... T."""
        ranged = [2 * picture - 1 for picture in batch]
        return float(self.diffusion.p_losses(ranged, (t - 1).to(eps.device), noise=eps))


def _accelerator() -> SimpleNamespace:
    """One device, full precision."""
    return SimpleNamespace(
        is_main_process=True,
        autocast=nullcontext,
        backward=lambda loss: loss.backward(),
        clip_grad_norm_=nn.utils.clip_grad_norm_,
        wait_for_everyone=lambda: None,
        print=lambda text: None,
    )


class Ours:
    """The same net, of official weights, and a step as `restorer train` takes it."""

    def __init__(self, official: Mapping[str, Tensor], device: torch.device) -> None:
        weights = rename(official)
        dim = len(weights["res.encoder.entry.weight"])
        self.net = TwoRddmUNets(in_channels=6, dim=dim, dim_mults=MULTS)
        self.net.load_state_dict(weights)
        self.net.to(device, memory_format=torch.channels_last)
        self.device, self.rng = device, torch.Generator().manual_seed(0)
        self.student = Denoiser(self.net, rddm_schedule(1000), "res_eps")
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=LR, betas=BETAS, fused=True)
        self.average = Average(self.net)

    def step(self, batch: tuple[Tensor, Tensor], *, half: bool = False) -> float:
        """One step; ``half``: with bf16 autocast."""
        x0, y = (_ranged(picture) for picture in batch)
        eps, t = draw(x0, self.rng)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            loss = diffusion_loss(self.student, x0, y, eps, t)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.average.update()
        return loss.item()

    @torch.no_grad()
    def loss(self, batch: tuple[Tensor, Tensor], eps: Tensor, t: Tensor) -> float:
        """Of that noise and those times, 1 ... T."""
        return float(diffusion_loss(self.student, *(_ranged(picture) for picture in batch), eps, t))


def _ranged(picture: Tensor) -> Tensor:
    return (2 * picture - 1).to(memory_format=torch.channels_last)


def draw(x0: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise like ``x0``, drawn on the CPU, and times (N,)."""
    eps = torch.randn(x0.shape, generator=rng).to(x0.device)
    return eps, torch.randint(1, 1001, (len(x0),), generator=rng)


def pictures(count: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Clean and damaged ones; what is in them makes no step longer."""
    rng = torch.Generator().manual_seed(1)
    clean, damaged = (torch.rand(count, 3, size, size, generator=rng).to(device) for _ in range(2))
    return clean, damaged


def losses(official: Official, ours: Ours, batch: tuple[Tensor, Tensor]) -> Iterator[tuple[float, float]]:
    """(theirs, ours) of equal draws, before any step."""
    rng = torch.Generator().manual_seed(2)
    for _ in range(SEVERAL):
        eps, t = draw(batch[0], rng)
        yield official.loss(batch, eps, t), ours.loss(batch, eps, t)


def compare(module: ModuleType, options: argparse.Namespace) -> None:
    """Check the losses, take the steps, and print the table."""
    device = torch.device(options.device)
    torch.manual_seed(0)
    official = Official(module, options.dim, device)
    ours = Ours(official.net.state_dict(), device)
    batch = pictures(options.batch, options.size, device)
    for theirs, own in losses(official, ours, batch):
        print(f"loss: official {theirs:.6f}, ours {own:.6f}", flush=True)
        if not abs(own / theirs - 1) <= TOLERANCE:
            raise SystemExit(f"The losses differ by more than {TOLERANCE:g} of them; the trainers do not do the same.")
    turns = [
        Turn("official, fp32", lambda: official.step(batch)),
        Turn("ours, fp32", lambda: ours.step(batch)),
        Turn("ours, bf16", lambda: ours.step(batch, half=True)),
    ]
    words = f"dim {options.dim}, {options.batch} x {options.size} x {options.size}, {machine.line(device)}"
    comparison = Comparison(f"RDDM's trainer, one step, {words}", turns, options.rounds)
    made = table(comparison, take(comparison, device, options.warmup))
    told(comparison.heading, made, options.write)


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    if not list(options.repo.glob("experiments/2_*/src")):
        raise SystemExit(f"{options.repo}: no clone of nachifur/RDDM with a work tree: experiments/2_*/src is missing.")
    # What loads the official file without all that it imports is the tests'.
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from official_repository import official_module
    from pytest import MonkeyPatch

    try:
        options.device = str(choose_device(options.device))
        with MonkeyPatch.context() as patches:
            compare(official_module(options.repo, patches), options)
    except RestorerError as error:
        raise SystemExit(str(error)) from error


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repo", type=Path, help="A clone of nachifur/RDDM.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--write", type=Path, nargs="?", const=PAGE, metavar="PAGE")
    parser.add_argument("--quick", action="store_true", help="Toy sizes, instead of all these numbers.")
    options = parser.parse_args(words)
    if options.quick:
        vars(options).update(TOY)
    return options


if __name__ == "__main__":
    main()
