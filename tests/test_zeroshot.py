"""Zero-shot restoration: what is measured is met, whatever the size, the windows and the prior."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from test_generate import PRIOR
from toy import toy_model, toy_net

from restorer.diffusion.predict import Denoiser
from restorer.errors import ImageError, UsageError
from restorer.metrics import psnr
from restorer.restore import Restorer
from restorer.settings import Settings
from restorer.zeroshot import ZeroShot, calls, check, consistency, pose, recipe, reconstruct

FEW = Settings(steps=3)
HERE = torch.zeros(())


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    folder = toy_model(
        tmp_path_factory.mktemp("models") / "prior",
        state=toy_net(in_channels=3).state_dict(),
        **{**PRIOR, "size": {"trained": 16}},
    )
    return Restorer.from_pretrained(str(folder), device="cpu", dtype="fp32")


def picture(height, width, seed=0):
    """(1, 3, height, width), with values on both sides cut off at black and white."""
    noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    return (0.5 + 0.4 * noise).clamp(0, 1)


def mask(height, width):
    marked = torch.zeros(1, 3, height, width)
    marked[..., 3:9, 5:9] = 1
    return marked


WORDS = [
    "sr:4",
    "sr-bicubic:2",
    "gray",
    "gray:luma",
    "mask",
    "mask+gray+sr:2",
    "blur:gauss:1",
    "cs:0.25",
    "cs-block:0.5",
]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("size", [(24, 40), (32, 32), (17, 23)])
def test_without_noise_the_measurement_is_met_at_any_size(prior, word, size):
    if "sr" in word:
        size = tuple(side - side % 4 for side in size)
    zero = ZeroShot(word, simulate=True)
    x = picture(*size)
    marked = mask(*size) if zero.masked else None
    got = reconstruct(prior, x, FEW, zero, mask=marked)
    problem = pose(zero, x, marked, (-1.0, 1.0), 0, HERE)
    assert got.shape == x.shape and got.min() >= 0 and got.max() <= 1
    assert (problem.op.A(2 * got - 1) - problem.y).abs().max() <= 2e-4  # 1e-4 of pixels in [0, 1]
    assert psnr(got, x) < 60


@pytest.mark.parametrize(("word", "scale"), [("sr:4", 4), ("sr-bicubic:2", 2), ("gray", 1), ("mask+gray+sr:2", 2)])
def test_a_real_picture_is_the_measurement(prior, word, scale):
    """What comes out, measured, is the picture that was given."""
    zero = ZeroShot(word)
    y = picture(12, 10)
    y = y.mean(1, keepdim=True).expand_as(y) if zero.coloured else y
    marked = mask(12, 10) if zero.masked else None
    got = reconstruct(prior, y, FEW, zero, mask=marked)
    assert got.shape == (1, 3, 12 * scale, 10 * scale)
    keep = 1.0 if marked is None else 1 - marked
    seen = {"sr:4": lambda x: torch.nn.functional.avg_pool2d(x, 4), "gray": lambda x: x.mean(1, keepdim=True)}
    seen["mask+gray+sr:2"] = lambda x: torch.nn.functional.avg_pool2d(x, 2).mean(1, keepdim=True)
    if word in seen:
        assert ((seen[word](got) - y) * keep).abs().max() < 1e-4


def test_known_pixels_stay_and_others_do_not(prior):
    y, marked = picture(20, 18), mask(20, 18)
    got = reconstruct(prior, y, FEW, ZeroShot("mask"), mask=marked)
    known = marked == 0
    assert (got - y)[known].abs().max() < 1e-6
    assert (got - y)[~known].abs().mean() > 0.01


@pytest.mark.parametrize("larger", [False, True])
def test_a_mask_may_have_the_size_of_the_picture_or_of_the_result(prior, larger):
    y, marked = picture(12, 10), mask(12, 10)
    whole = marked.repeat_interleave(2, -1).repeat_interleave(2, -2)
    got = reconstruct(prior, y, FEW, ZeroShot("mask+sr:2"), mask=whole if larger else marked)
    assert torch.equal(got, reconstruct(prior, y, FEW, ZeroShot("mask+sr:2"), mask=marked))


class Knows:
    """A net that says the eps of one clean canvas, wherever its window lies: it finds the place by the time's noise."""

    def __init__(self, x0):
        self.x0 = x0

    def __call__(self, x, time):
        return self.x0[..., : x.shape[-2], : x.shape[-1]].expand(len(x), -1, -1, -1)


def knowing(prior, x0):
    """The prior, replaced by one that knows the picture; for canvases of one window."""
    return replace(prior, denoiser=replace(prior.denoiser, net=Knows(2 * x0 - 1), output="x0"))


@pytest.mark.parametrize("method", ["ddnm", "ddrm"])
@pytest.mark.parametrize(
    ("word", "sigma"), [("sr:4", 0), ("sr:4", 10), ("denoise", 25), ("gray", 5), ("blur:gauss:1", 5)]
)
def test_a_prior_that_knows_the_picture_gives_it_back(prior, word, sigma, method):
    x = picture(16, 16)
    zero = ZeroShot(word, sigma=sigma, method=method, simulate=True)
    got = reconstruct(knowing(prior, x), x, FEW, zero)
    assert (got - x).abs().max() < 1e-3


@pytest.mark.parametrize("sigma", [5.0, 25.0])
def test_noise_is_measured_in_8_bit_levels(sigma):
    x = 0.5 + 0 * picture(64, 64)
    zero = ZeroShot("denoise", sigma=sigma, simulate=True)
    problem = pose(zero, x, None, (-1.0, 1.0), 0, HERE)
    assert consistency(problem, x, (-1.0, 1.0)) == pytest.approx(sigma, rel=0.03)
    assert not torch.equal(problem.y, pose(zero, x, None, (-1.0, 1.0), 1, HERE).y)


def test_windows_are_one_canvas(prior):
    """A prior that looks at single pixels gives the same picture in windows and whole."""

    def pixelwise(x, time):
        return 0.3 * x

    free = replace(prior, denoiser=replace(prior.denoiser, net=pixelwise, clip="none"))
    y = picture(20, 30)
    whole = reconstruct(free, y, FEW, ZeroShot("sr:2", tile=0))
    for tile, overlap in ((16, None), (16, 0), (20, 19)):
        got = reconstruct(free, y, FEW, ZeroShot("sr:2", tile=tile, overlap=overlap))
        assert (got - whole).abs().max() < 1e-5


def test_mask_shift_meets_the_measurement_and_differs_from_blending(prior):
    y = picture(16, 24)
    shifted = reconstruct(prior, y, FEW, ZeroShot("sr:2", windows="mask-shift"))
    assert (torch.nn.functional.avg_pool2d(shifted, 2) - y).abs().max() < 1e-4
    assert not torch.allclose(shifted, reconstruct(prior, y, FEW, ZeroShot("sr:2")), atol=1e-3)
    small = picture(8, 8)
    one = reconstruct(prior, small, FEW, ZeroShot("sr:2", windows="mask-shift"))
    assert torch.equal(one, reconstruct(prior, small, FEW, ZeroShot("sr:2")))
    with pytest.raises(UsageError, match="free of noise"):
        reconstruct(prior, y, FEW, ZeroShot("sr:2", sigma=5, windows="mask-shift"))


@pytest.mark.parametrize("kind", ["blend", "mask-shift"])
def test_progress_is_what_was_counted(prior, kind):
    zero = ZeroShot("sr:2", travel_length=2, travel_repeat=2, windows=kind)
    settings = check(prior, Settings(steps=6), zero, masked=False)
    told, watched = [], []
    reconstruct(
        prior,
        picture(16, 24),
        settings,
        zero,
        progress=lambda done, state: told.append(done),
        watch=lambda done, x, x0: watched.append(done),
    )
    assert told == list(range(1, calls(settings, zero, prior.denoiser.schedule.T) + 1)) and len(told) > 6
    assert watched == list(range(len(told) + 1))


def test_the_same_seed_is_the_same_picture(prior):
    y, zero = picture(9, 11), ZeroShot("sr:2")
    first = reconstruct(prior, y, FEW, zero)
    assert torch.equal(first, reconstruct(prior, y, FEW, zero))
    assert not torch.equal(first, reconstruct(prior, y, replace(FEW, seed=1), zero))


def test_the_api_takes_it(prior):
    made = prior(picture(8, 8), zero=ZeroShot("sr:2"), steps=2)
    assert made.shape == (1, 3, 16, 16)


def test_what_is_recorded(prior):
    zero = ZeroShot("sr:4", travel_repeat=3)
    made = recipe(prior, check(prior, FEW, zero, masked=False), zero)
    assert (made["operator"], made["method"], made["sampler"], made["eta"]) == ("sr:4", "ddnm", "ddnm", 1.0)
    assert made["travel_repeat"] == 3 and "windows" not in made and (made["steps"], made["times"]) == (3, "cubic")


@pytest.mark.parametrize("name", ["repaint", "ddnm-official", "ddnm-official-simplified", "ddnm-posterior"])
def test_other_samplers_by_name(prior, name):
    y, marked = picture(16, 16), mask(16, 16)
    got = reconstruct(prior, y, replace(FEW, sampler=name), ZeroShot("mask"), mask=marked)
    assert (got - y)[marked == 0].abs().max() < 1e-5


def test_a_prior_of_classes_is_told_which(tmp_path):
    from restorer.nets import NETS

    net = {"arch": "adm_unet", "widths": [8, 8], "layers": 1, "attention": [False, False], "head_width": 4}
    net |= {"classes": 3, "groups": 4}
    torch.manual_seed(0)
    state = NETS["adm_unet"](**{key: value for key, value in net.items() if key != "arch"}).state_dict()
    changes = {**PRIOR, "size": {"trained": 16}}
    folder = toy_model(tmp_path / "classes", state=state, **(changes | {"net": net | {"in_channels": 3}}))
    data = json.loads((folder / "config.json").read_text())
    data["net"] = net
    (folder / "config.json").write_text(json.dumps(data))
    made = Restorer.from_pretrained(str(folder), device="cpu", dtype="fp32")
    y, zero = picture(8, 8), ZeroShot("sr:2")
    own, *told = (reconstruct(made, y, replace(FEW, label=label), zero) for label in (None, 0, 1))
    assert torch.equal(own, told[0]) and not torch.equal(own, told[1])
    assert made.recipe(Settings(label=1))["class"] == 1
    with pytest.raises(UsageError, match="class must be from 0 to 2, those of toy; not 3"):
        reconstruct(made, y, replace(FEW, label=3), zero)


def test_a_classifier_guides_in_windows_of_its_size(tmp_path):
    from test_guide import STRONG, loaded

    made = loaded(tmp_path / "guided", guide=STRONG)
    y, zero = picture(20, 12), ZeroShot("sr:2")
    own, *told = (reconstruct(made, y, replace(FEW, label=label), zero) for label in (None, 0, 1))
    assert not torch.equal(own, told[0]) and not torch.equal(told[0], told[1])
    for x in (own, *told):
        assert (F.avg_pool2d(x, 2) - y).abs().max() < 1e-4
    with pytest.raises(UsageError, match="knows windows of 16 pixels only; leave out --tile"):
        reconstruct(made, y, replace(FEW, label=0), replace(zero, tile=8))
    with pytest.raises(ImageError, match="12x12 pixels is too small; toy needs 16"):
        reconstruct(made, picture(6, 6), replace(FEW, label=0), zero)
    assert reconstruct(made, picture(6, 6), FEW, zero).shape[-2:] == (12, 12)  # nobody guides


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"operator": "srr:4"}, "Unknown operator 'srr'; did you mean 'sr'"),
        ({"operator": "sr:4", "method": "dps"}, "Unknown method 'dps'"),
        ({"operator": "sr:4", "travel_length": 0}, "1 step or more"),
        ({"operator": "sr:4", "sigma": 300.0}, "from 0 to 255"),
        ({"operator": "denoise"}, "how much noise there is: --sigma 25"),
        ({"operator": "cs:0.25"}, "add --simulate"),
        ({"operator": "blur:nothing.png"}, "no such kernel file, nor one of blur:gauss"),
    ],
)
def test_words_that_cannot_be(words, sentence):
    with pytest.raises(UsageError, match=sentence):
        ZeroShot(**words)


@pytest.mark.parametrize(
    ("zero", "settings", "masked", "sentence"),
    [
        (ZeroShot("sr:2.5"), {}, False, "whole number from 1 on"),
        (ZeroShot("sr-bicubic:3"), {}, False, "known by 2, 4, 8 and 16, not 3"),
        (ZeroShot("mask"), {}, False, "needs a mask"),
        (ZeroShot("sr:2"), {}, True, "no use for a mask"),
        (ZeroShot("sr:2"), {"sampler": "ddim"}, False, "Unknown sampler for zero-shot restoration 'ddim'"),
        (ZeroShot("sr:2", sigma=3), {"sampler": "ddnm"}, False, "try ddnm-plus"),
        (ZeroShot("sr:2"), {"alpha_schedule": "average"}, False, "--alpha-schedule is not for zero-shot"),
        (ZeroShot("sr:2", tile=18), {}, False, "multiple of 4, not 18"),
        (ZeroShot("sr:2", overlap=16), {}, False, "overlap by 0 to 15, not 16"),
        (ZeroShot("blur:motion:5:30", sigma=5, method="ddrm"), {}, False, "no known singular values"),
        (ZeroShot("mask+blur:gauss:1"), {}, True, "put mask behind it"),
    ],
)
def test_what_is_refused_with_a_sentence(prior, zero, settings, masked, sentence):
    with pytest.raises(UsageError, match=sentence):
        reconstruct(prior, picture(12, 12), replace(FEW, **settings), zero, mask=mask(12, 12) if masked else None)


def test_sizes_that_are_refused(prior, toy_restorer):
    with pytest.raises(ImageError, match="18x13 pixels: sr:4 does not divide them; cut the picture to 16x12"):
        reconstruct(prior, picture(13, 18), FEW, ZeroShot("sr:4", simulate=True))
    with pytest.raises(ImageError, match="2x2 pixels is too small"):
        reconstruct(prior, picture(2, 2), FEW, ZeroShot("gray"))
    with pytest.raises(UsageError, match="is for derain; an operator needs a prior"):
        reconstruct(toy_restorer, picture(12, 12), FEW, ZeroShot("sr:2"))


def test_a_kernel_is_a_picture(prior, tmp_path):
    from PIL import Image

    Image.new("L", (3, 3), 40).save(tmp_path / "kernel.png")
    x = picture(16, 16)
    zero = ZeroShot(f"blur:{tmp_path / 'kernel.png'}", simulate=True)
    y = pose(zero, x, None, (-1.0, 1.0), 0, HERE).y
    assert torch.allclose(
        y, pose(ZeroShot("blur:uniform:3", simulate=True), x, None, (-1.0, 1.0), 0, HERE).y, atol=1e-5
    )
    made = recipe(prior, check(prior, FEW, zero, masked=False), zero)
    assert made["operator"] == "blur:kernel.png" and len(made["kernel"]) == 64
    Image.new("L", (3, 3), 0).save(tmp_path / "kernel.png")
    with pytest.raises(UsageError, match="all black"):
        ZeroShot(f"blur:{tmp_path / 'kernel.png'}")


def test_a_net_in_half_precision_goes_on_in_full_where_it_overflows(prior):
    class Overflows:
        def __call__(self, x, time):
            return torch.full_like(x, float("nan"))

    half = replace(prior, denoiser=replace(prior.denoiser, net=Overflows(), dtype=torch.bfloat16))
    half._exact = prior.denoiser
    y = picture(8, 8)
    assert torch.equal(reconstruct(half, y, FEW, ZeroShot("sr:2")), reconstruct(prior, y, FEW, ZeroShot("sr:2")))
    assert isinstance(half.denoiser, Denoiser)
