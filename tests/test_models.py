"""The models that come with restorer: each card is true, and each model does its work."""

from __future__ import annotations

import pytest
import torch

from restorer.degrade import degrade
from restorer.entry import card, default_model, embedded, parse_entry, read_entry
from restorer.load import card_inside, find, hash_file
from restorer.metrics import psnr
from restorer.restore import Restorer
from restorer.settings import Settings
from restorer.train.config import read_config

MODELS = sorted(embedded())
LARGEST = {"rddm-derain-tiny": 6_000_000, "irsde-denoise-tiny": 6_000_000}  # bytes of weights


def test_there_are_models():
    assert set(LARGEST) == set(MODELS)
    assert default_model("derain") == "rddm-derain-tiny"
    assert default_model("denoise") == "irsde-denoise-tiny"


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


@pytest.mark.parametrize("steps", [1, 5])
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
def test_the_denoising_model_takes_out_noise(sigma, told):
    rows, columns = torch.linspace(0, 1, 96)[:, None], torch.linspace(0, 1, 121)[None]
    waves = [0.5 + 0.3 * torch.sin(19 * rows + k) * torch.cos(17 * columns) for k in range(3)]
    clean = torch.stack(waves)[None]
    noisy = clean + sigma / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))
    restorer = Restorer.from_pretrained("irsde-denoise-tiny", device="cpu", dtype="fp32")
    settings = Settings(sigma=sigma if told else None)
    assert psnr(restorer.restore(noisy, settings), clean) - psnr(noisy, clean) > 8
