"""Training: recipes, data, and a loop that can stop and go on."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_training import toy as recipe

from restorer.card import README, readme
from restorer.errors import ImageError, InputError, UsageError
from restorer.load import find
from restorer.restore import Restorer
from restorer.train.checkpoint import LOG, MODEL, STATE, load_checkpoint
from restorer.train.config import Config, Data, Optimise, read_config
from restorer.train.data import Crops, training_pairs, validation_set
from restorer.train.loop import train
from restorer.train.optimise import OPTIMISERS, build_optimiser, draw_times, learning_rate

CPU = torch.device("cpu")


def run(config: Config, root: Path, name: str, *, resume: bool = True) -> list:
    return list(train(config, root, root / name, CPU, resume=resume))


# ---------------------------------------------------------------------------------------------------- recipes


def test_every_recipe_that_ships_parses_and_names_what_exists():
    shipped = sorted(Path("models").glob("*/train.toml"))
    assert shipped
    for file in shipped:
        config = read_config(file, [])
        assert config.name == file.parent.name


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.stpes=3", "did you mean 'steps'"),
        ("train.steps=often", "not a whole number"),
        ("train.steps=0", "at least 1"),
        ("train.keep=-1", "keep must be at least 0"),
        ("train.lr_schedule=stairs", "cosine or step or constant"),
        ("train.lr_schedule=step", "needs lr_steps"),
        ("train.betas=[0.9, 1.0]", "from 0 to below 1"),
        ("data.corrupt=hide", "stop or skip"),
        ("prepare=equalize", "learned from pairs"),
        ("train.mixed_precision=fp8", "no or bf16 or fp16"),
        ("data.lq=lq", "either clean folders"),
        ("data.damage=[]", "need a damage"),
        ("nothing", "expected KEY=VALUE"),
        ("name.deep=1", "is no table"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(root, override, sentence):
    with pytest.raises(UsageError, match=sentence):
        recipe(root, override)


def test_later_overrides_win_and_bare_words_are_texts(root):
    config = recipe(root, "train.lr=1", "train.lr=2e-4", "train.loss=l2")
    assert (config.train.lr, config.train.loss) == (2e-4, "l2")


# ---------------------------------------------------------------------------------------------------- data


def test_a_crop_depends_on_seed_and_index_alone(root):
    config = recipe(root)
    pairs = training_pairs(root, config.data)
    first, again = (Crops(pairs, config.data.damage, 16, seed=3) for _ in range(2))
    again[7]  # what was asked before does not matter
    assert all(torch.equal(a, b) for a, b in zip(first[5][:2], again[5][:2], strict=True))
    assert not torch.equal(first[5][0], first[6][0])
    assert not torch.equal(first[5][0], Crops(pairs, config.data.damage, 16, seed=4)[5][0])


def test_pairs_are_cropped_alike(root):
    (root / "lq").mkdir()
    for file in (root / "clean").iterdir():
        darker = np.asarray(Image.open(file)) // 2
        Image.fromarray(darker).save(root / "lq" / file.name)
    data = Data(lq="lq", gt="clean", patch_size=16)
    x0, y, *_ = Crops(training_pairs(root, data), (), 16, seed=0)[0]
    assert torch.equal((x0 * 255).round() // 2, (y * 255).round())


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (Data(lq="half", gt="clean"), "2 pictures are in only one of .*: 2.png, 3.png"),
        (Data(lq="nowhere", gt="clean"), "no such folder"),
        (Data(lq="empty", gt="clean"), "no pictures in it"),
    ],
)
def test_data_that_cannot_work_is_named(root, data, sentence):
    (root / "half").mkdir()
    (root / "empty").mkdir()
    for name in ("0.png", "1.png"):
        (root / "half" / name).write_bytes((root / "clean" / name).read_bytes())
    with pytest.raises(InputError, match=sentence):
        training_pairs(root, data)


def test_excluded_pictures_are_left_out_and_must_exist(root):
    kept = training_pairs(root, recipe(root, 'data.exclude=["clean/2.png"]').data)
    assert [pair.gt.name for pair in kept] == ["0.png", "1.png", "3.png"]
    with pytest.raises(InputError, match=r"7\.png: excluded"):
        training_pairs(root, recipe(root, 'data.exclude=["clean/7.png"]').data)


def test_a_picture_smaller_than_the_patch_is_named(root):
    config = recipe(root, "data.patch_size=64")
    with pytest.raises(InputError, match=r"50x40 is smaller than the patch of 64"):
        Crops(training_pairs(root, config.data), config.data.damage, 64, seed=0)[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_cannot_serve_stops_the_run_with_its_own_sentence(root, workers):
    for file in (root / "clean").iterdir():
        file.write_bytes(file.read_bytes()[:-30])
    config = recipe(root, f"train.workers={workers}", "data.validation_pictures=0")
    with pytest.raises(ImageError) as caught:
        run(config, root, "run")
    assert len(str(caught.value).splitlines()) == 1


def test_a_net_of_other_channels_than_it_is_shown_is_refused(root):
    with pytest.raises(UsageError, match=r"the net must make \(3, 8, 8\) of \(3, 8, 8\), but fails"):
        run(recipe(root, 'predict.input=["x"]'), root, "run")


def test_a_patch_that_the_net_cannot_fold_is_refused(root):
    with pytest.raises(UsageError, match="patch_size 18 is no multiple of 4"):
        run(recipe(root, "data.patch_size=18"), root, "run")


def test_validation_pictures_may_be_of_any_size(root):
    progress = run(recipe(root, "data.validation_crop=37", "train.steps=1"), root, "run")
    assert progress[-1].psnr > 0


def test_validation_reads_pairs_or_makes_them(root):
    made = validation_set(root, recipe(root).data)
    assert [tuple(x0.shape) for x0, *_ in made] == [(1, 3, 32, 32)] * 2
    for side in ("GT", "LQ"):
        (root / "val" / side).mkdir(parents=True)
        (root / "val" / side / "a.png").write_bytes((root / "clean" / "0.png").read_bytes())
    [(x0, y, *_)] = validation_set(root, recipe(root, "data.validation=val").data)
    assert torch.equal(x0, y)


# ---------------------------------------------------------------------------------------------------- the loop


def test_a_run_leaves_a_model_that_restores(root):
    progress = run(recipe(root), root, "run")
    assert [p.step for p in progress] == list(range(1, 9))
    assert [p.psnr is not None for p in progress] == [False] * 3 + [True] + [False] * 3 + [True]
    with (root / "run" / LOG).open() as log:
        assert [float(row["loss"]) for row in csv.DictReader(log)] == [p.loss for p in progress]
    entry = find(str(root / "run" / MODEL)).entry
    assert entry.size.multiple == 4
    assert (root / "run" / MODEL / README).read_text() == readme(entry)
    for model in (root / "run" / MODEL, root / "run" / MODEL / "model.safetensors"):
        restored = Restorer.from_pretrained(str(model))(torch.rand(3, 21, 17))
        assert restored.shape == (3, 21, 17)


def test_in_sixty_steps_the_loss_falls_to_less_than_half(root):
    more = ('data.damage=[{recipe="rain", strength=[0.9, 0.9]}]', "train.lr=1e-2", "train.batch_size=4")
    losses = [now.loss for now in run(recipe(root, *more, "train.steps=60", "data.validation_pictures=0"), root, "run")]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_training_learns(root):
    config = recipe(root, "train.steps=60", "train.lr=3e-3", "train.val_every=60", "data.validation_pictures=4")
    shown = validation_set(root, config.data)
    before = sum(math.log10(float((x0 - y).square().mean())) for x0, y, *_ in shown) * -10 / 4
    assert run(config, root, "run")[-1].psnr > before + 0.5


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(root):
    whole = run(recipe(root), root, "whole")
    stopping = train(recipe(root), root, root / "parts", CPU)
    for progress in stopping:
        if progress.step == 5:  # the checkpoint is of step 4
            stopping.close()
            break
    rest = run(recipe(root), root, "parts")
    assert [p.step for p in rest] == [5, 6, 7, 8]
    assert [p.loss for p in rest] == [p.loss for p in whole[4:]]
    logs = [(root / name / LOG).read_text().splitlines() for name in ("whole", "parts")]
    assert [row.split(",")[:4] for row in logs[0]] == [row.split(",")[:4] for row in logs[1]]
    first, second = (load_checkpoint(root / name / STATE) for name in ("whole", "parts"))
    assert all(torch.equal(first.ema[key], second.ema[key]) for key in first.ema)


def test_a_checkpoint_of_another_recipe_is_refused(root):
    run(recipe(root), root, "run")
    other = recipe(root, "net.widths=[8, 16]", "train.steps=9")
    with pytest.raises(UsageError, match="made by another recipe"):
        run(other, root, "run")
    assert len(run(other, root, "run", resume=False)) == 9


def test_a_file_that_is_no_checkpoint_is_refused(root):
    (root / "run").mkdir()
    (root / "run" / STATE).write_bytes(b"not a checkpoint")
    with pytest.raises(UsageError, match="not a checkpoint"):
        run(recipe(root), root, "run")


def test_a_loss_that_is_no_number_stops_the_run(root):
    with pytest.raises(UsageError, match=r"lower train\.lr"):
        run(recipe(root, "train.lr=1e30", "train.warmup=0", "train.clip=1e30"), root, "run")


def test_times_cover_the_schedule_and_dwell_on_its_noisy_end():
    t = draw_times(20_000, 10, 2.0, torch.Generator().manual_seed(0))
    share = torch.bincount(t, minlength=11) / len(t)
    assert share[0] == 0
    # density t^(2-1) on the unit interval, cut into ten
    torch.testing.assert_close(share[1:], (torch.arange(1, 11) ** 2 - torch.arange(10) ** 2) / 100, atol=0.01, rtol=0)


def test_the_learning_rate_warms_up_and_falls_to_its_end():
    course = Optimise(steps=100, lr=1.0, warmup=10, final_lr=0.01)
    rates = [learning_rate(course, step) for step in range(1, 101)]
    assert rates[0] < 0.11 and max(rates) == rates[9] and rates[-1] == pytest.approx(0.01)


def test_the_learning_rate_may_go_down_stairs_or_stay():
    stairs = Optimise(steps=8, lr=1.0, warmup=0, lr_schedule="step", lr_steps=(2, 5), lr_factor=0.5)
    assert [learning_rate(stairs, step) for step in range(1, 9)] == [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    flat = Optimise(steps=8, lr=0.5, warmup=2, lr_schedule="constant")
    assert [learning_rate(flat, step) for step in range(1, 9)] == [0.25, *[0.5] * 7]


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_optimiser_goes_down(optimiser):
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    course = Optimise(optimiser=optimiser, lr=0.05, weight_decay=0.0)
    descent = build_optimiser(course, [weight])
    for _ in range(30):
        descent.zero_grad()
        weight.square().sum().backward()
        descent.step()
    assert weight.square().sum() < 2.5


def test_lion_moves_every_weight_by_the_learning_rate():
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    descent = build_optimiser(Optimise(optimiser="lion", lr=0.1, betas=(0.9, 0.99), weight_decay=0.5), [weight])
    weight.grad = torch.tensor([3.0, -1e-3])
    descent.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([0.95 - 0.1, -1.9 + 0.1]))
    torch.testing.assert_close(descent.state[weight]["mean"], torch.tensor([0.03, -1e-5]))


# ---------------------------------------------------------------------------------------------------- new pictures

DRAWS = [
    "task=generate",
    "method=ddpm",
    'net={arch="ddpm_unet", widths=[8, 8], layers=1, attention=[false, true], groups=4}',
    'schedule={kind="vp", T=20}',
    'predict={output="eps", input=["x"]}',
    'sample={sampler="ddim", steps=2}',
    "data.damage=[]",
]


def test_a_model_that_draws_learns_from_clean_pictures_alone(root):
    text = (root / "train.toml").read_text().replace('validation = "clean"', "")
    (root / "train.toml").write_text(text)
    losses = [now.loss for now in run(recipe(root, *DRAWS, "train.steps=60", "train.lr=3e-3"), root, "run")]
    assert sum(losses[-15:]) < sum(losses[:15])
    model = Restorer.from_pretrained(str(root / "run" / "model"), device="cpu", dtype="fp32")
    [drawn] = model.generate(1, size=(16, 16))
    assert drawn.shape == (1, 3, 16, 16) and drawn.isfinite().all()


def test_a_model_that_draws_takes_no_damage_and_no_validation(root):
    for wrong in (DRAWS, [*DRAWS[:-1], "data.validation_pictures=3"]):
        with pytest.raises(UsageError, match="learns from clean ones alone"):
            recipe(root, *wrong)
