"""Pictures made ready: histograms equalised as OpenCV does it, small pictures enlarged, holes filled."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate
from toy import toy_model, toy_net

from restorer.errors import ImageError, ModelError, UsageError
from restorer.prepare import equalize, shrink
from restorer.restore import Restorer
from restorer.settings import Settings
from restorer.work import Cost


def written_out(levels):
    """One channel, a list of levels; from the formula alone."""
    counts = Counter(levels)
    darkest, total = min(counts), len(levels)
    if counts[darkest] == total:
        return levels
    scale = np.float32(255) / np.float32(total - counts[darkest])
    table, seen = {darkest: 0}, 0
    for level in range(darkest + 1, 256):
        seen += counts.get(level, 0)
        table[level] = int(np.rint(np.float32(seen) * scale))
    return [table[level] for level in levels]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 3, 16, 20)])
def test_each_channel_by_the_formula(shape, seed):
    rng = np.random.default_rng(seed)
    levels = (rng.random(shape) ** (seed + 1) * (60 + 65 * seed) + 3 * seed).astype("uint8")
    made = equalize(torch.from_numpy(levels).float() / 255)
    wanted = [written_out(channel.flatten().tolist()) for picture in levels for channel in picture]
    assert (made * 255).round().int().flatten().tolist() == [level for channel in wanted for level in channel]
    assert made.dtype == torch.float32


def test_halves_go_to_the_even_level():
    # Two of a hundred and two above the darkest: 2.5 and 5 times ... as 255 / 102 is 2.5.
    levels = torch.tensor([0] * 8 + [1] + [2] * 2 + [3] * 99).view(1, 1, 1, -1) / 255
    assert (equalize(levels) * 255).round()[0, 0, 0, [0, 8, 9, -1]].tolist() == [0, 2, 8, 255]


@pytest.mark.parametrize("level", [0, 77, 255])
def test_one_level_stays(level):
    y = torch.full((1, 3, 4, 4), level / 255)
    assert torch.equal(equalize(y), y)


def test_a_card_can_ask_for_it(tmp_path, toy_restorer):
    asking = Restorer.from_pretrained(str(toy_model(tmp_path / "toy", prepare="equalize")), device="cpu", dtype="fp32")
    y = (torch.rand(1, 3, 9, 14, generator=torch.Generator().manual_seed(0)) * 80).round() / 255
    made = asking.restore(y, Settings())
    # Not the last bit: where weights lie in memory may decide how a sum is taken.
    assert (made - toy_restorer.restore(equalize(y), Settings())).abs().max() < 1e-5
    assert (made - toy_restorer.restore(y, Settings())).abs().max() > 0.01
    assert asking.recipe(Settings())["prepare"] == "equalize" and "prepare" not in toy_restorer.recipe(Settings())


SHOWN_A_MASK = {"net": {"in_channels": 9}, "predict": {"input": ["x", "y", "mask"]}}


@pytest.mark.parametrize(
    ("word", "more", "sentence"),
    [
        ("equalise", {}, "Unknown prepare 'equalise'; did you mean 'equalize'"),
        ("equalize:2", {}, "equalize takes no number; write equalize"),
        ("enlarge:4", {}, "Unknown prepare 'enlarge'; did you mean 'enlarge-"),
        *((f"enlarge-nearest{n}", {}, "how many times") for n in ("", ":", ":1", ":17", ":2.5", ":-4", ":²", ":four")),
        *((f"fill{n}", {}, "how bright") for n in ("", ":", ":1.01", ":-0.1", ":nan", ":white", ":1:1")),
        ("fill:1", {"task": "generate"}, "draws new pictures"),
        *((f"shrink{n}", {}, "how small") for n in ("", ":", ":31", ":64.5", ":-64", ":small")),
        ("enlarge-bicubic:2", SHOWN_A_MASK, "larger than the mask"),
        ("shrink:64", SHOWN_A_MASK, "larger than the mask"),
    ],
)
def test_other_words_are_errors_of_the_card(tmp_path, word, more, sentence):
    with pytest.raises(ModelError, match=sentence):
        loaded(tmp_path, prepare=word, **more)


def loaded(folder, **changes):
    return Restorer.from_pretrained(str(toy_model(folder / "toy", **changes)), device="cpu", dtype="fp32")


def random_picture(height=9, width=14, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_a_large_picture_is_restored_at_a_smaller_size_and_gets_the_change(tmp_path, toy_restorer):
    model = loaded(tmp_path, prepare="shrink:32")
    y = random_picture(64, 97)
    small = shrink(y, 32)
    assert small.shape == (1, 3, 32, 48)
    assert torch.allclose(small.mean(), y.mean(), atol=0.01)
    change = toy_restorer.restore(small, Settings()) - small  # clamped, which nearly nothing is here
    frames = []
    made = model.restore(y, Settings(), watch=lambda done, x, x0: frames.append((x.shape, x0.shape)))
    wanted = (y + interpolate(change, size=y.shape[-2:], mode="bilinear")).clamp(0, 1)
    assert made.shape == y.shape and set(frames) == {(y.shape, y.shape)}
    assert (made - wanted).abs().median() < 1e-5 and (made - y).abs().max() > 0.01
    assert model.recipe(Settings())["prepare"] == "shrink:32"


def test_a_small_picture_is_not_shrunk(tmp_path, toy_restorer):
    y = random_picture(32, 40)
    made = loaded(tmp_path, prepare="shrink:32").restore(y, Settings())
    assert (made - toy_restorer.restore(y, Settings())).abs().max() < 1e-5


def test_what_is_shrunk_costs_what_is_computed():
    assert Cost(1e-6, 100.0, side=256).computed(1024, 512) == 512 * 256
    assert Cost(1e-6, 100.0, side=256).computed(100, 80) == Cost(1e-6, 100.0).computed(100, 80) == 8000


@pytest.mark.parametrize("scale", [2, 4])
def test_a_picture_is_enlarged_before_it_is_restored(tmp_path, toy_restorer, scale):
    model = loaded(tmp_path, prepare=f"enlarge-nearest:{scale}")
    y = random_picture()
    large = y.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    made = model.restore(y, Settings())
    assert made.shape == large.shape and torch.equal(made, toy_restorer.restore(large, Settings()))
    assert (model.scale, toy_restorer.scale) == (scale, 1)
    assert torch.equal(made, model(y))


def test_cubic_interpolation_overshoots_and_is_not_clamped(tmp_path):
    model, step = loaded(tmp_path, prepare="enlarge-bicubic:4"), (torch.arange(8) > 3).float()
    seen = []
    made = model.restore(step.expand(1, 3, 8, 8), Settings(), watch=lambda done, x, x0: seen.append(x0))
    assert seen[0].shape == made.shape == (1, 3, 32, 32)
    assert seen[0].min() < -0.01 and seen[0].max() > 1.01 and made.min() >= 0 and made.max() <= 1
    # Of four pixels in a row 0 0 1 1, an eighth of a pixel left of their middle: a = -3/4.
    weights = [
        -0.75 * d**3 + 3.75 * d**2 - 6 * d + 3 if d > 1 else 1.25 * d**3 - 2.25 * d**2 + 1 for d in (0.625, 1.625)
    ]
    assert float(seen[0][0, 0, 9, 15]) == pytest.approx(sum(weights), abs=1e-5)


def test_the_least_size_is_that_of_what_is_enlarged(tmp_path):
    model = loaded(tmp_path, prepare="enlarge-nearest:2", size={"minimum": 5})
    assert model.restore(random_picture(3, 4), Settings()).shape == (1, 3, 6, 8)
    with pytest.raises(ImageError, match="9x2 pixels is too small; toy needs 3 on each side"):
        model.restore(random_picture(2, 9), Settings())


def test_another_scale_than_the_models_is_refused(tmp_path, toy_restorer):
    model = loaded(tmp_path, prepare="enlarge-nearest:4")
    for accepted, restorer in ((4.0, model), (None, model), (1, toy_restorer)):
        restorer.check(masked=False, scale=accepted)
    with pytest.raises(UsageError, match="enlarges 4 times, not 2;"):
        model.check(masked=False, scale=2)
    with pytest.raises(UsageError, match=r"keeps the size of a picture \(scale 1\), not 1.5;"):
        toy_restorer.check(masked=False, scale=1.5)


def test_what_is_marked_is_filled_before_it_is_restored(tmp_path, toy_restorer):
    model, y = loaded(tmp_path, prepare="fill:0.5"), random_picture()
    mask = torch.zeros(1, 3, 9, 14)
    mask[..., 2:5, 3:9], mask[..., 7, 7] = 1, 0.25
    filled = y.clone()
    filled[..., 2:5, 3:9], filled[..., 7, 7] = 0.5, 0.75 * y[..., 7, 7] + 0.125
    wanted = toy_restorer.restore(filled, Settings())
    assert torch.allclose(model.restore(y, Settings(), mask=mask), wanted, atol=1e-6)
    assert torch.allclose(model(filled), wanted, atol=1e-6)  # painted already
    assert model.takes_mask and model.fills and not toy_restorer.takes_mask


def test_a_net_may_be_shown_the_mask_that_says_what_was_filled(tmp_path):
    state = toy_net(in_channels=9).state_dict()
    model = loaded(tmp_path, prepare="fill:1", state=state, **SHOWN_A_MASK)
    fed, y, mask = [], random_picture(8, 12), torch.zeros(1, 3, 8, 12)
    mask[..., 2:5, 3:9] = 1
    model.denoiser.net.register_forward_pre_hook(lambda net, args: fed.append(args[0]))
    model.restore(y, Settings(steps=1), mask=mask)
    assert torch.equal(fed[0][:, 6:], mask) and (fed[0][:, 3:6][mask == 1] == 1).all()
    with pytest.raises(UsageError, match="needs a mask"):
        model.restore(y, Settings())
