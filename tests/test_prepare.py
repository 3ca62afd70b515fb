"""Histograms, equalised as OpenCV does it: the formula, pixel by pixel, in single precision."""

from collections import Counter

import numpy as np
import pytest
import torch
from toy import toy_model

from restorer.errors import ModelError
from restorer.prepare import equalize
from restorer.restore import Restorer
from restorer.settings import Settings


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
    assert torch.equal(made, toy_restorer.restore(equalize(y), Settings()))
    assert not torch.equal(made, toy_restorer.restore(y, Settings()))
    assert asking.recipe(Settings())["prepare"] == "equalize" and "prepare" not in toy_restorer.recipe(Settings())


def test_other_words_are_none(tmp_path):
    with pytest.raises(ModelError, match="Unknown prepare 'equalise'; did you mean 'equalize'"):
        Restorer.from_pretrained(str(toy_model(tmp_path / "toy", prepare="equalise")), device="cpu", dtype="fp32")
