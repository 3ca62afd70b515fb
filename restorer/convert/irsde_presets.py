"""What the official checkpoints of IR-SDE, Refusion and GOUB are, as far as their code, issues and settings say it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """What a released file does not say, and what it must agree with.

    ``arch`` and ``input`` (what the net is shown) are held against the file; its size is read from it. ``max_sigma`` in
    8-bit levels, ``length``: T. ``codec``: the net works on latents. ``prepare``: as in the card. ``doubt``: what the
    official settings say and nobody has confirmed for the released file.
    """

    task: str
    arch: str
    input: tuple[str, ...]
    kind: str
    max_sigma: float
    eps: float
    length: int
    sampler: str
    steps: int
    trained: int
    data: str
    theta: str = "cosine"
    codec: bool = False
    prepare: str | None = None
    doubt: str = ""


_UNET, _NAFNET = "irsde_unet", "nafnet"
_PAIR, _ALONE = ("x-y", "y"), ("x",)
_SDE = (0.005, 100, "irsde-euler", 100)  # eps, T, sampler of the published numbers, steps
_BRIDGE = (0.005, 100, "irsde-euler", 99)  # as the official tests draw; the step out of y, before them, asks no net
_HOLES = "fill:1"  # white, as in the official data; the net is shown no mask

PRESETS: dict[str, Preset] = {
    "derain-h100": Preset("derain", _UNET, _PAIR, "irsde", 10, *_SDE, 128, "Rain100H"),
    "derain-l100": Preset(*("derain", _UNET, _PAIR, "irsde", 10, *_SDE, 128, "Rain100L"), doubt="max_sigma 10"),
    "deblur": Preset("deblur", _UNET, _PAIR, "irsde", 10, *_SDE, 128, "GoPro"),
    # issues 7 (max_sigma) and 31 (nearest: the released weights want that, official settings say bicubic)
    "sr-x4": Preset(
        "upscale", _UNET, _PAIR, "irsde", 30, *_SDE, 128, "DIV2K and Flickr2K", prepare="enlarge-nearest:4"
    ),
    # issues 7 and 114: 32 channels, not the 64 of the settings
    "inpaint": Preset("inpaint", _UNET, _PAIR, "irsde", 30, *_SDE, 128, "CelebA-HQ", prepare=_HOLES),
    # issue 111; the settings for training say 70 and T = 1000, with which these weights do nothing
    "denoise": Preset(
        *("denoise", _UNET, _ALONE, "denoising-sde", 75, 0.04, 100, "irsde-ode", 100, 128),
        "DIV2K, Flickr2K, BSD500 and WED",
    ),
    "refusion-denoise": Preset(
        *("denoise", _NAFNET, _ALONE, "denoising-sde", 70, 0.04, 1000, "irsde-ode", 1000, 128),
        "DIV2K, Flickr2K, BSD500 and WED",
        doubt="max_sigma 70 with T = 1000",
    ),
    "refusion-deshadow": Preset("deshadow", _NAFNET, _PAIR, "irsde", 50, *_SDE, 128, "NTIRE 2023 shadow removal"),
    "latent-dehaze": Preset(
        *("dehaze", _NAFNET, _PAIR, "irsde", 50, *_SDE, 1024, "NTIRE 2023 HR dehazing"), codec=True
    ),
    "goub-derain": Preset("derain", _UNET, _PAIR, "goub", 30, *_BRIDGE, 128, "Rain100H"),
    # the official tests for super-resolution (tasks/sr/test.py): 4 times, bicubic
    "goub-sr-x4": Preset(*("upscale", _UNET, _PAIR, "goub", 30, *_BRIDGE, 128, "DIV2K"), prepare="enlarge-bicubic:4"),
    "goub-inpaint": Preset(*("inpaint", _UNET, _PAIR, "goub", 30, *_BRIDGE, 128, "CelebA-HQ"), prepare=_HOLES),
}
