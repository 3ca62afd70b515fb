"""What official.py compares: each part builds both sides with the same random weights. See the table at the foot.

The first comparison of each part is a call of the net.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import official_code
import torch
from official_repository import official_module
from official_sides import SEED, card, drawn_alike, in_memory, nets, noise, picture, whole
from pytest import MonkeyPatch
from torch import Tensor, nn
from turns import Comparison, Turn

from restorer import Restorer
from restorer.cli.output import counted
from restorer.compiling import plain
from restorer.device import DTYPES
from restorer.diffusion.linear import to
from restorer.diffusion.nullspace import ddnm_official
from restorer.diffusion.operators import parse_operator
from restorer.diffusion.samplers import leading_grid
from restorer.entry import GENERATE, Predict, Sample, Size
from restorer.load import build_net
from restorer.nets import ddpm_simple, irsde_unet, rddm_unet
from restorer.settings import Settings
from restorer.zeroshot import ZeroShot, reconstruct

TIME = 500.0
"""At which nets are asked that count to 1000; nothing takes longer or shorter at another."""
MULTS = (1, 2, 4, 8)
IRSDE = {"kind": "irsde", "T": 100, "theta": "cosine", "max_sigma": 10.0, "eps": 0.005}
RECIPE = Path(__file__).parents[1] / "restorer" / "train" / "presets" / "irsde.toml"
"""Says how models of ours draw by default."""
DDNM_STEPS, DDNM_ETA, SCALE = 100, 0.85, 4
"""Of the official settings for CelebA-HQ, and of super-resolution."""


# ------------------------------------------------------------------------------------------------ RDDM


def rddm(repo: Path, options: argparse.Namespace, patches: MonkeyPatch) -> Iterator[Comparison]:
    """The two U-Nets of experiment 2."""
    official = official_module(repo, patches).UnetRes(dim=options.dim, dim_mults=MULTS, share_encoder=0, condition=True)
    table = rddm_unet.options_of(official.state_dict())
    own = build_net(table)
    own.load_state_dict(rddm_unet.rename(official.state_dict()))
    x = noise(options.batch or 1, 6, options.size)
    yield nets("RDDM's two U-Nets", official, own, x, options, lambda net, x, t: torch.cat(net(x, t), dim=1), TIME)


# ------------------------------------------------------------------------------------------------ IR-SDE


def irsde(repo: Path, options: argparse.Namespace, patches: MonkeyPatch) -> Iterator[Comparison]:
    """The conditional U-Net, and whole restorations with it."""
    code = official_code.irsde(repo, patches)
    official = code.ConditionalUNet(in_nc=3, out_nc=3, nf=options.dim, depth=4)
    table = irsde_unet.options_from(official.state_dict())
    own = build_net(table)
    own.load_state_dict(irsde_unet.rename(official.state_dict()))
    y = picture(options.size)
    x = noise(options.batch or 1, 3, options.size)
    pair = torch.cat([x, y.expand_as(x)], dim=1)

    def theirs(net: nn.Module, pair: Tensor, t: Tensor) -> Tensor:
        return net(*pair.split(3, dim=1), t)

    def ours(net: nn.Module, pair: Tensor, t: Tensor) -> Tensor:
        # As the official net does by itself.
        x, y = pair.split(3, dim=1)
        return net(torch.cat([x - y, y], dim=1), t)

    yield nets("IR-SDE's U-Net", official, own, pair, options, theirs, TIME / 10, ours)
    yield irsde_whole(code, official, own, table, options, y)


def irsde_whole(
    code: SimpleNamespace,
    official: nn.Module,
    own: nn.Module,
    table: dict[str, Any],
    options: argparse.Namespace,
    y: Tensor,
) -> Comparison:
    """100 official posterior steps, the same in ours, and ours as it draws by default."""
    device = options.device
    there, net = y.to(device), official.to(device).eval()
    words = {"max_sigma": IRSDE["max_sigma"], "schedule": IRSDE["theta"], "eps": IRSDE["eps"]}
    with redirect_stdout(sys.stderr):  # it prints
        sde = code.IRSDE(T=IRSDE["T"], device=device, **words)
    sde.set_model(net)

    @torch.no_grad()
    def theirs() -> Tensor:
        sde.set_mu(there)
        return sde.reverse_posterior(sde.noise_state(there)).clamp(0, 1).cpu()

    drawing = tomllib.loads(RECIPE.read_text(encoding="utf-8"))["sample"]
    entry = card("irsde", table, IRSDE, Predict("eps", ("x-y", "y"), "t", (0.0, 1.0), "none"), Sample(**drawing))
    same = Settings(sampler="posterior", steps=IRSDE["T"], eta=1.0, seed=SEED)
    turns = [Turn("official, posterior, 100 steps, fp32", theirs, lambda: drawn_alike(theirs), nets=(net,))]
    for dtype in options.dtype:
        made = in_memory(entry, own, options, dtype)
        for name, settings in (("posterior", same), (drawing["sampler"], Settings(seed=SEED))):
            steps = made.settled(settings).steps
            turns.append(
                Turn(
                    f"ours, {name}, {counted(steps, 'step')}, {dtype}",
                    lambda made=made, settings=settings: made.restore(y, settings),
                    (lambda made=made: made.restore(y, same)) if settings is same else None,
                    exact=settings is same and dtype == "fp32",
                    nets=(plain(made.denoiser).net,),
                )
            )
    return whole(f"IR-SDE, a picture of {options.size} x {options.size}", turns, options)


# ------------------------------------------------------------------------------------------------ DDNM


def ddnm(repo: Path, options: argparse.Namespace, patches: MonkeyPatch) -> Iterator[Comparison]:
    """The "simple" U-Net of CelebA-HQ, and super-resolution without training with it."""
    code = official_code.ddnm(repo, patches)
    settings = {"ch": 2 * options.dim, "out_ch": 3, "ch_mult": (1, 1, 2, 2, 4, 4), "num_res_blocks": 2, "dropout": 0.0}
    settings |= {"attn_resolutions": (16,), "in_channels": 3, "resamp_with_conv": True, "type": "simple"}
    config = SimpleNamespace(
        model=SimpleNamespace(**settings),
        data=SimpleNamespace(image_size=options.size),
        diffusion=SimpleNamespace(num_diffusion_timesteps=1000),
        time_travel=SimpleNamespace(T_sampling=DDNM_STEPS, travel_length=1, travel_repeat=1),
    )
    official = code.Model(config)
    state = official.state_dict()
    table = ddpm_simple.options_of(state)
    own = build_net(table)
    own.load_state_dict(ddpm_simple.rename(state, own))
    x = noise(options.batch or 1, 3, options.size)
    yield nets('DDNM\'s "simple" U-Net', official, own, x, options, lambda net, x, t: net(x, t), TIME)
    yield ddnm_whole(code, official, own, table, config, options)


def ddnm_whole(
    code: SimpleNamespace,
    official: nn.Module,
    own: nn.Module,
    table: dict[str, Any],
    config: SimpleNamespace,
    options: argparse.Namespace,
) -> Comparison:
    """100 official steps, the same in ours, and ours as it restores by default."""
    device, side = options.device, options.size
    net = official.to(device).eval()
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).float().to(device)
    clean = 2 * picture(side) - 1
    known = parse_operator(f"sr:{SCALE}", (side, side))
    y = known.A(clean.double()).float()
    start = noise(1, 3, side)
    operator = code.SuperResolution(3, side, SCALE, device)

    def theirs() -> Tensor:
        with MonkeyPatch.context() as patches:
            if device.type != "cuda":
                stay(patches, device)
            words = (start.to(device), net, betas, DDNM_ETA, operator, y.to(device).flatten(1))
            return code.ddnm_diffusion(*words, config=config)[0][0].cpu()

    entry = card(GENERATE, table, {"kind": "vp"}, Predict("eps", ("x",), "index", clip="none"), Sample("ddim", 50))
    entry = replace(entry, size=Size(2 ** (len(table["widths"]) - 1), 8, side))
    same = Settings(steps=DDNM_STEPS, times="leading", sampler="ddnm-official", eta=DDNM_ETA, seed=SEED)
    small = ((y + 1) / 2).clamp(0, 1)
    turns = [Turn(f"official, DDNM, {DDNM_STEPS} steps, fp32", theirs, lambda: drawn_alike(theirs), nets=(net,))]
    for dtype in options.dtype:
        made = in_memory(entry, own, options, dtype)

        @torch.inference_mode()
        def bare(made: Restorer = made) -> Tensor:
            # What Restorer does besides: it holds the result to black and white.
            where = made.device
            op = to(known, y.to(where))
            rng = torch.Generator().manual_seed(SEED)
            *_, last = ddnm_official(
                lambda x, t: made.denoiser(x, t, torch.zeros_like(x)),
                *(made.denoiser.schedule, op, y.to(where), start.to(where), leading_grid(1000, DDNM_STEPS)),
                eta=DDNM_ETA,
                randn_like=lambda x: torch.randn(x.shape, generator=rng).to(x.device),
            )
            return last.x

        for settings in (same, Settings(seed=SEED)):
            zero = ZeroShot(f"sr:{SCALE}", tile=0)
            words = "ours, the same" if settings is same else "ours, as by default, 20 steps"
            turns.append(
                Turn(
                    f"{words}, {dtype}",
                    lambda made=made, settings=settings, zero=zero: reconstruct(made, small, settings, zero),
                    bare if settings is same else None,
                    exact=settings is same and dtype == "fp32",
                    nets=(plain(made.denoiser).net,),
                )
            )
    return whole(f"DDNM, {side // SCALE} x {side // SCALE} enlarged {SCALE} times", turns, options)


def stay(patches: MonkeyPatch, device: torch.device) -> None:
    """For a while ``.to("cuda")`` is where the nets are: the official loop knows no other device."""
    to = Tensor.to

    def moved(x: Tensor, *where: Any, **words: Any) -> Tensor:
        return to(x, *(device if place == "cuda" else place for place in where), **words)

    patches.setattr(Tensor, "to", moved)


# ------------------------------------------------------------------------------------------------ diffusers


def diffusers(_: Path, options: argparse.Namespace, patches: MonkeyPatch) -> Iterator[Comparison]:
    """``UNet2DModel`` of google/ddpm-cifar10-32, and ``DDIMPipeline`` with it."""
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

    count, steps = options.batch or 16, 2 if options.quick else 20
    widths = [2 * options.dim, *[4 * options.dim] * 3]
    kinds = ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"]
    config = {"block_out_channels": widths, "down_block_types": kinds, "downsample_padding": 0, "norm_eps": 1e-6}
    config |= {"up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"], "attention_head_dim": None}
    config |= {"sample_size": 32, "flip_sin_to_cos": False, "freq_shift": 1, "layers_per_block": 2}
    official = UNet2DModel(**config)
    with TemporaryDirectory() as folder:
        DDIMPipeline(official, DDIMScheduler()).save_pretrained(folder)
        own = Restorer.from_pretrained(folder, device="cpu", dtype="fp32").denoiser.net
        x = noise(count, 3, 32)
        yield nets("diffusers' UNet2DModel", official, own, x, options, lambda net, x, t: net(x, t).sample, TIME)
        turns = []
        for dtype in options.dtype:
            pipeline = DDIMPipeline(deepcopy(official).to(options.device, DTYPES[dtype]).eval(), DDIMScheduler())
            pipeline.set_progress_bar_config(disable=True)
            call = partial(drawn_by_diffusers, pipeline, count, steps)
            turns.append(Turn(f"diffusers, {dtype}", call, call, nets=(pipeline.unet,)))
        for dtype in options.dtype:
            made = Restorer.from_pretrained(folder, device=str(options.device), dtype=dtype)
            call = partial(drawn, made, count, steps)
            turns.append(Turn(f"ours, {dtype}", call, call, exact=dtype == "fp32", nets=(plain(made.denoiser).net,)))
        yield whole(
            f"diffusers' DDIMPipeline, {counted(count, 'picture')} of 32 x 32, {counted(steps, 'step')}", turns, options
        )


def drawn_by_diffusers(pipeline: Any, count: int, steps: int) -> Tensor:
    """One generator a picture, as ours has it."""
    rngs = [torch.Generator().manual_seed(SEED + i) for i in range(count)]
    return pipeline(count, generator=rngs, num_inference_steps=steps, output_type="pt").images.cpu()


def drawn(restorer: Restorer, count: int, steps: int) -> Tensor:
    """The same pictures by ours."""
    return torch.cat([*restorer.generate(count, steps=steps, seed=SEED, batch_size=count)])


Part = Callable[[Path, argparse.Namespace, MonkeyPatch], Iterator[Comparison]]

PARTS: dict[str, tuple[Part, str]] = {
    "rddm": (rddm, "nachifur/RDDM"),
    "irsde": (irsde, "Algolzw/image-restoration-sde"),
    "ddnm": (ddnm, "wyhuai/DDNM"),
    "diffusers": (diffusers, "diffusers"),
}
"""Option -> what is compared, and what must be there for that."""

PROOFS = {
    "rddm": "experiments/2_*/src/residual_denoising_diffusion_pytorch.py",
    "irsde": "codes/utils/sde_utils.py",
    "ddnm": "functions/svd_ddnm.py",
}
"""What a clone has."""
