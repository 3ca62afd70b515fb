"""Several kinds of damage at once, as pictures that went through many hands have them."""

import torch
from torch import Tensor

from restorer.degrade.blur import blur
from restorer.degrade.chance import Range, uniform
from restorer.degrade.jpeg import jpeg
from restorer.degrade.lowres import lowres
from restorer.degrade.noise import noise

MOST = 3  # kinds
SHARE: Range = (0.3, 1.0)  # of the strength that each kind has
NOISE = 0.5  # of it for noise, whose strength 1 is far beyond what cameras do
# In the order in which they happen: the lens, the sensor's pixels and its noise, the file.
CHAIN = (blur, lowres, noise, jpeg)
WEIGHTS = (1.0, 0.7, 1.0, 1.0)


def mix(x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """One to three of blur, low resolution, noise and JPEG, in the order in which they happen."""
    count = 1 + int(torch.randint(MOST, (), generator=rng))
    kinds = torch.multinomial(torch.tensor(WEIGHTS), count, generator=rng).sort().values.tolist()
    for kind in kinds:
        damage, share = CHAIN[kind], strength * uniform(rng, SHARE)
        x = damage(x, share * NOISE if damage is noise else share, rng).clamp(0, 1)
    return x
