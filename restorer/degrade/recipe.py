"""What is done to a picture, in words; and the table of all words."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from restorer.degrade.blur import blur, defocus, motion
from restorer.degrade.drops import drops
from restorer.degrade.haze import haze
from restorer.degrade.holes import (
    holes,
    holes_with_mask,
    mask,
    mask_with_mask,
    scratches,
    scratches_with_mask,
)
from restorer.degrade.jpeg import jpeg
from restorer.degrade.light import lowlight
from restorer.degrade.lowres import lowres, lowres2, lowres4
from restorer.degrade.mix import mix
from restorer.degrade.noise import noise
from restorer.degrade.rain import rain
from restorer.degrade.shadow import shadow
from restorer.entry import parse
from restorer.errors import InputError, UsageError, unknown

Degradation = Callable[[Tensor, float, torch.Generator], Tensor]
Marking = Callable[[Tensor, float, torch.Generator], tuple[Tensor, Tensor]]


class Step(NamedTuple):
    """One word of a recipe: what it does, and the strength that it names, or None for that of the whole.

    ``marking``: the same for words that can tell where, see ``MARKING``.
    """

    apply: Degradation
    strength: float | None = None
    marking: Marking | None = None


@dataclass(frozen=True)
class Damage:
    """One kind of damage of several: how often it is drawn, and between which strengths.

    ``label``: which it is, for a net that is told. ``reduce``: nets learn it from crops of so many times their patch,
    damaged and then reduced: for models that restore it at a smaller size (``prepare = "shrink:N"``).
    """

    recipe: str
    weight: float = 1.0
    strength: tuple[float, float] = (0.0, 1.0)
    label: int | None = None
    reduce: int = 1

    def __post_init__(self) -> None:
        parse_recipe(self.recipe)
        low, high = self.strength
        if not 0 <= low <= high <= 1:
            raise UsageError(f"damage {self.recipe!r}: strength goes up within 0 to 1, not from {low} to {high}.")
        if self.reduce < 1:
            raise UsageError(f"damage {self.recipe!r}: reduce is how many times, from 1 up, not {self.reduce}.")
        if not self.weight > 0:
            raise UsageError(f"damage {self.recipe!r}: weight is above 0, not {self.weight}; leave it out otherwise.")


@dataclass(frozen=True)
class Damages:
    """A recipe's file: ``[[damage]]`` tables, of which one is drawn for each picture."""

    damage: tuple[Damage, ...]

    def __post_init__(self) -> None:
        if not self.damage:
            raise UsageError("no damage in it; write [[damage]] and, below it, recipe = ...")


def degrade(x: Tensor, recipe: str, *, strength: float, rng: torch.Generator) -> Tensor:
    """A damaged copy of ``x``, the same for the same ``rng`` state; ``x`` itself at strength 0.

    Raises ``UsageError`` for a word that is no degradation, or a strength outside [0, 1].
    """
    return degrade_with_mask(x, recipe, strength=strength, rng=rng)[0]


def degrade_with_mask(x: Tensor, recipe: str, *, strength: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """As ``degrade``, and where: (1, 1, H, W), 1 where a word that ``can_mark`` has damaged ``x``, else 0."""
    steps = parse_recipe(recipe)
    if not 0 <= strength <= 1:
        raise UsageError(f"Strength {strength} is outside 0 to 1; 0 changes nothing, 1 is the heaviest.")
    where = torch.zeros(1, 1, *x.shape[-2:])
    for step in steps:
        own = strength if step.strength is None else step.strength
        if own > 0 and step.marking is not None:
            x, marked = step.marking(x, own, rng)
            where = torch.maximum(where, marked)
        elif own > 0:
            x = step.apply(x, own, rng)
    return x, where


def can_mark(recipe: str) -> bool:
    """Whether a recipe has a word that can tell where it damages a picture. Raises as ``parse_recipe``."""
    return any(step.marking is not None for step in parse_recipe(recipe))


def parse_recipe(recipe: str) -> list[Step]:
    """``"rain+noise:0.1"`` as steps, in order. Raises ``UsageError`` for a word in no table, or no strength."""
    return [_step(word.strip()) for word in recipe.split("+")]


def damages(recipe: str | Sequence[Mapping[str, Any]]) -> tuple[Damage, ...]:
    """The kinds of damage of a recipe: one for words, those of its tables for the name of a TOML file, or for them.

    Raises ``InputError`` for a file that is not there, and ``UsageError`` naming what is wrong in it.
    """
    if not isinstance(recipe, str):
        return parse(Damages, {"damage": recipe}, "recipe").damage
    if not is_file(recipe):
        return (Damage(recipe),)
    try:
        data = tomllib.loads(Path(recipe).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{recipe}: cannot read the recipe: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"{recipe}: not TOML: {error}.") from error
    try:
        return parse(Damages, data, recipe).damage
    except UsageError as error:
        raise UsageError(str(error) if str(error).startswith(recipe) else f"{recipe}: {error}") from error


def drawn(kinds: Sequence[Damage], draw: random.Random) -> tuple[Damage, float]:
    """One of the kinds by its weight, and a strength between its bounds."""
    kind = draw.choices(kinds, [kind.weight for kind in kinds])[0]
    return kind, min(draw.uniform(*kind.strength), kind.strength[1])  # which rounding may pass


def tables(kinds: Sequence[Damage]) -> list[dict[str, Any]]:
    """The kinds as plain data, which ``damages`` reads again."""
    return [{"recipe": kind.recipe, "weight": kind.weight, "strength": list(kind.strength)} for kind in kinds]


def is_file(recipe: str) -> bool:
    """Whether a recipe is the name of a file, not words."""
    return recipe.lower().endswith(".toml")


def _step(text: str) -> Step:
    word, colon, number = (part.strip() for part in text.partition(":"))
    if word not in DEGRADATIONS:
        raise unknown("degradation", word, list(DEGRADATIONS))
    return Step(DEGRADATIONS[word], _strength(text, number) if colon else None, MARKING.get(word))


def _strength(text: str, number: str) -> float:
    try:
        strength = float(number)
    except ValueError:
        strength = -1.0
    if not 0 <= strength <= 1:
        raise UsageError(f"{text!r} does not say how strong; write {text.split(':')[0].strip()}:0.5, from 0 to 1.")
    return strength


DEGRADATIONS: dict[str, Degradation] = {
    "rain": rain,
    "drops": drops,
    "haze": haze,
    "blur": blur,
    "motion": motion,
    "defocus": defocus,
    "noise": noise,
    "jpeg": jpeg,
    "lowres": lowres,
    "lowres2": lowres2,
    "lowres4": lowres4,
    "lowlight": lowlight,
    "shadow": shadow,
    "holes": holes,
    "mask": mask,
    "scratches": scratches,
    "mix": mix,
}
"""Every word of a recipe."""

MARKING: dict[str, Marking] = {
    "holes": holes_with_mask,
    "mask": mask_with_mask,
    "scratches": scratches_with_mask,
}
"""Words that can tell where: (x, strength, rng) -> (y, mask), y being that of the word's degradation to the bit."""
