"""Holes: as many as asked for, of one colour, and the rest as it was."""

import math

import pytest
import torch
from damaging import picture, rng

from restorer.degrade import DEGRADATIONS, MARKING, can_mark, degrade, degrade_with_mask
from restorer.degrade import holes as module


def bright(height=64, width=64):
    """A picture without black, so that holes are seen."""
    return 0.25 + 0.5 * picture(height, width)


@pytest.mark.parametrize(("strength", "share"), [(0.1, 0.1), (0.5, 0.5), (0.95, 0.95), (1.0, 0.95)])
def test_the_share_of_lost_pixels_is_the_strength(strength, share):
    x = bright(200, 200)
    y = degrade(x, "mask", strength=strength, rng=rng(3))
    lost = (y == 0).all(1)
    assert abs(float(lost.float().mean()) - share) < 3 * math.sqrt(share * (1 - share) / lost.numel())
    assert torch.equal(y, x * ~lost)  # in all channels or in none


def test_scratches_are_of_one_colour_and_leave_the_rest():
    x, shares = bright(96, 128), []
    for seed in range(40):
        y = degrade(x, "scratches", strength=0.6, rng=rng(seed))
        marked = (y != x).any(1)[0]
        assert len(torch.unique(y[0, :, marked], dim=1).T) == 1
        shares.append(float(marked.float().mean()))
    assert min(shares) > 0 and max(shares) < 0.5


@pytest.mark.parametrize("draw", module.SCRATCHES)
@pytest.mark.parametrize("size", [(128, 128), (200, 320)])
def test_each_kind_covers_about_what_it_is_asked_for_at_any_size(draw, size):
    """Less where strokes overlap or leave the picture, more where curves are long."""
    area = 0.1 * size[0] * size[1]
    covered = [float(draw(*size, area, rng(seed)).sum()) / area for seed in range(30)]
    assert 0.4 < sum(covered) / len(covered) < 2


def test_curves_go_through_their_ends_and_have_no_gaps():
    ends = torch.tensor([[[2.0, 3.0], [30.0, 0.0], [20.0, 25.0]]])
    drawn = module._drawn(40, 40, ends, 1)
    assert drawn[3, 2] and drawn[25, 20]
    assert drawn[3:26].any(1).all()
    assert int(module._drawn(40, 40, ends, 3).sum()) > 2 * int(drawn.sum())


def test_holes_are_one_of_the_two():
    x = bright()
    for seed in range(8):
        y = degrade(x, "holes", strength=0.5, rng=rng(seed))
        one, two = rng(seed), rng(seed)
        torch.rand((), generator=one), torch.rand((), generator=two)
        assert torch.equal(y, module.mask(x, 0.5, one)) != torch.equal(y, module.scratches(x, 0.5, two))


@pytest.mark.parametrize("word", list(MARKING))
def test_a_word_that_can_mark_tells_where_it_damaged(word):
    x = bright()
    for seed in range(6):
        y, where = degrade_with_mask(x, word, strength=0.6, rng=rng(seed))
        assert torch.equal(y, degrade(x, word, strength=0.6, rng=rng(seed)))
        assert torch.equal(y, DEGRADATIONS[word](x, 0.6, rng(seed)))
        assert where.shape == (1, 1, 64, 64) and where.dtype == torch.float32
        assert torch.equal(where, (y != x).any(1, keepdim=True).float()) and 0 < float(where.mean()) < 1


def test_a_chain_marks_what_any_of_its_words_does():
    x = bright()
    y, where = degrade_with_mask(x, "mask:0.2+noise:0.1+scratches:0.3", strength=0.5, rng=rng(1))
    first, lost = degrade_with_mask(x, "mask:0.2", strength=0.5, rng=(again := rng(1)))
    second = degrade(first, "noise:0.1", strength=0.5, rng=again)
    third, drawn = degrade_with_mask(second, "scratches:0.3", strength=0.5, rng=again)
    assert torch.equal(y, third) and torch.equal(where, torch.maximum(lost, drawn))
    assert can_mark("noise+holes") and not can_mark("rain+jpeg:0.2")
    assert not degrade_with_mask(x, "rain", strength=0.5, rng=rng(1))[1].any()
    assert not degrade_with_mask(x, "holes", strength=0.0, rng=rng(1))[1].any()
