"""Other tables than the model's, and paths of one's own: what the sampler walks, what the net is told, what is said."""

from itertools import pairwise

import pytest
import torch
from toy import NET, card_data, toy_model, toy_net

from restorer.diffusion.paths import rddm_path
from restorer.diffusion.predict import Denoiser, Prediction, readjusted
from restorer.diffusion.samplers import leading_grid, rddm, rddm_ddim, rddm_noise_first, rddm_residual_first, time_grid
from restorer.diffusion.schedule import Schedule, diffuse, rddm_schedule, vp_schedule
from restorer.entry import parse_entry
from restorer.errors import UsageError
from restorer.nets import NETS
from restorer.readjust import Shape, parse, read_path
from restorer.restore import Restorer
from restorer.settings import Settings, adjusted, states
from restorer.train.checkpoint import save_model

SHAPE = (1, 3, 4, 5)
PATH_MODEL = {
    "task": "generate",
    "net": {"arch": "rddm_unet_two", "in_channels": 3, "dim": 8, "dim_mults": [1, 2]},
    "schedule": {"kind": "vp"},
    "predict": {"output": "res_eps", "input": ["x"], "time": "shift_sigma"},
    "size": {"multiple": 2, "trained": 8},
}


def pictures():
    rng = torch.Generator().manual_seed(0)
    x0, y = 2 * torch.rand(2, *SHAPE, generator=rng, dtype=torch.float64) - 1
    return x0, y, *torch.randn(2, *SHAPE, generator=rng, dtype=torch.float64)


def mixed(alpha="decreased", power=0.3, T=1000, own=None):
    """The tables of P(1 - x, power) beside a model's own noise."""
    own = own or vp_schedule(T)
    made = rddm_schedule(T, alpha=alpha, alpha_power=power, family="linspace")
    return Schedule(made.shift, own.sigma, decay=own.decay)


# ------------------------------------------------------------------------------------------------ what the net is told


@pytest.mark.parametrize("time", ["shift", "sigma", "shift_sigma"])
def test_a_net_that_is_told_where_it_is_is_told_the_new_place(time):
    new, heard = mixed(), []

    def net(x, told):
        heard.append(told[0])
        return torch.cat([x, x], dim=1)

    denoiser = readjusted(Denoiser(net, vp_schedule(), "res_eps", ("x",), time), new)
    x, y, *_ = (v.float() for v in pictures())
    denoiser(x, 700, y)
    place = {"shift": new.shift[700:701], "sigma": new.sigma[700:701]}
    wanted = torch.cat([place[word] for word in time.split("_")]).float() * 1000
    assert torch.equal(heard[0].reshape(-1), wanted)


def official_experiment_1(net, x, steps, eta, new_shift, draws):
    """``step_res`` with adjust_alpha, in official letters: A is new, A - 1 and the variance are DDIM's."""
    p = torch.cat(
        [torch.ones(1, dtype=torch.float64), (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)]
    )
    jump = 1000 // steps
    for t in range((steps - 1) * jump, -1, -jump):
        before = t - jump
        now, then = p[t + 1], p[before + 1] if before >= 0 else torch.ones(())
        a, a_then = new_shift[t + 1], new_shift[before + 1] if before >= 0 else 0.0
        b, b_then = (1 - now).sqrt(), (1 - then).sqrt()
        eps = net(x, t)
        res = ((x - b * eps) / -now.sqrt()).clamp(-1, 1)
        std = eta * ((1 - then) / (1 - now) * (1 - now / then)).sqrt()
        x = x - (a - a_then) * res - (b - (b_then**2 - std**2).sqrt()) * eps
        if eta > 0 and before >= 0:
            x = x + std * next(draws)
    return x.clamp(-1, 1)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("power", [0.3, 1.0])
def test_a_ddim_model_with_another_alpha_is_official_experiment_1(power, steps, eta):
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    draws = [torch.randn(SHAPE, generator=torch.Generator().manual_seed(i), dtype=torch.float64) for i in range(steps)]

    def eps_of(x, t):
        return 0.8 * x + 0.3 * torch.sin(3 * x + t / 200)

    # Through float32, since that is what a denoiser answers in.
    net = lambda x, told: eps_of(x, float(told[0]))  # noqa: E731
    new = mixed(power=power)
    trained = Denoiser(net, vp_schedule(), "eps", ("x",), clip="range")
    denoiser, y = readjusted(trained, new), torch.zeros(SHAPE)
    fresh = iter(draws)
    *_, last = rddm_ddim(
        lambda x, t: denoiser(x.float(), t, y),
        *(new, start.float(), leading_grid(1000, steps)),
        eta=eta,
        randn_like=lambda x: next(fresh).float(),
    )
    wanted = official_experiment_1(eps_of, start, steps, eta, new.shift, iter(draws))
    assert torch.allclose(last.x.double(), wanted, atol=2e-5)
    *_, plain = rddm_ddim(
        lambda x, t: trained(x.float(), t, y), vp_schedule(), start.float(), leading_grid(1000, steps)
    )
    assert (last.x - plain.x).abs().max() > 1e-3


@pytest.mark.parametrize("output", ["res", "res_eps"])
def test_with_the_truth_other_tables_lead_to_the_clean_picture(output):
    """A net that says res, or both, of an x on the new tables; eps of res alone follows from where x really is."""
    x0, y, eps, _ = (v.float() for v in pictures())
    own = rddm_schedule(100)
    new = Schedule(rddm_schedule(100, alpha="average").shift, own.sigma, decay=own.decay)
    said = {"res": y - x0, "res_eps": torch.cat([y - x0, eps], dim=1)}[output]
    denoiser = readjusted(Denoiser(lambda x, told: said, own, output), new)
    x = diffuse(new, x0, y, eps, 100)
    for state in rddm(lambda x, t: denoiser(x, t, y), new, x, time_grid(100, 7)):
        assert torch.allclose(state.x, diffuse(new, x0, y, eps, state.t), atol=1e-5)


# ------------------------------------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("word", "shape"),
    [
        ("decreased:0.3", Shape("decreased", 0.3)),
        ("average", Shape("average", 1.0)),
        ("normal", Shape("normal", 1.0)),
        ("increased:1:0.25", Shape("increased", 1.0, 0.25)),
        ("model", None),
        (None, None),
    ],
)
def test_words_for_tables(word, shape):
    assert parse(word, "--beta-schedule") == shape


@pytest.mark.parametrize(
    ("word", "option", "sentence"),
    [
        ("falling", "--alpha-schedule", "known modes: increased, decreased, average, normal, model"),
        ("decreased:0.3:1", "--alpha-schedule", "write MODE or MODE:POWER, as decreased:0.3"),
        ("decreased:x", "--alpha-schedule", "'x' is no number"),
        ("decreased:", "--alpha-schedule", "'' is no number"),
        ("decreased:-1", "--alpha-schedule", "the power must be from 0 to 100, not -1"),
        ("decreased:nan", "--alpha-schedule", "from 0 to 100, not nan"),
        ("increased:1:0", "--beta-schedule", "must be above 0"),
    ],
)
def test_words_that_name_no_tables(word, option, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse(word, option)


# ------------------------------------------------------------------------------------------------ models


def two_nets():
    options = dict(PATH_MODEL["net"])
    torch.manual_seed(0)
    return NETS[options.pop("arch")](**options)


@pytest.fixture(scope="module")
def walker(tmp_path_factory):
    """A model that is told where it is, and can go anywhere."""
    folder = tmp_path_factory.mktemp("models") / "walker"
    save_model(folder, parse_entry({**card_data(), **PATH_MODEL}, "test"), two_nets(), torch.float32)
    return Restorer.from_pretrained(str(folder), device="cpu", dtype="fp32")


def one(model, **chosen):
    return next(model.generate(seed=3, **({} if "path" in chosen else {"steps": 4}), **chosen))


def test_other_tables_make_other_pictures_and_are_in_the_recipe(walker):
    plain = one(walker)
    assert torch.equal(one(walker, alpha_schedule="model", beta_schedule="model"), plain)
    alpha = one(walker, alpha_schedule="decreased:0.3")
    beta = one(walker, beta_schedule="increased")
    quiet = one(walker, beta_schedule="increased:1:0.25")
    made = [plain, alpha, beta, quiet]
    assert all(not torch.equal(a, b) for a, b in pairwise(made))
    recipe = walker.recipe(Settings(alpha_schedule="decreased:.30", beta_schedule="model"))
    assert recipe["alpha_schedule"] == "decreased:0.3" and "beta_schedule" not in recipe
    assert "alpha_schedule" not in walker.recipe(Settings())


def test_the_start_has_the_noise_of_the_new_tables(walker):
    from restorer.generate import sample

    for word, size in ((None, 1.0), ("increased:1:0.25", 0.5)):
        settings = walker.settled(Settings(4, beta_schedule=word))
        first = next(
            sample(adjusted(walker.denoiser, walker.entry, settings), [3], settings, "rddm", (8, 8), walker.device)
        )
        noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
        assert torch.allclose(first.x, size * noise)


@pytest.mark.parametrize(
    ("changes", "settings", "sentence"),
    [
        ({}, {"beta_schedule": "average"}, "is told the time, not how much noise there is"),
        ({"schedule": {"kind": "irsde"}}, {"alpha_schedule": "average"}, "its schedule is 'irsde'"),
        ({"schedule": {"kind": "denoising-sde"}}, {"alpha_schedule": "average"}, "its schedule is 'denoising-sde'"),
        ({"sample": {"sampler": "posterior"}}, {"alpha_schedule": "average"}, "it samples with 'posterior'"),
        ({}, {"path": ((1, 1), (0, 0))}, "it says res and is told index; leave out --path"),
    ],
)
def test_models_that_have_no_such_choice(tmp_path, changes, settings, sentence):
    model = Restorer.from_pretrained(str(toy_model(tmp_path / "toy", **changes)), device="cpu", dtype="fp32")
    with pytest.raises(UsageError, match=sentence):
        model.settled(Settings(**settings))


def test_a_restoration_takes_no_path(toy_restorer):
    with pytest.raises(UsageError, match="A path is for new pictures"):
        toy_restorer.restore(torch.zeros(1, 3, 8, 8), Settings(path=((1, 1), (0, 0))))


def test_a_restoration_with_another_alpha(toy_restorer):
    y = torch.rand(3, 12, 8, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(toy_restorer(y, alpha_schedule="increased"), toy_restorer(y))


# ------------------------------------------------------------------------------------------------ paths


@pytest.mark.parametrize("sampler", [rddm_residual_first, rddm_noise_first])
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_residual_and_noise_in_turn_are_two_paths(walker, sampler, eta):
    net, schedule = walker.denoiser, walker.denoiser.schedule
    times, y = time_grid(1000, 3), torch.zeros(1, 3, 8, 8)
    x = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    falls, waits = (
        (schedule.shift, schedule.sigma) if sampler is rddm_residual_first else (schedule.sigma, schedule.shift)
    )
    turns = [(float(falls[t]), float(waits[-1])) for t in times] + [(0.0, float(waits[t])) for t in times[1:]]
    path = turns if sampler is rddm_residual_first else [(b, a) for a, b in turns]
    draws = [torch.randn(y.shape, generator=torch.Generator().manual_seed(i)) for i in range(9)]
    ends = []
    for go in ("sampler", "path"):
        fresh = iter(draws)
        more = {"eta": eta, "randn_like": lambda x, fresh=fresh: next(fresh)}
        with torch.inference_mode():
            if go == "sampler":
                ends.append([s.x for s in sampler(lambda x, t: net(x, t, y), schedule, x, times, **more)])
            else:
                ends.append([s.x for s in rddm_path(lambda x, a, b: net.at(x, a, b, y), schedule, x, path, **more)])
    assert len(ends[0]) == len(ends[1]) == 6
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_with_the_truth_any_path_leads_to_the_clean_picture(eta):
    x0, y, eps, z = pictures()
    path = [(1, 0.5), (0.3, 0.9), (0.6, 0.0), (0.2, 0.4), (0.2, 0.1), (0, 0)]
    noise = {"now": eps}

    def predict(x, shift, sigma):
        return Prediction(x0, y - x0, (x - x0 - shift * (y - x0)) / sigma if sigma else eps)

    *states, last = rddm_path(predict, rddm_schedule(), y + 0.5 * noise["now"], path, eta=eta, randn_like=lambda x: z)
    assert [state.t for state in states] == [4, 3, 2, 1] and last.t == 0
    assert torch.allclose(last.x, x0, atol=1e-12)


def test_a_path_draws_and_is_in_the_recipe(walker):
    path = [(1, 1), (0.5, 1), (0.5, 0.2), (0, 0)]
    assert not torch.equal(one(walker, path=path), one(walker))
    settings = walker.settled(Settings(path=path))
    assert walker.settled(settings) == settings and states(settings) == settings.steps == 3
    recipe = walker.recipe(settings)
    assert (recipe["sampler"], recipe["path"], recipe["steps"]) == ("rddm-path", [list(point) for point in path], 3)
    assert "times" not in recipe


def test_a_path_that_goes_where_the_schedule_goes_is_the_schedule(walker):
    schedule, times = walker.denoiser.schedule, time_grid(1000, 4)
    path = [(float(schedule.shift[t]), float(schedule.sigma[t])) for t in times]
    assert torch.allclose(one(walker, path=path), one(walker), atol=1e-4)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ([(0, 0)], "at least two points"),
        ([(1, 1), (0.1, 0)], "The path ends at 0.1,0; it must end at 0,0"),
        ([(0.5, 1), (0, 0)], "starts at shift 0.5; it must start at 0.993647 or up to 1"),
        ([(1, 1), (1, 1.2), (0, 0)], "Point 2 of the path is 1,1.2; the model knows shifts from 0 to 1 and sigmas"),
        ([(1, 1), (-0.1, 1), (0, 0)], "Point 2 of the path is -0.1,1"),
        ([(1, float("nan")), (0, 0)], "must be finite"),
        ([(1, 1)] * 1001 + [(0, 0)], "has 1002 points; the most are 1001"),
        ([(1, 1, 1), (0, 0)], r"each two numbers: \(shift, sigma\)"),
    ],
)
def test_paths_that_cannot_be_gone(walker, path, sentence):
    with pytest.raises(UsageError, match=sentence):
        walker.settled(Settings(path=path))


@pytest.mark.parametrize(
    ("more", "option"),
    [({"steps": 9}, "--steps"), ({"times": "rddm"}, "--times"), ({"alpha_schedule": "normal"}, "--alpha-schedule")],
)
def test_a_path_has_its_own_steps(walker, more, option):
    with pytest.raises(UsageError, match=f"leave out {option}, or --path"):
        walker.settled(Settings(path=((1, 1), (0, 0)), **more))


def test_a_file_of_points():
    text = "shift,sigma\n# down\n1, 1\n\n0.5,1e-1\n0,0\n"
    assert read_path(text, "p.csv") == ((1, 1), (0.5, 0.1), (0, 0))
    for wrong in ("1;2\n", "1,2,3\n", "1,2\nshift,sigma\n", "a,b\n"):
        with pytest.raises(UsageError, match=r"p\.csv, line .*is not two numbers"):
            read_path(wrong, "p.csv")


# ------------------------------------------------------------------------------------------------ commands


def test_generate_by_words(here, cli, walker):
    folder = str(walker.found.weights.parent)
    words = ["-m", folder, "-d", "cpu", "--dtype", "fp32"]
    (here / "way.csv").write_text("shift,sigma\n1,1\n0.5,1\n0,0\n")
    for name, more in (("a.png", ["--alpha-schedule", "average", "--steps", "2"]), ("p.png", ["--path", "way.csv"])):
        result = cli("generate", name, *words, *more, model=False)
        assert (result.exit_code, result.stdout) == (0, f"{name}\n"), result.stderr
    assert "skipped" in cli("generate", "p.png", *words, "--path", "way.csv", model=False).stderr
    wrong = {
        "known modes": ["--beta-schedule", "rising"],
        "nowhere.csv: cannot read": ["--path", "nowhere.csv"],
        "leave out --steps": ["--path", "way.csv", "--steps", "9"],
    }
    for sentence, more in wrong.items():
        result = cli("generate", "x.png", *words, *more, model=False)
        assert result.exit_code == 2 and sentence in result.stderr and not (here / "x.png").exists()


def test_restore_by_words(here, cli, draw):
    draw("a.png")
    assert cli("restore", "a.png", "-o", "b.png").exit_code == 0
    other = cli("restore", "a.png", "-o", "b.png", "--alpha-schedule", "increased:2")
    assert "made with other settings" in other.stderr
    wrong = cli("derain", "a.png", "--alpha-schedule", "up", "-y")
    assert wrong.exit_code == 2 and "known modes: increased, decreased, average, normal, model" in wrong.stderr


@pytest.mark.parametrize("sampler", ["rddm", "rddm-two-phase", "rddm-residual-first", "rddm-noise-first"])
def test_progress_counts_the_states_there_are(tmp_path, sampler):
    changes = {"task": "generate", "net": {**NET, "in_channels": 3}, "predict": {"output": "eps", "input": ["x"]}}
    state = toy_net(in_channels=3).state_dict()
    folder = toy_model(tmp_path / "prior", state=state, **changes, sample={"sampler": sampler}, size={"trained": 8})
    model = Restorer.from_pretrained(str(folder), device="cpu", dtype="fp32")
    from restorer.generate import draw

    steps, settings = [], model.settled(Settings(3))
    draw(model, [0], settings, size=(8, 8), after_step=lambda: steps.append(1))
    assert len(steps) == states(settings)
