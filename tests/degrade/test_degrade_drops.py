"""Drops on the lens."""

from damaging import picture, rng

from restorer.degrade import degrade


def test_drops_leave_most_of_the_picture_alone():
    x = picture(128, 128)
    for seed in range(10):
        y = degrade(x, "drops", strength=0.5, rng=rng(seed))
        touched = float((x != y).any(1).float().mean())
        assert 0 < touched < 0.5
