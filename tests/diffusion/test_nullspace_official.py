"""Zero-shot samplers against the numbers and loops of the papers and of the official code, with its own indices.

The loops are written anew from the formulas, in alpha_bar and with the clean picture at index -1.
"""

from itertools import pairwise

import pytest
import torch
from toy_operators import HEIGHT, KEEP, OPERATORS, WIDTH, WITHOUT_PLACE, Diagonal, Pool, basis

from restorer.diffusion.correction import gains
from restorer.diffusion.nullspace import NULLSPACE, travel_grid
from restorer.diffusion.predict import Prediction
from restorer.diffusion.samplers import leading_grid
from restorer.diffusion.schedule import vp_schedule

VP = vp_schedule(1000)
ALPHA_BAR = (1 - VP.shift) ** 2  # at our times; the official index is one lower
SHAPE = (2, 3, HEIGHT, WIDTH)
TRAVELLING = travel_grid(leading_grid(1000, 20), 4, 3)


def noise(seed, shape=SHAPE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def a_bar(index):
    return float(ALPHA_BAR[index + 1])


def said_eps(x, index):
    return 0.8 * x + 0.1 * x.flip(-1) + 0.001 * index


def predict(x, t):
    eps = said_eps(x, t - 1)
    x0 = (x - float(VP.sigma[t]) * eps) / (1 - float(VP.shift[t]))
    return Prediction(x0, -x0, eps)


def draws():
    rng = torch.Generator().manual_seed(9)
    return lambda x: torch.randn(x.shape, generator=rng, dtype=x.dtype)


def guess(x, i):
    eps = said_eps(x, i)
    return (x - (1 - a_bar(i)) ** 0.5 * eps) / a_bar(i) ** 0.5, eps


def ours(name, op, y, x, times, **options):
    *_, state = NULLSPACE[name](predict, VP, op, y, x, times, randn_like=draws(), **options)
    return state.x


def close(a, b):
    return torch.allclose(a, b, rtol=0, atol=1e-10 * max(1.0, float(b.abs().max())))


# times


def test_the_schedule_has_the_official_numbers():
    golden = {0: 0.9999, 1: 0.99978009, 10: 0.99780657, 100: 0.89514159, 500: 0.07779666, 900: 2.7024e-4}
    golden |= {990: 4.8370e-5, 999: 4.0358e-5}
    for index, value in golden.items():
        assert a_bar(index) == pytest.approx(value, rel=2e-5)


def test_the_official_times_are_the_leading_grid():
    assert [t - 1 for t in leading_grid(1000, 100)] == [*range(990, -1, -10), -1]
    assert max(leading_grid(1000, 300)) - 1 == 897


def test_time_travel_by_hand():
    golden = [9, 8, 7, 6, 7, 8, 7, 6, 5, 4, 5, 6, 5, 4, 3, 2, 3, 4, 3, 2, 1, 0, 1, 2, 1, 0, -1]
    assert [t - 1 for t in travel_grid(range(10, -1, -1), 2, 2)] == golden


@pytest.mark.parametrize(
    ("steps", "length", "repeat", "moves", "calls", "climbs"),
    [
        (100, 1, 1, 100, 100, 0),
        (100, 2, 2, 296, 198, 98),
        (100, 1, 3, 496, 298, 198),
        (100, 10, 2, 280, 190, 90),
        (100, 10, 3, 460, 280, 180),
        (250, 10, 3, 1210, 730, 480),
        (250, 10, 10, 4570, 2410, 2160),
    ],
)
def test_time_travel_takes_as_many_calls_as_the_official_one(steps, length, repeat, moves, calls, climbs):
    grid = travel_grid(range(steps, -1, -1), length, repeat)
    assert len(grid) - 1 == moves
    assert sum(s < t for t, s in pairwise(grid)) == calls
    assert sum(s > t for t, s in pairwise(grid)) == climbs
    assert all(abs(s - t) == 1 for t, s in pairwise(grid))
    assert grid[-1] == 0


def test_time_travel_on_any_grid():
    assert travel_grid([100, 40, 7, 0], 1, 1) == [100, 40, 7, 0]
    assert travel_grid([100, 40, 7, 0], 1, 2) == [100, 40, 100, 40, 7, 40, 7, 0]
    assert travel_grid([100, 40, 7, 0], 3, 5) == [100, 40, 7, 0]  # nothing is that long
    assert travel_grid([100, 0], 1, 5) == [100, 0]
    for length, repeat in [(0, 1), (1, 0)]:
        with pytest.raises(ValueError, match="1 or more"):
            travel_grid([100, 40, 0], length, repeat)


def test_travel_draws_from_the_forward_process():
    """x_s = sqrt(a_s / a_t) x_t + sqrt(1 - a_s / a_t) z about the corrected state, not the official guess of x0."""
    op, times = OPERATORS["mask"], [500, 400, 600, 0]
    y, x = op.A(noise(0)), noise(1)
    seen = []

    def watch(x, t):
        seen.append(x)
        return predict(x, t)

    rng = draws()
    first, _ = NULLSPACE["ddnm"](watch, VP, op, y, x, times, randn_like=draws())
    rng(x)
    kept = float(ALPHA_BAR[600] / ALPHA_BAR[400])
    assert close(seen[1], kept**0.5 * first.x + (1 - kept) ** 0.5 * rng(x))


# loops of the official code


def official_svd(op, y, x, times, sigma_y, eta):
    randn, x0 = draws(), None
    for i, j in pairwise(t - 1 for t in times):
        a = a_bar(j)
        if j > i:
            x = a**0.5 * x0 + (1 - a) ** 0.5 * randn(x)
            continue
        x0, eps = guess(x, i)
        off, sigma, z = op.pinv(op.A(x0) - y), (1 - a) ** 0.5, randn(x)
        trust, d1, d2 = (torch.ones_like(x) * k for k in (1, eta * sigma, (1 - eta**2) ** 0.5 * sigma))
        sv = op.sv.expand_as(x)
        if sigma_y > 0:
            limit = torch.where(sv > 0, a**0.5 * sigma_y / sv, 0)
            d2[sv > 0] = 0
            loud = (sv > 0) & (sigma < limit)
            trust[loud] = (sv * sigma * (1 - eta**2) ** 0.5 / (a**0.5 * sigma_y))[loud]
            free = (sv > 0) & (sigma > limit)
            d1[free] = (sigma**2 - limit**2)[free].sqrt()
            x = a**0.5 * (x0 - op.V(trust * op.Vt(off))) + op.V(d1 * z) + op.V(d2 * eps)
        else:
            x = a**0.5 * (x0 - off) + d1 * z + d2 * eps
    return x


def official_simplified(op, y, x, times, sigma_y, eta):
    randn, x0 = draws(), None
    for i, j in pairwise(t - 1 for t in times):
        a = a_bar(j)
        if j > i:
            x = a**0.5 * x0 + (1 - a) ** 0.5 * randn(x)
            continue
        x0, eps = guess(x, i)
        z, sigma = randn(x), (1 - a**2) ** 0.5
        if sigma >= a * sigma_y:
            trust, gamma = 1.0, (sigma**2 - (a * sigma_y) ** 2) ** 0.5
        else:
            trust, gamma = sigma / (a * sigma_y), 0.0
        c1, c2 = (1 - a) ** 0.5 * eta, (1 - a) ** 0.5 * (1 - eta**2) ** 0.5
        x = a**0.5 * (x0 - trust * op.pinv(op.A(x0) - y)) + gamma * (c1 * z + c2 * eps)
    return x


@pytest.mark.parametrize("eta", [0.0, 0.85, 1.0])
@pytest.mark.parametrize("sigma_y", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("op", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize(
    ("name", "loop"), [("ddnm-official", official_svd), ("ddnm-official-simplified", official_simplified)]
)
def test_the_official_paths(name, loop, op, sigma_y, eta):
    y, x = op.A(noise(0)), noise(1)
    assert close(ours(name, op, y, x, TRAVELLING, sigma_y=sigma_y, eta=eta), loop(op, y, x, TRAVELLING, sigma_y, eta))


@pytest.mark.parametrize("sigma_y", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("eta_y", [1.0, 0.7])
@pytest.mark.parametrize("op", OPERATORS.values(), ids=OPERATORS)
def test_ddrm_is_the_papers_loop_in_its_own_units(op, sigma_y, eta_y):
    """Variance-exploding, x / sqrt(alpha_bar); ours in the end meets y where that has no noise."""
    eta, times, y, x = 0.85, leading_grid(1000, 20), op.A(noise(0)), noise(1)
    sv, told = op.sv.expand(SHAPE), op.Vt(op.pinv(y))

    def big(j):
        return ((1 - a_bar(j)) / a_bar(j)) ** 0.5

    top = times[0] - 1
    variance, know = big(top) ** 2, (sv > 0) & (sv * big(top) > sigma_y)
    std = torch.where(know, (variance - torch.where(know, sigma_y / sv, 0) ** 2).clamp(min=0).sqrt(), variance**0.5)
    # x is the prior's start, not unit noise: of the size that x_t has.
    unit = op.Vt(x) / (1 - a_bar(top)) ** 0.5
    v = op.V(torch.where(know, told, 0) + std * unit) * a_bar(top) ** 0.5
    randn = draws()
    for i, j in pairwise(t - 1 for t in times):
        x0, eps = (op.Vt(part) for part in guess(v, i))
        if j == -1:
            v = op.V(x0)
            break
        sigma, z = big(j), op.Vt(randn(x))
        new = x0 + (1 - eta**2) ** 0.5 * sigma * eps + eta * sigma * z
        before, after = (sv > 0) & (sv * sigma > sigma_y), (sv > 0) & (sv * sigma < sigma_y)
        if sigma_y > 0:
            shrunk = x0 + (1 - eta**2) ** 0.5 * sigma * sv * (told - x0) / sigma_y + eta * sigma * z
            new = torch.where(after, shrunk, new)
        left = (sigma**2 - torch.where(sv > 0, eta_y * sigma_y / sv, 0) ** 2).clamp(min=0).sqrt()
        new = torch.where(before, (1 - eta_y) * x0 + eta_y * told + left * z, new)
        v = a_bar(j) ** 0.5 * op.V(new)
    if sigma_y == 0:
        v = v - op.pinv(op.A(v) - y)
    assert close(ours("ddrm", op, y, x, times, sigma_y=sigma_y, eta=eta, eta_y=eta_y), v)


def test_repaint_is_the_papers_loop():
    keep, times, clean, x = KEEP, travel_grid(leading_grid(1000, 20), 5, 2), noise(0), noise(1)
    mine = ours("repaint", OPERATORS["mask"], keep * clean, x, times)
    randn = draws()
    for number, (i, j) in enumerate(pairwise(t - 1 for t in times)):
        if j > i:
            beta = 1 - a_bar(j) / a_bar(i)
            x = (1 - beta) ** 0.5 * x + beta**0.5 * randn(x)
            continue
        if number:
            known = a_bar(i) ** 0.5 * clean + (1 - a_bar(i)) ** 0.5 * randn(x)
            x = keep * known + (1 - keep) * x
        x0 = guess(x, i)[0]
        a, beta = a_bar(j), 1 - a_bar(i) / a_bar(j)
        mean = beta * a**0.5 / (1 - a_bar(i)) * x0 + (1 - a) * (1 - beta) ** 0.5 / (1 - a_bar(i)) * x
        x = mean + (beta * (1 - a) / (1 - a_bar(i))) ** 0.5 * randn(x) if j >= 0 else x0
    assert close(mine, keep * clean + (1 - keep) * x)


def test_the_posterior_form_is_the_papers():
    """a_t = sqrt(alpha_bar_s) beta / (1 - alpha_bar_t); (a_t lambda sigma_y)^2 + gamma = sigma_t^2."""
    op, times, sigma_y, x = OPERATORS["identity"], leading_grid(1000, 20), 0.3, noise(1)
    y = noise(0)
    mine = ours("ddnm-posterior", op, y, x, times, sigma_y=sigma_y)
    randn = draws()
    for i, j in pairwise(t - 1 for t in times):
        x0 = guess(x, i)[0]
        if j == -1:
            x = x0
            break
        a, beta = a_bar(j), 1 - a_bar(i) / a_bar(j)
        a_t, variance = beta * a**0.5 / (1 - a_bar(i)), beta * (1 - a) / (1 - a_bar(i))
        trust = min(1.0, variance**0.5 / (a_t * sigma_y))
        x0 = x0 - trust * (x0 - y)
        gamma = variance - (a_t * trust * sigma_y) ** 2
        x = a_t * x0 + (1 - a) * (1 - beta) ** 0.5 / (1 - a_bar(i)) * x + max(gamma, 0) ** 0.5 * randn(x)
    assert close(mine, x)


# numbers of the official code


@pytest.mark.parametrize(
    ("index", "right", "official", "ratio"),
    [
        (10, 0.0468, 0.0031, 0.066),
        (50, 0.1733, 0.0422, 0.243),
        (100, 0.3238, 0.1444, 0.446),
        (200, 0.5862, 0.4423, 0.754),
        (300, 0.7785, 0.7155, 0.919),
        (500, 0.9603, 0.9574, 0.997),
        (700, 0.9966, 0.9965, 1.000),
    ],
)
def test_the_simplified_official_path_has_too_little_noise(index, right, official, ratio):
    one, nothing = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    black = Prediction(nothing, nothing, nothing)
    std = {}
    for name in ("ddnm", "ddnm-official-simplified"):
        (state,) = NULLSPACE[name](
            lambda x, t: black, VP, Diagonal(one), nothing, one, [1000, index + 1], eta=1.0, randn_like=torch.ones_like
        )
        std[name] = float(state.x)
    assert std["ddnm"] == pytest.approx(right, abs=6e-5)
    assert std["ddnm-official-simplified"] == pytest.approx(official, abs=6e-5)
    assert std["ddnm-official-simplified"] / std["ddnm"] == pytest.approx(ratio, abs=6e-4)


@pytest.mark.parametrize(
    ("op", "cosine", "about"),
    [
        (OPERATORS["mask"], 1.000, 1e-12),
        (OPERATORS["gray"], 0.783, 0.01),
        (Pool(4, HEIGHT, WIDTH), 0.956, 0.01),
    ],
    ids=["mask", "gray", "pool"],
)
def test_how_far_the_official_old_noise_is_from_its_place(op, cosine, about):
    """Between V d eps and V d V^T eps where y tells nothing; the numbers are of one basis that LAPACK makes."""
    eps = noise(5, (400, *SHAPE[1:]))
    silent = gains(op.sv, VP, 101, 0.1, 0.85).old
    official, right = op.V(silent * eps), op.V(silent * op.Vt(eps))
    got = float((official * right).sum() / (official.norm() * right.norm()))
    assert got == pytest.approx(cosine, abs=about)


def test_a_basis_is_orthogonal():
    v = basis(torch.full((16,), 1 / 16, dtype=torch.float64))
    assert torch.allclose(v.T @ v, torch.eye(16, dtype=torch.float64), atol=1e-12)
    for op in (OPERATORS | WITHOUT_PLACE).values():
        x = noise(0)
        assert close(op.V(op.Vt(x)), x)
        assert close(op.Vt(op.At(op.A(x))), op.sv**2 * op.Vt(x))
