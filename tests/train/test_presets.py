"""The papers' recipes: each parses, its net can be built and used, and the run's own recipe reads back as itself."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from toy_training import toy

from restorer.diffusion.losses import check_objective
from restorer.diffusion.predict import OUTPUTS
from restorer.errors import UsageError
from restorer.load import build_net, build_schedule, check_names, denoiser
from restorer.train.begin import check_words
from restorer.train.config import BUILT_IN, read_config
from restorer.train.optimise import build_optimiser
from restorer.train.recipes import RECIPE, as_toml, preset, presets

PAIRS = ('data.lq="LQ"', 'data.gt="GT"')


@pytest.mark.parametrize("name", presets())
def test_every_preset_parses_and_builds_its_net(name):
    config = read_config(preset(name), (), layout=PAIRS)
    assert config.name in (name, "my-model") and preset(name).read_text().startswith("# ")
    check_words(config)
    schedule = build_schedule(config.schedule)
    with torch.device("meta"):
        net = build_net(config.net)
        fed = 3 * len(config.predict.input)
        said = net(torch.empty(1, fed, 64, 64), torch.empty(1))
    assert said.shape == (1, 3 * OUTPUTS[config.predict.output].count, 64, 64)
    entry = config.entry(net.multiple)
    check_names(entry)
    check_objective(config.train.objective, denoiser(net, schedule, entry))
    build_optimiser(config.train, net.parameters())
    assert config.data.patch_size % net.multiple == 0


@pytest.mark.parametrize(
    ("name", "lr", "batch", "steps"),
    [
        ("rddm-raindrop", 8e-5, 2, 120_000),
        ("rddm-lol", 8e-5, 2, 80_000),
        ("rddm-celeba64", 2e-4, 256, 100_000),
        ("irsde-derain", 1e-4, 4, 700_000),
        ("irsde-denoise", 1e-4, 8, 700_000),
        ("refusion-deblur", 4e-5, 4, 700_000),
        ("refusion-denoise", 3e-5, 8, 700_000),
    ],
)
def test_a_preset_states_the_papers_settings(name, lr, batch, steps):
    course = read_config(preset(name), (), layout=PAIRS).train
    assert (course.lr, course.pictures, course.steps) == (lr, batch, steps)


def test_readme_names_every_preset():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert [name for name in presets() if name not in BUILT_IN and f"`{name}`" not in readme] == []


def test_a_name_that_is_no_preset_is_told_the_nearest(root):
    with pytest.raises(UsageError, match="did you mean 'rddm-raindrop'"):
        read_config((root / "x").relative_to(root).with_name("rddm-raindrp"), ())
    with pytest.raises(UsageError, match=r"rddm\.toml: cannot read the recipe"):
        read_config((root / "rddm.toml"), ())


@pytest.mark.parametrize("name", presets())
def test_a_recipe_that_is_written_reads_as_itself(name, tmp_path):
    config = read_config(preset(name), ('license="a \\" b"', "train.lr=1e-05"), layout=PAIRS)
    (tmp_path / RECIPE).write_text(as_toml(asdict(config)))
    assert read_config(tmp_path / RECIPE, ()) == config


def test_a_run_keeps_its_recipe_as_resolved(root, go):
    go("run", "train.steps=1", "train.lr=2e-3")
    assert read_config(root / "run" / RECIPE, ()) == toy(root, "train.steps=1", "train.lr=2e-3")
