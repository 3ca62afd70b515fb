"""Shadows only darken, leave the rest, and are of every softness."""

import torch
from damaging import mean_psnr, picture, rng

from restorer.degrade import degrade
from restorer.degrade.shadow import _hidden


def test_it_only_darkens():
    x = picture(96, 128)
    for seed in range(20):
        y = degrade(x, "shadow", strength=1.0, rng=rng(seed))
        assert (y <= x).all()


def test_outside_nothing_changes_to_the_bit():
    x = picture(96, 128)
    untouched = [float((degrade(x, "shadow", strength=0.7, rng=rng(s)) == x).all(1).float().mean()) for s in range(40)]
    assert 0.2 < sum(untouched) / len(untouched) < 0.9


def test_shadows_differ_in_size_and_softness():
    masks = torch.cat([_hidden(128, 128, rng(seed)) for seed in range(40)])
    assert float(masks.min()) >= 0 and float(masks.max()) <= 1
    covered = masks.mean((1, 2, 3))
    assert 0.15 < float(covered.mean()) < 0.6 and float(covered.std()) > 0.1
    edges = ((masks > 0.01) & (masks < 0.99)).float().mean((1, 2, 3))
    assert float(edges.min()) < 0.05 and float(edges.max()) > 0.15


def test_more_strength_darker():
    scores = [mean_psnr(picture(), "shadow", strength, seeds=16) for strength in (0.1, 0.4, 0.7, 1.0)]
    assert scores == sorted(scores, reverse=True)


def test_shadows_are_rather_blue_than_red():
    white, blue = torch.full((1, 3, 64, 64), 0.9), 0
    for seed in range(30):
        y = degrade(white, "shadow", strength=0.7, rng=rng(seed))
        blue += float((y[:, 2] - y[:, 0]).mean())
    assert blue > 0
