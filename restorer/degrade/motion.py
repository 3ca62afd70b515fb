"""The way of a shaken camera or a moving thing, and the kernel it leaves.

Shaken ways follow [Boracchi & Foi 2012, "Modeling the performance of image restoration from motion blur", sec. V]: a
walk with inertia, drawn back to where it began, with a jerk now and then. Lengths are pixels.
"""

import cmath
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from restorer.degrade.chance import Range, chance, log_uniform, uniform

POINTS = 96  # of a shaken way
FINE = 4  # points of a kernel for each of its way
STRAIGHT_CHANCE = 0.3
ARC_CHANCE = 0.3  # a part of a circle; otherwise the camera shakes
TURN: Range = (0.1, 1.8)  # of an arc, in radians

# A shaken camera: how much a step strays, how strongly it is drawn back, how often it jerks.
ANXIETY: Range = (0.002, 0.12)
PULL: Range = (0.0, 0.7)
JERKS: Range = (0.0, 1.5)  # expected along a way

UNEVEN_CHANCE = 0.3  # speed varies along the way, by
UNEVEN: Range = (0.2, 0.9)  # as the standard deviation of its logarithm at the coarse points
SOFT_CHANCE = 0.4  # the lens is soft too, by a Gaussian of
SOFT: Range = (0.4, 1.2)


def way(rng: torch.Generator) -> Tensor:
    """Where the light of one point falls during an exposure: (n, 2) of (x, y), its larger side 1, in equal times.

    0 is where the sharp picture is: the middle of the exposure for lines and arcs, as in videos whose frames are
    averaged; the mean of a shaken way, as blind deblurring cannot know better.
    """
    kind = uniform(rng, (0, 1))
    if kind < STRAIGHT_CHANCE:
        points = _arc(0.0, rng)
    elif kind < STRAIGHT_CHANCE + ARC_CHANCE:
        points = _arc(uniform(rng, TURN), rng)
    else:
        points = _shaken(rng)
    if chance(rng, UNEVEN_CHANCE):
        points = _uneven(points, uniform(rng, UNEVEN), rng)
    return points / max(float((points.amax(0) - points.amin(0)).max()), 1e-6)


def kernel(points: Tensor, length: float, rng: torch.Generator) -> Tensor:
    """The kernel (odd, odd) of a way stretched to ``length``: what each pixel holds is the time spent there."""
    points = points * length
    lens = log_uniform(rng, SOFT) if chance(rng, SOFT_CHANCE) else 0.0
    reach = math.ceil(float(points.abs().max())) + 1 + math.ceil(2 * lens)
    made = _splat(points + reach, 2 * reach + 1)
    if lens:
        taps = torch.exp(-0.5 * (torch.arange(-math.ceil(2 * lens), math.ceil(2 * lens) + 1.0) / lens).square())
        made = F.conv2d(made[None, None], torch.outer(taps, taps)[None, None], padding=len(taps) // 2)[0, 0]
    return made / made.sum()


def _arc(turn: float, rng: torch.Generator) -> Tensor:
    """A part of a circle that turns by so much, any way round; turn 0 is a straight line."""
    t = torch.linspace(-0.5, 0.5, POINTS * FINE)
    heading = uniform(rng, (0, 2 * math.pi)) + turn * t
    points = torch.stack([heading.cos(), heading.sin()], 1).cumsum(0)
    return points - points[len(points) // 2]


def _shaken(rng: torch.Generator) -> Tensor:
    anxiety, pull = log_uniform(rng, ANXIETY), uniform(rng, PULL)
    jerk_chance = uniform(rng, JERKS) / POINTS
    strays = torch.randn(POINTS, 2, generator=rng).tolist()
    jerks = (torch.rand(POINTS, generator=rng) < jerk_chance).tolist()
    velocity = cmath.rect(1.0, uniform(rng, (0, 2 * math.pi)))
    position, points = 0j, []
    for (across, down), jerk in zip(strays, jerks, strict=True):
        points.append((position.real, position.imag))
        change = anxiety * complex(across, down) * 2 - pull * position / POINTS**2
        if jerk:
            change += 2 * velocity * (cmath.rect(1.0, math.pi + 0.5 * across) - 0.5)
        velocity += change
        velocity /= max(abs(velocity), 1e-6)
        position += velocity
    fine = F.interpolate(torch.tensor(points).T[None], scale_factor=FINE, mode="linear", align_corners=True)[0].T
    return fine - fine.mean(0)


def _uneven(points: Tensor, spread: float, rng: torch.Generator) -> Tensor:
    """The same way at a speed that varies: where it is fast, fewer of the points are."""
    pauses = torch.exp(spread * torch.randn(1, 1, 6, generator=rng))
    pauses = F.interpolate(pauses, len(points), mode="linear", align_corners=True)[0, 0]
    times = pauses.cumsum(0) / pauses.sum() * (len(points) - 1)
    there = torch.searchsorted(times, torch.arange(len(points), dtype=torch.float32)).clamp_(max=len(points) - 1)
    return points[there]


def _splat(points: Tensor, side: int) -> Tensor:
    """Each point's share of 1 to the four pixels about it, (side, side)."""
    corner = points.floor()
    right, low = (points - corner).unbind(1)
    column, row = corner.long().unbind(1)
    made = torch.zeros(side * side)
    for dy, down in ((0, 1 - low), (1, low)):
        for dx, across in ((0, 1 - right), (1, right)):
            made.index_add_(0, (row + dy) * side + column + dx, down * across)
    return (made / len(points)).view(side, side)
