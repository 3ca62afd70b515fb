"""Models that begin at the noisy picture itself, and the choice of a sampler."""

import pytest
import torch
from toy import NET, etas, toy_model, toy_net

from restorer.diffusion.process import time_of_noise
from restorer.diffusion.samplers import SAMPLERS, natural_eta, time_grid
from restorer.errors import UsageError
from restorer.noise import estimate_sigma
from restorer.restore import Restorer
from restorer.settings import Settings

CARD = {
    "task": "denoise",
    "net": {**NET, "in_channels": 3},
    "schedule": {"kind": "denoising-sde"},
    "predict": {"output": "eps", "input": ["x"], "time": "t", "range": [0.0, 1.0], "clip": "none"},
    "sample": {"sampler": "ode-2", "steps": 10, "begin": "picture"},
}


@pytest.fixture
def denoising(tmp_path):
    folder = toy_model(tmp_path / "toy", state=toy_net(in_channels=3).state_dict(), **CARD)
    return Restorer.from_pretrained(str(folder), device="cpu", dtype="fp32")


def noisy(level=25, side=64):
    return 0.5 + level / 255 * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(5))


def times(model, y, settings):
    seen = []
    model.restore(y, settings, progress=lambda done, state: seen.append(state.t))
    return seen


def test_it_begins_at_the_time_of_the_noise_and_at_the_picture_itself(denoising):
    first = time_of_noise(denoising.denoiser.schedule, 25 / 255)
    assert first == 21
    assert times(denoising, noisy(), Settings(sigma=25)) == time_grid(21, 10)[1:]
    states = []
    denoising.restore(noisy(), Settings(sigma=25), watch=lambda done, x, x0: states.append(x))
    assert torch.equal(states[0], noisy())
    # No noise is added, so no seed matters.
    settings = [Settings(sigma=25, seed=seed) for seed in (0, 1)]
    assert torch.equal(*(denoising.restore(noisy(), each) for each in settings))


def test_there_are_no_more_steps_than_times(denoising):
    assert times(denoising, noisy(5), Settings(sigma=5)) == [4, 3, 2, 1, 0]
    assert times(denoising, noisy(5), Settings(sigma=5, steps=100)) == [4, 3, 2, 1, 0]
    assert times(denoising, noisy(), Settings(sigma=25, steps=100)) == list(range(20, -1, -1))


def test_noise_that_is_not_said_is_guessed(denoising):
    y = noisy(30)
    guess = estimate_sigma(y)
    assert guess == pytest.approx(30, rel=0.1)
    assert torch.equal(denoising.restore(y, Settings()), denoising.restore(y, Settings(sigma=guess)))
    for extreme in (torch.full_like(y, 0.5), noisy(200)):  # none to be seen, and more than the schedule has
        assert denoising.restore(extreme, Settings()).isfinite().all()


@pytest.mark.parametrize("sigma", [0.0, -1.0, 75.1, 300.0, float("nan")])
def test_noise_that_the_model_was_not_made_for_is_refused(denoising, sigma):
    with pytest.raises(
        UsageError, match="sigma must be above 0 and at most 75, the most noise that toy was made for; not"
    ):
        denoising.restore(noisy(), Settings(sigma=sigma))
    assert denoising.restore(noisy(), Settings(sigma=75.0)).isfinite().all()


def test_a_model_that_begins_at_noise_takes_no_sigma(tmp_path):
    model = Restorer.from_pretrained(str(toy_model(tmp_path / "toy")), device="cpu")
    with pytest.raises(UsageError, match="'toy' is not told how much noise there is; leave out --sigma"):
        model.settled(Settings(sigma=25.0))


def test_the_recipe_says_the_noise_or_that_it_was_guessed(denoising):
    assert denoising.recipe(Settings())["sigma"] == "guessed"
    assert denoising.recipe(Settings(sigma=25.0))["sigma"] == 25.0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_can_be_asked_for_by_name(denoising, sampler):
    y = noisy()
    settled = denoising.settled(Settings(sampler=sampler, sigma=25))
    assert settled.eta in etas(sampler, (natural_eta(sampler),))
    assert denoising.recipe(Settings(sampler=sampler))["sampler"] == sampler
    if not sampler.startswith("rddm-"):
        assert denoising.restore(y, Settings(sampler=sampler, sigma=25)).isfinite().all()


def test_the_cards_own_eta_goes_with_the_cards_own_sampler_only(tmp_path):
    folder = toy_model(tmp_path / "toy", sample={"eta": 0.5})
    model = Restorer.from_pretrained(str(folder), device="cpu")
    assert model.settled(Settings()).eta == 0.5
    assert model.settled(Settings(sampler="rddm")).eta == 0.5
    assert model.settled(Settings(sampler="ode-2")).eta == 0.0
    assert model.settled(Settings(sampler="posterior")).eta == 1.0
    assert model.settled(Settings(sampler="posterior", eta=0.25)).eta == 0.25


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(sampler="ode-4"), "Unknown sampler 'ode-4'; did you mean 'ode-"),
        (Settings(sampler="ode-2", eta=0.5), "ode-2 draws no noise, so eta is 0, not 0.5; sde-2 takes any eta"),
        (Settings(sampler="rddm-ancestral", eta=0.5), "rddm-ancestral draws all of the noise, so eta is 1, not 0.5"),
    ],
)
def test_what_a_sampler_cannot_do_is_said_before_any_picture_is_read(denoising, settings, words):
    with pytest.raises(UsageError, match=words):
        denoising.settled(settings)


@pytest.mark.parametrize("size", [(9, 13), (8, 8), (33, 100), (70, 41)])
def test_the_output_is_as_large_as_the_input(denoising, size):
    height, width = size
    y = noisy(side=128)[..., :height, :width]
    assert denoising.restore(y, Settings()).shape == y.shape
