"""The models that come with restorer: each card is true, and each model does its work."""

from __future__ import annotations

import pytest
import torch

from restorer.convert.ddim import opened, to_ddim
from restorer.degrade import degrade
from restorer.degrade.lowres import reduced
from restorer.entry import card, default_model, embedded, hash_file, parse_entry, read_entry
from restorer.load import card_inside, find
from restorer.metrics import psnr
from restorer.restore import Restorer
from restorer.settings import Settings
from restorer.tiling import windows
from restorer.train.config import read_config
from restorer.verify import picture
from restorer.zeroshot import ZeroShot, check, consistency, pose, reconstruct, solve

MODELS = sorted(embedded())
LARGEST = {
    "rddm-derain-tiny": 6_000_000,
    "rddm-deblur-tiny": 1_000_000,
    "rddm-detail-tiny": 6_000_000,
    "rddm-tone-tiny": 9_000_000,
    "irsde-denoise-tiny": 6_000_000,
    "ddpm-natural-tiny": 10_000_000,
}  # bytes of weights
ALL_OF_THEM = 36_000_000
DEFAULTS = {
    "derain": "rddm-derain-tiny",
    "denoise": "irsde-denoise-tiny",
    "generate": "ddpm-natural-tiny",
    "deblur": "rddm-deblur-tiny",
    **dict.fromkeys(("upscale", "dejpeg"), "rddm-detail-tiny"),
    **dict.fromkeys(("enhance", "dehaze", "deshadow"), "rddm-tone-tiny"),
}


def test_there_are_models():
    assert set(LARGEST) == set(MODELS)
    assert {task: default_model(task) for task in DEFAULTS} == DEFAULTS
    assert sum(find(name).weights.stat().st_size for name in MODELS) <= ALL_OF_THEM


@pytest.mark.parametrize("name", MODELS)
def test_the_card_is_true(name):
    folder = embedded()[name]
    entry = read_entry(folder / "config.json")
    assert entry.name == name
    assert parse_entry(card(entry), "card") == entry
    weights = folder / entry.weights.file
    assert (entry.weights.bytes, entry.weights.sha256) == (weights.stat().st_size, hash_file(weights))
    assert entry.weights.bytes <= LARGEST[name]
    assert "unknown" not in (entry.license, entry.source, entry.data)
    assert entry.expect


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_carry_the_same_card(name):
    found = find(name)
    inside = card_inside(found.weights)
    assert (inside.net, inside.schedule, inside.predict) == (found.entry.net, found.entry.schedule, found.entry.predict)
    assert inside.sample == found.entry.sample


@pytest.mark.parametrize("name", MODELS)
def test_the_recipe_beside_it_makes_this_model(name):
    recipe, entry = read_config(embedded()[name] / "train.toml", []), read_entry(embedded()[name] / "config.json")
    assert (recipe.net, recipe.schedule) == (entry.net, entry.schedule)
    assert (recipe.predict, recipe.sample) == (entry.predict, entry.sample)
    assert (recipe.license, recipe.source, recipe.data_note) == (entry.license, entry.source, entry.data)


@pytest.mark.parametrize("name", MODELS)
def test_the_readme_is_a_card_for_the_hub(name):
    text = (embedded()[name] / "README.md").read_text(encoding="utf-8")
    entry = read_entry(embedded()[name] / "config.json")
    front = text.split("---\n")[1]
    assert "library_name: restorer" in front
    assert f"license: {entry.license.lower()}" in front
    for score in entry.expect:
        assert f"{score.value:.2f}" in text, f"{score} is not in the card's table"


@pytest.mark.parametrize("steps", [None, 1, 5])
def test_the_deraining_model_takes_out_rain(steps):
    rows, columns = torch.linspace(0, 1, 96)[:, None], torch.linspace(0, 1, 120)[None]
    waves = [0.4 + 0.25 * torch.sin(9 * rows + k) * torch.cos(7 * columns) for k in range(3)]
    clean = torch.stack(waves)[None]
    rainy = degrade(clean, "rain", strength=0.5, rng=torch.Generator().manual_seed(3))
    restorer = Restorer.from_pretrained("rddm-derain-tiny", device="cpu", dtype="fp32")
    gain = psnr(restorer.restore(rainy, Settings(steps)), clean) - psnr(rainy, clean)
    assert gain > 5


@pytest.mark.parametrize("sigma", [15.0, 25.0, 50.0])
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("steps", [None, 1, 5])
def test_the_denoising_model_takes_out_noise(sigma, told, steps):
    rows, columns = torch.linspace(0, 1, 96)[:, None], torch.linspace(0, 1, 121)[None]
    waves = [0.5 + 0.3 * torch.sin(19 * rows + k) * torch.cos(17 * columns) for k in range(3)]
    clean = torch.stack(waves)[None]
    noisy = clean + sigma / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))
    restorer = Restorer.from_pretrained("irsde-denoise-tiny", device="cpu", dtype="fp32")
    settings = Settings(steps, sigma=sigma if told else None)
    assert psnr(restorer.restore(noisy, settings), clean) - psnr(noisy, clean) > 8


@pytest.mark.parametrize(
    ("task", "recipe", "scale", "gain"),
    [
        ("deblur", "blur:0.5", None, 0.1),
        ("upscale", "lowres2", 2, 0.5),
        ("upscale", "lowres4", 4, 0.2),
        ("dejpeg", "jpeg:0.765", None, 0.4),
        ("enhance", "lowlight:0.5", None, 5),
        ("dehaze", "haze:0.5", None, 2),
        ("deshadow", "shadow:0.8", None, 1),
    ],
)
def test_the_models_of_several_tasks_do_them(task, recipe, scale, gain):
    """In the mean of two photographs that none of them was trained on, each damaged eight times."""
    restorer = Restorer.from_pretrained(task=task, scale=scale, device="cpu", dtype="fp32")
    gains = []
    for name in ("rddm-derain-tiny", "rddm-tone-tiny"):
        clean = picture(embedded()[name], "clean")
        for seed in range(8):
            y = degrade(clean, recipe, strength=1.0, rng=torch.Generator().manual_seed(seed)).clamp(0, 1)
            before = psnr(y, clean)
            if scale:  # the recipe has enlarged it again, which the model does by itself
                y = (reduced(clean, scale).clamp(0, 1) * 255).round() / 255
            gains.append(psnr(restorer.restore(y, Settings()), clean) - before)
    assert sum(gains) / len(gains) > gain, gains


def waves(height, width):
    rows, columns = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)[None]
    return torch.stack([0.5 + 0.3 * torch.sin(19 * rows + k) * torch.cos(17 * columns) for k in range(3)])[None]


@pytest.fixture(scope="module")
def prior():
    return Restorer.from_pretrained("ddpm-natural-tiny", device="cpu", dtype="fp32")


@pytest.mark.parametrize(("word", "sigma", "gain"), [("sr:4", 0, 2), ("denoise", 25, 6), ("blur:gauss:2", 10, 6)])
def test_the_prior_restores_and_hears_the_noise(prior, word, sigma, gain):
    clean, zero = waves(72, 96), ZeroShot(word, sigma=sigma, simulate=True)
    settings = check(prior, Settings(10), zero, masked=False)
    problem = pose(zero, clean, None, (-1.0, 1.0), 0, torch.zeros(()))
    got = solve(prior, problem, settings, zero)
    base = ((problem.op.pinv(problem.y) + 1) / 2).clamp(0, 1)
    assert psnr(got, clean) > psnr(base, clean) + gain
    left = consistency(problem, got, (-1.0, 1.0))
    assert 0.7 < left / sigma < 1.3 if sigma else left < 1e-2


def test_windows_of_the_prior_leave_no_seam(prior):
    """The mean step across a window's edge is at most 1.1 times that elsewhere."""
    y = waves(16, 64) + 0.05 * torch.randn(1, 3, 16, 64, generator=torch.Generator().manual_seed(0))
    got = reconstruct(prior, y.clamp(0, 1), Settings(5), ZeroShot("sr:4", tile=32))
    over = windows((64, 256), 32, 9, 8)
    steps = got.diff(dim=-1).abs().mean((0, 1, 2))
    edges = sorted({left - 1 for _, left in over.corners} | {left + 31 for _, left in over.corners})
    at_edge = torch.zeros(len(steps), dtype=torch.bool)
    at_edge[[edge for edge in edges if 0 <= edge < len(steps)]] = True
    assert at_edge.sum() > 15
    assert steps[at_edge].mean() <= 1.1 * steps[~at_edge].mean()


def test_diffusers_loads_the_prior_and_draws_the_same(prior, tmp_path):
    from diffusers import DDIMPipeline

    to_ddim(opened("ddpm-natural-tiny"), tmp_path / "diffusers")
    theirs = DDIMPipeline.from_pretrained(str(tmp_path / "diffusers"))
    theirs.set_progress_bar_config(disable=True)
    words = {"num_inference_steps": 4, "eta": 0.0, "generator": torch.Generator().manual_seed(5), "output_type": "np"}
    wanted = torch.from_numpy(theirs(batch_size=1, **words).images).permute(0, 3, 1, 2)
    assert (next(prior.generate(1, seed=5, steps=4)) - wanted).abs().max() < 1e-3


def test_diffusers_loads_the_folder_of_the_prior_itself(prior):
    from diffusers import DDIMPipeline, UNet2DModel

    folder = embedded()["ddpm-natural-tiny"]
    theirs = UNet2DModel.from_pretrained(folder, subfolder="unet").eval()
    x, t = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([500.0])
    with torch.no_grad():
        assert (theirs(x, t).sample - prior.denoiser.net(x, t)).abs().max() < 1e-5
    assert DDIMPipeline.from_pretrained(folder).scheduler.config.prediction_type == "v_prediction"


def test_the_prior_runs_from_its_file_alone():
    file = find("ddpm-natural-tiny").weights
    alone = Restorer.from_pretrained(str(file), device="cpu", dtype="fp32")
    assert torch.equal(next(alone.generate(1, seed=1, steps=2)), next(alone.generate(1, seed=1, steps=2)))
    assert alone.entry.name == "ddpm-natural-tiny"
