"""Training IR-SDE: its recipes, its objectives, and models that begin at the noisy picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from restorer.errors import UsageError
from restorer.restore import Restorer
from restorer.settings import Settings
from restorer.train.config import BUILT_IN, read_config
from restorer.train.data import Crops, training_pairs, validation_set
from restorer.train.loop import train

CPU = torch.device("cpu")
QUICK = [
    'net={arch="plain_unet", widths=[16, 16], depths=[1, 1]}',
    'data.clean=["."]',
    "data.patch_size=16",
    "train.steps=6",
    "train.batch_size=4",
    "train.workers=0",
    "train.save_every=3",
    "train.val_every=6",
]
OFFICIAL = 'predict={output="euler_eps", input=["x-y", "y"], time="t", range=[0.0, 1.0], clip="none"}'
DENOISING = [
    "task=denoise",
    'net={arch="plain_unet", in_channels=3, widths=[16, 16], depths=[1, 1]}',
    'schedule={kind="denoising-sde"}',
    'predict={output="eps", input=["x"], time="t", range=[0.0, 1.0], clip="none"}',
    'sample={sampler="ode-2", steps=10, begin="picture"}',
    "train.objective=noise",
    'data.validation="."',
    "data.validation_pictures=2",
    "data.validation_crop=32",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    rows, columns = np.mgrid[0:40, 0:48] / 48
    for i in range(3):
        picture = np.stack([rows, columns, 0.3 + 0.2 * np.sin((i + 2) * rows)], axis=-1) * 0.6 + 0.2
        Image.fromarray((picture * 255).astype("uint8")).save(tmp_path / "data" / f"{i}.png")
    return tmp_path


def run(root, *overrides, name="run", resume=True):
    config = read_config(None, [*QUICK, *overrides], "irsde")
    return list(train(config, root / "data", root / name, CPU, resume=resume))


@pytest.mark.parametrize("method", BUILT_IN)
def test_every_built_in_recipe_parses_and_says_its_method(method):
    config = read_config(None, ['data.lq="LQ"', 'data.gt="GT"'], method)
    assert config.method == method


@pytest.mark.parametrize(
    ("objective", "output"), [("outputs", "res"), ("matching", "euler_eps"), ("matching", "eps"), ("noise", "eps")]
)
def test_the_loss_falls_and_the_model_restores(root, objective, output):
    told = [] if output == "res" else [OFFICIAL, f"train.objective={objective}", f"predict.output={output}"]
    chosen = [*told, 'data.damage=[{recipe="rain"}]']
    # Much noise, of which a small net can learn something in a few steps.
    loud = ['schedule={kind="irsde", max_sigma=100.0}', "sample.start=0.392", "train.batch_size=8"]
    losses = [step.loss for step in run(root, *chosen, *loud, "train.steps=120", "train.lr=3e-3", "train.warmup=5")]
    assert sum(losses[-30:]) < 0.8 * sum(losses[:30])
    model = Restorer.from_pretrained(str(root / "run" / "model"), device="cpu", dtype="fp32")
    assert model.entry.predict.output == output
    picture = torch.rand(1, 3, 21, 34, generator=torch.Generator().manual_seed(0))
    for sampler in ("ode-2", "posterior", "irsde-euler"):
        restored = model.restore(picture, Settings(5, sampler=sampler))
        assert restored.shape == picture.shape and restored.isfinite().all()


def test_denoising_needs_no_damage_and_scores_at_the_level_of_the_recipe(root):
    config = read_config(None, [*QUICK, *DENOISING, "data.validation_sigma=50"], "irsde")
    x0, y, *_ = Crops(training_pairs(root / "data", config.data), (), 16, seed=0)[0]
    assert torch.equal(x0, y)
    for clean, noisy, *_ in validation_set(root / "data", config.data):
        assert float((noisy - clean).std()) == pytest.approx(50 / 255, rel=0.03)
        assert not torch.equal(noisy.clamp(0, 1), noisy)
    steps = run(root, *DENOISING, "train.steps=150", "train.val_every=150", "train.lr=3e-3", "train.warmup=5")
    assert steps[-1].psnr > 20.17 + 1  # what noise of 25 levels has, and something


def test_a_run_that_stops_goes_on_as_if_it_had_not(root):
    whole = [step.loss for step in run(root, *DENOISING, name="whole")]
    first = run(root, *DENOISING, "train.steps=6", name="parts")[:3]
    config = read_config(None, [*QUICK, *DENOISING], "irsde")
    parts = train(config, root / "data", root / "stopped", CPU)
    stopped = [next(parts).loss for _ in range(3)]
    parts.close()
    rest = [step.loss for step in train(config, root / "data", root / "stopped", CPU)]
    assert stopped + rest == whole == [step.loss for step in first] + whole[3:]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.objective=outputs", "euler_eps is trained with the objective matching"),
        ("train.objective=noise", "The objective noise is for nets that say eps, not euler_eps"),
        ("train.objective=matchign", "did you mean 'matching'"),
    ],
)
def test_an_objective_that_does_not_fit_is_a_sentence(root, override, sentence):
    with pytest.raises(UsageError, match=sentence):
        run(root, OFFICIAL, override, 'data.damage=[{recipe="rain"}]')


def test_only_models_that_begin_at_the_picture_need_no_damage(root):
    with pytest.raises(UsageError, match="clean pictures need a damage"):
        run(root)
