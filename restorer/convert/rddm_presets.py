"""What the official experiments of RDDM are, as far as their code and evaluation scripts say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Preset:
    """What an experiment's checkpoint does not say, and what it must agree with.

    ``sum_scale``, ``schedule`` and ``optimisers`` (the keys of the trainer's file) are None or empty where nothing
    official says them; then the file is believed. ``note`` is shown to the user. ``prepare``: as in the card.
    """

    task: str
    output: str
    input: tuple[str, ...]
    time: str
    sampler: str
    steps: int
    trained: int
    data: str
    sum_scale: float | None = None
    schedule: Mapping[str, str] = field(default_factory=dict)
    optimisers: tuple[str, ...] | None = None
    note: str = ""
    prepare: str | None = None


_ONE, _TWO = ("opt",), ("opt0", "opt1")
_RESTORATION = {"kind": "rddm", "alpha": "decreased", "beta": "increased", "family": "integer"}
_GENERATION = {**_RESTORATION, "family": "linspace"}
_FROM_DDIM = {"kind": "vp", "beta": "linear"}

_EQUALISED = (
    "The histogram of each channel of the input is equalised first (cv2.equalizeHist), as official low-light code "
    'does; a model that was trained without needs "prepare" taken out of its config.json.'
)
_HOLE = "fill:0.5"  # mid-grey, as in the official data; the nets are shown no mask

# Sources, in the official repository: E<n> is experiments/<n>_*/src/residual_denoising_diffusion_pytorch.py, T<n> its
# train.py, X<n> its test.py. Restoration nets other than experiment 2's have no code there: they are said to be
# experiment 2 with other settings (its README), which the names of result folders in eval/ tell.
PRESETS: dict[str, Preset] = {
    # T2:75-94, X2 (5 steps), E2:715-722 (schedule), E2:796-805 (input), E2:1268 (one optimiser)
    "raindrop": Preset(
        *("derain", "res_eps", ("x", "y"), "index", "rddm", 5, 256, "RainDrop"), 1.0, _RESTORATION, _ONE
    ),
    # eval/deblurring_eval: pred_res_noise_deblurring_gopro_resize_256_two_op_timestep2
    "gopro": Preset(*("deblur", "res_eps", ("x", "y"), "index", "rddm", 2, 256, "GoPro"), optimisers=_TWO),
    # T2:39-56 and issue 2 (mask, sum_scale), issue 72 (two nets), eval/shadow_removal_eval: mask_..._timestep5
    "istd": Preset(*("deshadow", "res_eps", ("x", "y", "mask"), "index", "rddm", 5, 256, "ISTD"), 0.01),
    # eval/lowlight_eval: low_light_noise1_pred_res_timestep2; T3:123 (histograms)
    "lol": Preset(
        *("enhance", "res", ("x", "y"), "index", "rddm", 2, 256, "LOL"), 1.0, note=_EQUALISED, prepare="equalize"
    ),
    # The same script, and low light as well; nothing but hearsay tells its noise, so the file does.
    "sid-rgb": Preset(
        *("enhance", "res", ("x", "y"), "index", "rddm", 2, 256, "SID-RGB"), note=_EQUALISED, prepare="equalize"
    ),
    # T6:63-101, E6:640 (schedule), E6:851-853 (time)
    "celeba64": Preset(
        *("generate", "res_eps", ("x",), "index", "rddm", 10, 64, "CelebA 64x64"), 1.0, _GENERATION, _TWO
    ),
    # T0:65-103, E0:640-671 (schedule), E0:851-854 (time), E0:965-1104 (the sampler as released)
    "celeba64-path": Preset(
        *("generate", "res_eps", ("x",), "shift_sigma", "rddm-two-phase", 10, 64, "CelebA 64x64"),
        *(1.0, _FROM_DDIM, _TWO),
    ),
    # T4:53-109, E4:656 (schedule), E4:862-876 (input, time), datasets/inpaint/dataset.py:55-62 (hole)
    "inpaint": Preset(
        *("inpaint", "res_eps", ("x",), "shift_sigma", "rddm", 10, 64, "CelebA-HQ 64x64"),
        *(1.0, _GENERATION, _TWO),
        prepare=_HOLE,
    ),
    # T5:49-105, E5:656 (schedule), E5:873-875 (time)
    "translate": Preset(
        *("translate", "res_eps", ("x",), "shift_sigma", "rddm", 10, 64, "dogs and cats, 64x64"), 1.0, _FROM_DDIM, _TWO
    ),
}
