"""Several kinds at once."""

import torch
from damaging import mean_psnr, picture, rng

from restorer.degrade import degrade
from restorer.degrade import mix as module


def test_one_to_three_kinds_in_the_order_in_which_they_happen(monkeypatch):
    seen = []

    def kind(name):
        return lambda x, strength, rng: (seen.append((name, strength)), x)[1]

    monkeypatch.setattr(module, "CHAIN", tuple(kind(i) for i in range(4)))
    counts = set()
    for seed in range(60):
        seen.clear()
        degrade(picture(8, 8), "mix", strength=0.8, rng=rng(seed))
        order = [name for name, _ in seen]
        assert order == sorted(set(order))
        assert all(0.3 * 0.8 <= strength <= 0.8 for _, strength in seen)
        counts.add(len(order))
    assert counts == {1, 2, 3}


def test_more_strength_more_damage():
    x = torch.rand(1, 3, 64, 64, generator=rng(0))
    scores = [mean_psnr(x, "mix", strength, seeds=24) for strength in (0.05, 0.3, 0.6, 1.0)]
    assert scores == sorted(scores, reverse=True)
