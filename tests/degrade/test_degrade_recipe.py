"""Every degradation: the same seed gives the same damage, in range, of any size. And the words of recipes."""

import math

import pytest
import torch
from damaging import picture, rng

from restorer.degrade import DEGRADATIONS, Step, degrade, parse_recipe
from restorer.errors import UsageError

BEYOND = ("noise", "lowres", "lowres2", "lowres4")
"""Words whose pictures may go beyond 0 and 1."""
BY_THE_PICTURE_ALONE = ("lowres2", "lowres4")
"""Words that draw nothing."""


@pytest.mark.parametrize("recipe", [*DEGRADATIONS, "rain+drops"])
class TestEveryDegradation:
    def test_same_seed_same_bytes(self, recipe):
        x = picture()
        first = degrade(x, recipe, strength=0.6, rng=rng(3))
        assert torch.equal(first, degrade(x, recipe, strength=0.6, rng=rng(3)))
        others = [degrade(x, recipe, strength=0.6, rng=rng(seed)) for seed in range(4, 8)]
        assert all(torch.equal(first, y) for y in others) == (recipe in BY_THE_PICTURE_ALONE)

    def test_the_global_generator_is_left_alone(self, recipe):
        before = torch.get_rng_state()
        degrade(picture(), recipe, strength=0.6, rng=rng(3))
        assert torch.equal(before, torch.get_rng_state())

    def test_strength_0_changes_nothing(self, recipe):
        x = picture()
        assert torch.equal(degrade(x, recipe, strength=0.0, rng=rng(0)), x)

    def test_the_input_is_not_written_to(self, recipe):
        x = picture()
        degrade(x, recipe, strength=1.0, rng=rng(0))
        assert torch.equal(x, picture())

    @pytest.mark.parametrize("size", [(17, 33), (128, 75), (1, 1)])
    @pytest.mark.parametrize("strength", [0.05, 1.0])
    def test_shape_type_and_range_are_kept(self, recipe, size, strength):
        for seed in range(5):
            y = degrade(picture(*size), recipe, strength=strength, rng=rng(seed))
            assert y.shape == (1, 3, *size)
            assert y.dtype == torch.float32
            if recipe not in BEYOND:
                assert 0 <= float(y.min()) <= float(y.max()) <= 1


def test_a_chain_is_its_steps_in_order():
    x, one, two = picture(), rng(7), rng(7)
    chained = degrade(x, "rain+drops", strength=0.5, rng=one)
    by_hand = degrade(degrade(x, "rain", strength=0.5, rng=two), "drops", strength=0.5, rng=two)
    assert torch.equal(chained, by_hand)
    assert parse_recipe(" drops + rain ") == [Step(DEGRADATIONS["drops"]), Step(DEGRADATIONS["rain"])]


def test_an_unknown_word_is_named_with_the_nearest():
    with pytest.raises(UsageError, match=r"Unknown degradation 'rian'; did you mean 'rain'\?"):
        degrade(picture(), "drops+rian", strength=0.5, rng=rng(0))
    with pytest.raises(UsageError, match="known: blur, defocus, drops"):
        parse_recipe("")


@pytest.mark.parametrize("strength", [-0.1, 1.5, math.nan])
def test_strength_outside_its_range_is_refused(strength):
    with pytest.raises(UsageError, match="outside 0 to 1"):
        degrade(picture(), "rain", strength=strength, rng=rng(0))
