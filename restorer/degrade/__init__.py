"""Damaged copies of clean pictures: what ``restorer degrade`` writes and what nets are trained on.

A degradation is a function ``(x, strength, rng) -> y``; a recipe chains them: ``"rain+drops"`` is rain seen through
drops on the lens, ``"blur+noise:0.1"`` has noise of strength 0.1 whatever that of the blur. Adding one is a function in
the module of its family and a line in ``DEGRADATIONS`` (``recipe.py``); one that can tell where it damages a picture,
for nets that are shown a mask, has a line in ``MARKING`` too. Pictures are float32, (1, 3, H, W), RGB in
[0, 1], on the CPU; strength runs from 0 (nothing) over 0.5 (usual) to 1 (heavy).

Levels that people report:

    noise:0.25      Gaussian noise of sigma 25 (0.15 and 0.5: 15 and 50)
    jpeg:0.765      JPEG of quality 10 (0.529, 0.391, 0.294: 20, 30, 40)
    mask:0.5        every other pixel lost, at random
    lowres2         half as many pixels a side, bicubic; lowres4 a quarter

``noise``, ``lowres``, ``lowres2`` and ``lowres4`` may go beyond 0 and 1, all others stay within.
"""

from restorer.degrade.recipe import (
    DEGRADATIONS,
    MARKING,
    Damage,
    Degradation,
    Marking,
    Step,
    can_mark,
    damages,
    degrade,
    degrade_with_mask,
    drawn,
    is_file,
    parse_recipe,
    tables,
)

__all__ = [
    "DEGRADATIONS",
    "MARKING",
    "Damage",
    "Degradation",
    "Marking",
    "Step",
    "can_mark",
    "damages",
    "degrade",
    "degrade_with_mask",
    "drawn",
    "is_file",
    "parse_recipe",
    "tables",
]
