"""Zero-shot samplers: exact on the oracle, in mean and variance as theory has it on Gaussian data, seed by seed."""

import itertools
import math
from itertools import pairwise

import pytest
import torch
import toy_operators
from toy_operators import HEIGHT, KEEP, SV, WIDTH, WITHOUT_PLACE, Diagonal

from restorer.diffusion.correction import ddrm_gains, gains, posterior_gains
from restorer.diffusion.nullspace import NULLSPACE, ddnm_plus, ddnm_plus_scalar, ddrm_start, travel_grid
from restorer.diffusion.predict import Prediction
from restorer.diffusion.samplers import leading_grid, trailing_grid
from restorer.diffusion.schedule import Schedule, vp_schedule

VP = vp_schedule(1000)
OPERATORS = toy_operators.OPERATORS | WITHOUT_PLACE
SCHEDULES = {
    "vp": VP,
    "exploding": Schedule(torch.zeros(1001, dtype=torch.float64), torch.linspace(0, 3, 1001, dtype=torch.float64)),
}
CLEAR = ("ddnm", "repaint")  # y without noise only
WITH_NOISE = [name for name in NULLSPACE if name not in CLEAR]
ETAS = (0.0, 0.85, 1.0)
SHAPE = (2, 3, HEIGHT, WIDTH)
GRIDS = {
    "falling": trailing_grid(1000, 20),
    "travelling": travel_grid(trailing_grid(1000, 20), 4, 3),
}


def some_etas(name):
    return (1.0,) if name == "ddnm-posterior" else ETAS


def run(name, *args, **options):
    """As ``SV`` says, the scalar form is told the operator's one singular value."""
    op = args[2]
    if name == "ddnm-plus-scalar":
        options["sv"] = next((SV[key] for key in SV if OPERATORS[key] is op), 1.0)
    return list(NULLSPACE[name](*args, **options))


def noise(seed, shape=SHAPE, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def seeded(seed):
    rng = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=rng, dtype=x.dtype)


def at(schedule, t):
    return 1 - float(schedule.shift[t]), float(schedule.sigma[t])


def oracle(x0, schedule=VP):
    def predict(x, t):
        scale, sigma = at(schedule, t)
        return Prediction(x0.expand_as(x), -x0.expand_as(x), (x - scale * x0) / sigma)

    return predict


def a_net(x, t):
    """Some smooth net: what it says depends on all of x, and is not right."""
    eps = 0.8 * x + 0.1 * x.flip(-1) + 0.1 * math.sin(t)
    scale, sigma = at(VP, t)
    x0 = (x - sigma * eps) / scale
    return Prediction(x0, -x0, eps)


# identity


@pytest.mark.parametrize("times", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize(("name", "sigma_y"), [*((name, 0.0) for name in NULLSPACE), *((n, 0.3) for n in WITH_NOISE)])
@pytest.mark.parametrize("op", OPERATORS.values(), ids=OPERATORS)
def test_a_net_that_knows_the_picture_leads_to_it(name, op, sigma_y, times):
    x0 = noise(0)
    y = op.A(x0)
    y = y + sigma_y * noise(1, y.shape)
    for eta in some_etas(name):
        states = run(name, oracle(x0), VP, op, y, noise(2), times, sigma_y=sigma_y, eta=eta, randn_like=seeded(3))
        assert states[-1].t == 0
        assert len(states) == sum(s < t for t, s in pairwise(times))
        assert torch.allclose(states[-1].x, x0, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("op", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize("name", NULLSPACE)
def test_without_noise_the_result_meets_the_measurement(name, op, dtype, atol):
    """And so does the corrected x0 of every step, of those that correct it all the way."""
    y = op.A(noise(0, dtype=dtype))
    for eta in some_etas(name):
        states = run(name, a_net, VP, op, y, noise(1, dtype=dtype), GRIDS["travelling"], eta=eta, randn_like=seeded(2))
        assert all(state.x.dtype == state.x0.dtype == dtype for state in states)
        for state in states[-1:] if name == "repaint" else states:
            assert torch.allclose(op.A(state.x0), y, rtol=0, atol=atol * max(1, float(state.x0.abs().max())))
        assert torch.equal(states[-1].x, states[-1].x0)


@pytest.mark.parametrize("op", OPERATORS.values(), ids=OPERATORS)
@pytest.mark.parametrize("eta", ETAS)
def test_without_noise_ddnm_plus_is_ddnm(op, eta):
    y, x = op.A(noise(0)), noise(1)
    names = ("ddnm", "ddnm-plus", "ddnm-plus-scalar", "ddnm-official")
    ends = [run(name, a_net, VP, op, y, x, GRIDS["falling"], eta=eta, randn_like=seeded(2)) for name in names]
    for others in ends[1:]:
        for state, other in zip(ends[0], others, strict=True):
            assert torch.allclose(state.x, other.x, rtol=0, atol=1e-10 * float(state.x.abs().max()))


def test_with_hardly_any_noise_ddnm_plus_is_nearly_ddnm():
    """With eta = 1; below it DDNM keeps a share of the old noise in what y tells, DDNM+ draws all of that anew."""
    op = OPERATORS["mask"]
    y, x = op.A(noise(0)), noise(1)
    times = GRIDS["falling"][:-1]  # the last step of DDNM+ takes the prior's word, however little noise there is
    clear, noisy = (
        run("ddnm-plus", a_net, VP, op, y, x, times, sigma_y=sigma_y, eta=1.0, randn_like=seeded(2))
        for sigma_y in (0.0, 1e-9)
    )
    assert torch.allclose(clear[-1].x, noisy[-1].x, rtol=0, atol=1e-8)


@pytest.mark.parametrize("key", SV)
@pytest.mark.parametrize("sigma_y", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("eta", ETAS)
def test_the_scalar_form_is_the_general_one_where_there_is_one_singular_value(key, sigma_y, eta):
    op = OPERATORS[key]
    args = (a_net, VP, op, op.A(noise(0)), noise(1), GRIDS["travelling"])
    general = list(ddnm_plus(*args, sigma_y=sigma_y, eta=eta, randn_like=seeded(2)))
    scalar = list(ddnm_plus_scalar(*args, sigma_y=sigma_y, eta=eta, sv=SV[key], randn_like=seeded(2)))
    for state, other in zip(general, scalar, strict=True):
        assert torch.allclose(state.x, other.x, rtol=0, atol=1e-10 * float(state.x.abs().max()))


@pytest.mark.parametrize("op", OPERATORS.values(), ids=OPERATORS)
def test_ddrm_is_ddnm_plus_from_another_start(op):
    y, x, times = op.A(noise(0)), noise(1), GRIDS["falling"]
    mine = run("ddrm", a_net, VP, op, y, x, times, sigma_y=0.2, randn_like=seeded(2))
    start = ddrm_start(VP, op, y, x, times[0], 0.2)
    other = run("ddnm-plus", a_net, VP, op, y, start, times, sigma_y=0.2, randn_like=seeded(2))
    assert all(torch.equal(a.x, b.x) for a, b in zip(mine, other, strict=True))


# analytic


class Sources:
    """Draws that are 1 in every direction of an operator, in one picture of the batch each, and 0 in the others.

    Samplers are affine in all that is drawn, direction by direction: the batch shows every coefficient.
    """

    def __init__(self, op, count, shape=SHAPE[1:]):
        self.op, self.count, self.shape, self.at = op, count, shape, 0

    def __call__(self, x):
        assert self.at < self.count
        ones = torch.zeros(self.count + 1, *self.shape, dtype=torch.float64)
        ones[self.at] = 1
        self.at += 1
        return self.op.V(ones)

    def in_y(self, sigma_y):
        """Noise of y: sv times the direction, undone by pinv. Independent entries of y would do the same."""
        inverse = torch.where(self.op.sv > 0, 1 / self.op.sv, 0)
        return sigma_y * self.op.A(self.op.V(inverse * self.op.Vt(self(None))))

    def variance(self, x):
        c = self.op.Vt(x)
        return ((c[:-1] - c[-1:]) ** 2).sum(0)


def keeps_the_noise_of_the_time(name, key, sigma_y):
    """Which samplers do, by what they say of themselves."""
    match name:
        case "ddnm" | "repaint" | "ddnm-posterior":
            return sigma_y == 0
        case "ddnm-plus-scalar":
            return key in SV
        case _:
            return name in ("ddnm-plus", "ddrm")


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("times", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize(
    ("name", "key", "sigma_y"),
    [case for case in itertools.product(NULLSPACE, OPERATORS, (0.0, 0.05, 0.7)) if keeps_the_noise_of_the_time(*case)],
)
def test_with_the_truth_the_noise_in_every_direction_is_that_of_the_time(name, key, sigma_y, times, schedule):
    """The noise of the measurement counted, whether there is room for it or not."""
    op = OPERATORS[key]
    for eta in some_etas(name):
        sources = Sources(op, 2 + 2 * len(times))
        y = sources.in_y(sigma_y)
        x = float(schedule.sigma[times[0]]) * sources(None)
        nothing = torch.zeros(SHAPE[1:], dtype=torch.float64)
        predict = oracle(nothing, schedule)
        for state in run(name, predict, schedule, op, y, x, times, sigma_y=sigma_y, eta=eta, randn_like=sources):
            got = sources.variance(state.x)
            assert torch.allclose(
                got, torch.full_like(got, float(schedule.sigma[state.t]) ** 2), rtol=1e-10, atol=1e-11
            )


def wiener(tau, schedule=VP):
    """The ideal net for pictures of independent pixels N(0, tau^2)."""

    def predict(x, t):
        scale, sigma = at(schedule, t)
        x0 = scale * tau**2 / (scale**2 * tau**2 + sigma**2) * x
        return Prediction(x0, -x0, (x - scale * x0) / sigma)

    return predict


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("sigma_y", [0.02, 0.3])
def test_ddnm_plus_on_gaussian_data_has_the_moments_of_its_recursion(eta, sigma_y):
    """Eq. 17 and 51 for one direction, as numbers: how far x_s goes with y, and its variance about that."""
    op, tau, times = OPERATORS["diagonal"], 0.5, GRIDS["falling"]
    sources = Sources(op, 25)
    seen = sources(None)  # pinv(y)
    x = float(VP.sigma[1000]) * sources(None)
    states = run("ddnm-plus", wiener(tau), VP, op, op.A(seen), x, times, sigma_y=sigma_y, eta=eta, randn_like=sources)
    for place, sv in enumerate(op.sv.flatten().tolist()):
        follows, variance = 0.0, float(VP.sigma[1000]) ** 2
        for (t, s), state in zip(pairwise(times), states, strict=True):
            (scale_t, sigma_t), (scale, sigma) = at(VP, t), at(VP, s)
            said = scale_t * tau**2 / (scale_t**2 * tau**2 + sigma_t**2)
            arrives = scale * sigma_y / sv if sv else 0.0
            if arrives == 0:
                trust, fresh, old = float(sv > 0), eta * sigma, math.sqrt(1 - eta**2) * sigma
            elif arrives <= sigma:
                trust, fresh, old = 1.0, math.sqrt(sigma**2 - arrives**2), 0.0
            else:
                trust, fresh, old = math.sqrt(1 - eta**2) * sigma / arrives, eta * sigma, 0.0
            kept = scale * (1 - trust) * said + old * (1 - scale_t * said) / sigma_t
            follows, variance = kept * follows + scale * trust * (sv > 0), kept**2 * variance + fresh**2
            got = op.Vt(state.x)[:, 0].flatten(1)[:, place]
            assert float(got[0]) == pytest.approx(follows, abs=1e-12)
            assert float((got[1:-1] ** 2).sum()) == pytest.approx(variance, abs=1e-12)


def spread(name, tau, steps, **options):
    """Variance that a sampler leaves where y tells nothing, over that of the data."""
    op, times = Diagonal(torch.zeros(1, dtype=torch.float64)), trailing_grid(1000, steps)
    sources = Sources(op, 2 + 2 * steps, (1, 1, 1))
    x = float(VP.sigma[1000]) * sources(None)
    y = torch.zeros(1, dtype=torch.float64)
    state = run(name, wiener(tau), VP, op, y, x, times, randn_like=sources, **options)[-1]
    return float(sources.variance(state.x).mean()) / tau**2


@pytest.mark.parametrize("tau", [0.25, 1.0])
def test_what_the_prior_adds_varies_as_the_data_where_fresh_noise_is_the_posteriors(tau):
    """In the limit of many steps. A fixed share eta of fresh noise a step leaves (1 + sqrt(1 - eta^2)) / 2 of it."""
    for name, options, limit in [
        ("ddnm-posterior", {}, 1),
        ("repaint", {}, 1),
        *(("ddnm", {"eta": eta}, (1 + math.sqrt(1 - eta**2)) / 2) for eta in (0.0, 0.5, 0.85, 1.0)),
    ]:
        few, many, all_of_them = (spread(name, tau, steps, **options) for steps in (20, 100, 1000))
        assert few < many < all_of_them < limit
        assert all_of_them == pytest.approx(limit, abs=0.035)


def test_the_simplified_official_path_adds_next_to_nothing_of_the_priors_own():
    assert spread("ddnm-official-simplified", 0.5, 100, eta=0.85) == pytest.approx(0.04, abs=0.005)


def test_y_is_counted_twice_in_the_posterior_form():
    """Known and kept, as the paper has it: with the truth, the noise where y tells all is more than the time's."""
    op, sigma_y = OPERATORS["identity"], 0.1
    sources = Sources(op, 250)
    y, x = sources.in_y(sigma_y), float(VP.sigma[1000]) * sources(None)
    times = trailing_grid(1000, 100)
    predict = oracle(torch.zeros(SHAPE[1:], dtype=torch.float64))
    excess = [
        float(sources.variance(state.x).mean()) / float(VP.sigma[state.t]) ** 2
        for state in run("ddnm-posterior", predict, VP, op, y, x, times, sigma_y=sigma_y, eta=1.0, randn_like=sources)
        if state.t > 0
    ]
    assert min(excess) >= 1 - 1e-12
    assert max(excess) > 1.05


# gains


def test_gains_by_hand():
    schedule = Schedule(*torch.tensor([[0, 0.5, 0.6], [0, 0.4, 0.8]], dtype=torch.float64))
    sv = torch.tensor(
        [0, 1, 0.25], dtype=torch.float64
    )  # nothing, 0.5 * 0.2 / sv of 0.4 arrives: 0.1, and 0.4 to the digit
    g = gains(sv, schedule, 1, 0.2, 0.6)
    assert g.correct.tolist() == [1, 1, 1]
    assert g.fresh.tolist() == pytest.approx([0.24, math.sqrt(0.15), 0], abs=1e-12)
    assert g.old.tolist() == pytest.approx([0.32, 0, 0], abs=1e-12)
    g = gains(sv, schedule, 1, 1.0, 0.6)  # 0.5 and 2 arrive
    assert g.correct.tolist() == pytest.approx([1, 0.8 * 0.4 / 0.5, 0.8 * 0.4 / 2], abs=1e-12)
    assert g.fresh.tolist() == pytest.approx([0.24, 0.24, 0.24], abs=1e-12)
    assert g.old.tolist() == pytest.approx([0.32, 0, 0], abs=1e-12)
    g = ddrm_gains(sv, schedule, 1, 0.2, 0.6, 0.5)
    assert g.correct.tolist() == [1, 0.5, 0.5]
    assert g.fresh.tolist() == pytest.approx([0.24, math.sqrt(0.16 - 0.0025), math.sqrt(0.16 - 0.04)], abs=1e-12)
    g = posterior_gains(sv, 0.5, 0.2, 0.2)  # 0.1 and 0.4 arrive, 0.2 may
    assert g.correct.tolist() == pytest.approx([1, 1, 0.5], abs=1e-12)
    assert g.fresh.tolist() == pytest.approx([0.2, math.sqrt(0.03), 0], abs=1e-12)


def test_ddrm_starts_at_y_where_y_is_the_less_noisy():
    schedule = Schedule(*torch.tensor([[0, 0.5], [0, 0.4]], dtype=torch.float64))
    op = Diagonal(torch.tensor([[0, 1, 0.25, 0.1]], dtype=torch.float64))  # nothing, 0.15, 0.6 and 1.5 arrive
    y, x = torch.tensor([[[[2, 3, 4, 5]]]], dtype=torch.float64), torch.ones(1, 1, 1, 4, dtype=torch.float64)
    start = ddrm_start(schedule, op, y, x, 1, 0.3)
    assert start.flatten().tolist() == pytest.approx([1, 1.5 + math.sqrt(1 - (0.15 / 0.4) ** 2), 1, 1], abs=1e-12)


@pytest.mark.parametrize("sigma_y", [0.0, 0.3])
def test_the_last_step_trusts_y_if_it_has_no_noise_and_the_net_if_it_has(sigma_y):
    sv = torch.tensor([1.0, 1e-6])
    for g in (gains(sv, VP, 0, sigma_y, 0.85), posterior_gains(sv, 1.0, 0.0, sigma_y)):
        assert g.correct.tolist() == 2 * [float(sigma_y == 0)]
        assert g.fresh.tolist() == g.old.tolist() == [0, 0]


# seeds and errors


@pytest.mark.parametrize("op", [OPERATORS["gray"], OPERATORS["pool"]], ids=["gray", "pool"])
@pytest.mark.parametrize("name", NULLSPACE)
def test_one_picture_alone_or_in_a_batch(name, op):
    """With the same noise; ``randn_like`` is what gives a picture its own."""
    sigma_y = 0.0 if name in CLEAR else 0.1
    y, x, times = op.A(noise(0)), noise(1), leading_grid(1000, 10)

    def drawn(pictures):
        own = [seeded(i) for i in pictures]
        return lambda x: torch.stack([draw(picture) for draw, picture in zip(own, x, strict=True)])

    def walk(pictures):
        options = {"sigma_y": sigma_y, "eta": 1.0, "randn_like": drawn(pictures)}
        return run(name, a_net, VP, op, y[pictures], x[pictures], times, **options)[-1].x

    both = walk([0, 1])
    assert torch.equal(both, walk([0, 1]))
    for i in (0, 1):
        assert torch.allclose(walk([i])[0], both[i], rtol=0, atol=1e-10 * float(both.abs().max()))


@pytest.mark.parametrize("name", NULLSPACE)
def test_what_cannot_be_is_refused_at_the_call(name):
    args = (a_net, VP, OPERATORS["mask"], KEEP, KEEP, [1000, 0])
    for options, words in [({"eta": 1.5}, "eta"), ({"eta": -0.1}, "eta"), ({"sigma_y": -1.0}, "sigma_y")]:
        with pytest.raises(ValueError, match=words):
            NULLSPACE[name](*args, **options)
    if name in CLEAR:
        with pytest.raises(ValueError, match="ddnm-plus"):
            NULLSPACE[name](*args, sigma_y=0.1)


def test_more_that_is_refused():
    args = (a_net, VP, OPERATORS["mask"], KEEP, KEEP, [1000, 0])
    for name, options in [
        ("ddnm-plus-scalar", {"sv": 0.0}),
        ("ddrm", {"eta_y": 2.0}),
        ("ddnm-posterior", {"eta": 0.5}),
    ]:
        with pytest.raises(ValueError, match=next(iter(options))):
            NULLSPACE[name](*args, **options)
