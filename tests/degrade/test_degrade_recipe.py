"""Every degradation: the same seed gives the same damage, in range, of any size. And the words of recipes."""

import math
import random
import re

import pytest
import torch
from damaging import picture, rng

from restorer.cli.degrade import Recipe
from restorer.degrade import DEGRADATIONS, Damage, Step, damages, degrade, drawn, parse_recipe, tables
from restorer.errors import InputError, UsageError

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


def test_a_word_may_say_its_own_strength():
    x, one, two = picture(), rng(7), rng(7)
    y = degrade(x, "rain + noise:0.25", strength=0.5, rng=one)
    by_hand = degrade(degrade(x, "rain", strength=0.5, rng=two), "noise", strength=0.25, rng=two)
    assert torch.equal(y, by_hand)
    assert torch.equal(degrade(x, "rain+noise:0", strength=0.0, rng=rng(0)), x)
    assert not torch.equal(degrade(x, "rain+noise:0.1", strength=0.0, rng=rng(0)), x)
    assert parse_recipe("jpeg:0.765+mix") == [Step(DEGRADATIONS["jpeg"], 0.765), Step(DEGRADATIONS["mix"])]


@pytest.mark.parametrize("word", ["noise:", "noise:much", "noise:1.5", "noise:-1", "noise:nan", "noise:0.1:2"])
def test_a_strength_that_is_none_is_told(word):
    with pytest.raises(UsageError, match=r"'noise:.*' does not say how strong; write noise:0\.5, from 0 to 1\."):
        parse_recipe(f"rain+{word}")


def test_the_command_names_every_degradation():
    named = Recipe.__metadata__[0].help
    assert [word for word in DEGRADATIONS if not re.search(rf"\b{word}\b", named)] == []


# ------------------------------------------------------------------------------------------------ files

FILE = """
[[damage]]
recipe = "blur:0.4+noise:0.05"
weight = 3
[[damage]]
recipe = "haze"
strength = [0.2, 0.7]
"""


def test_words_and_files_are_kinds_of_damage(tmp_path):
    file = tmp_path / "damage.toml"
    file.write_text(FILE)
    kinds = damages(str(file))
    assert kinds == (Damage("blur:0.4+noise:0.05", weight=3.0), Damage("haze", strength=(0.2, 0.7)))
    assert damages(tables(kinds)) == kinds
    assert damages("rain+drops") == (Damage("rain+drops"),)


def test_kinds_are_drawn_by_weight_and_strengths_between_their_bounds():
    kinds = (Damage("rain", weight=3.0), Damage("haze", strength=(0.2, 0.7)))
    draw = random.Random(0)
    made = [drawn(kinds, draw) for _ in range(400)]
    hazy = [strength for kind, strength in made if kind.recipe == "haze"]
    assert len(hazy) == pytest.approx(100, abs=3 * math.sqrt(400 * 3 / 16))
    assert 0.2 <= min(hazy) < 0.25 and 0.65 < max(hazy) <= 0.7


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("damage = []", "no damage in it; write \\[\\[damage\\]\\]"),
        ("", "'damage' is missing"),
        ("[[damage]]\nrecipe = 'rian'", "Unknown degradation 'rian'; did you mean 'rain'"),
        ("[[damage]]\nrecipe = 'rain'\nwieght = 2", "Unknown key 'wieght'; did you mean 'weight'"),
        ("[[damage]]\nrecipe = 'rain'\nweight = 0", "'rain': weight is above 0, not 0.0"),
        ("[[damage]]\nrecipe = 'rain'\nstrength = [0.5, 0.2]", "'rain': strength goes up within 0 to 1"),
        ("[[damage]]\nrecipe = 'rain'\nstrength = 0.5", "strength"),
        ("rain", "not TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_name(tmp_path, text, sentence):
    file = tmp_path / "damage.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=sentence) as caught:
        damages(str(file))
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml: cannot read the recipe"):
        damages(str(tmp_path / "none.toml"))
