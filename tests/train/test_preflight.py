"""A dry run finds each fault that is planted in the pictures and none where there is none, and says what it takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_training import toy

from restorer.degrade import degrade
from restorer.errors import UsageError
from restorer.images import read
from restorer.train.alignment import alike, shift_of, thumbnail
from restorer.train.preflight import SHEET, preflight

EXAMPLES = Path(__file__).parents[2] / "examples"
DAMAGES = ("rain", "drops", "noise")
CPU = torch.device("cpu")
PAIRED = ("data.lq=LQ", "data.gt=GT", "data.clean=[]", "data.damage=[]", "data.validation=val", "data.patch_size=32")


def texture(seed: int, size: tuple[int, int] = (96, 80)) -> np.ndarray:
    """A picture (height, width, 3) with detail of every size, as photographs have."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((size[1], size[0], 3))
    for grain in (2, 4, 8, 16, 32):
        coarse = rng.random((size[1] // grain + 2, size[0] // grain + 2, 3))
        picture += np.kron(coarse, np.ones((grain, grain, 1)))[: size[1], : size[0]] * grain**0.5
    return (picture / picture.max() * 255).astype("uint8")


def save(picture: np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(file)


@pytest.fixture
def pairs(root: Path) -> Path:
    """Three pairs to train on and one to validate on, all as they should be."""
    for i, folder in enumerate(("", "", "", "val")):
        save(texture(i), root / folder / "GT" / f"{i}.png")
        save(texture(i) // 2, root / folder / "LQ" / f"{i}.png")
    return root


def found(root: Path, *overrides: str) -> tuple[str, ...]:
    return preflight(toy(root, *PAIRED, *overrides), root, root / "run", CPU).problems


def test_pictures_without_a_fault_are_ready(pairs):
    result = preflight(toy(pairs, *PAIRED), pairs, pairs / "run", CPU)
    assert result.ready and result.pictures == 3 and result.remarks == ()
    assert read(pairs / "run" / SHEET).size[0] == 3 * 32 + 2 * 8
    assert result.needs.step_seconds > 0 and result.needs.hours > 0 and result.needs.bytes > 1e6
    assert [file.name for file in (pairs / "run").iterdir()] == [SHEET]


def plant_lonely(root):
    (root / "LQ" / "1.png").rename(root / "LQ" / "one.png")


def plant_lonely_validation(root):
    (root / "val" / "LQ" / "3.png").rename(root / "val" / "LQ" / "x.png")


def plant_shift(root):
    save(np.roll(texture(1), (2, -3), (0, 1)) // 2, root / "LQ" / "1.png")


def plant_size(root):
    save(texture(1)[:-2] // 2, root / "LQ" / "1.png")


def plant_small(root):
    for side in ("LQ", "GT"):
        save(texture(1, (40, 30)), root / side / "1.png")


def plant_corrupt(root):
    file = root / "GT" / "1.png"
    file.write_bytes(file.read_bytes()[:-900])


def plant_duplicate(root):
    save(texture(1), root / "val" / "GT" / "3.png")
    save(texture(1) // 2, root / "val" / "LQ" / "3.png")


@pytest.mark.parametrize(
    ("plant", "sentences"),
    [
        (plant_lonely, ["GT/1.png: no picture of that name in", "LQ/one.png: no picture of that name"]),
        (plant_lonely_validation, ["val/GT/3.png: no picture", "val/LQ/x.png: no picture"]),
        (plant_shift, ["LQ/1.png: lies -3 pixels right and 2 down of"]),
        (plant_size, ["LQ/1.png: 96x78, and", "is 96x80; make them of one size"]),
        (plant_small, ["GT/1.png: 40x30 is smaller than the patch of 32"]),
        (plant_corrupt, ["GT/1.png"]),
        (plant_duplicate, ["val/GT/3.png: shows the same as", "GT/1.png; leave one of them out"]),
    ],
)
def test_each_planted_fault_is_found(pairs, plant, sentences):
    plant(pairs)
    told = found(pairs)
    assert all(any(sentence in line for line in told) for sentence in sentences), told
    assert len(told) == len({line.split(":")[0] for line in told})


def test_a_copy_is_known_however_it_was_compressed_or_scaled(tmp_path):
    dog, other = (Image.open(EXAMPLES / name).convert("RGB") for name in ("dog.jpg", "colosseum.jpg"))
    dog.save(tmp_path / "a.jpg", quality=60)
    dog.resize((dog.width // 2, dog.height // 2), Image.Resampling.LANCZOS).save(tmp_path / "b.png")
    dog.save(tmp_path / "c.png")
    other.save(tmp_path / "d.png")
    seen = torch.stack([thumbnail(read(tmp_path / name).pixels) for name in ("a.jpg", "b.png", "c.png", "d.png")])
    assert alike(seen[:3], seen[2:]) == [(0, 0), (1, 0), (2, 0)]


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_no_damage_passes_for_a_shift(name, strength):
    for seed in range(3):
        clean = torch.from_numpy(texture(seed, (160, 128))).permute(2, 0, 1)[None] / 255
        damaged = degrade(clean, name, strength=strength, rng=torch.Generator().manual_seed(seed))
        if damaged.shape == clean.shape:
            assert shift_of(clean, damaged) is None


@pytest.mark.parametrize("length", [9, 25])
def test_motion_and_noise_do_not_pass_for_a_shift(length):
    clean = torch.from_numpy(texture(1, (160, 128))).permute(2, 0, 1)[None] / 255
    kernel = torch.ones(3, 1, 1, length) / length
    moved = torch.nn.functional.conv2d(clean, kernel, padding=(0, length // 2), groups=3)
    assert shift_of(clean, moved) is None
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    assert shift_of(clean, 0.05 * clean + noise) is None


def test_a_step_that_fails_is_a_problem(pairs):
    assert any("lower train.lr" in line for line in found(pairs, "train.lr=1e30", "train.warmup=0", "train.clip=1e30"))


@pytest.mark.parametrize("shift", [(1, 0), (-1, 2), (7, -5), (0, 30)])
def test_a_shift_is_found_under_damage(shift):
    clean = read(EXAMPLES / "dog.jpg").pixels[..., :256, :256]
    for name in DAMAGES:
        damaged = degrade(clean, name, strength=0.5, rng=torch.Generator().manual_seed(0))
        if damaged.shape == clean.shape:
            assert shift_of(clean, damaged.roll((shift[1], shift[0]), (2, 3))) == shift


def test_what_cannot_work_is_an_error_at_once(pairs):
    with pytest.raises(UsageError, match="Unknown loss"):
        found(pairs, "train.loss=l3")


def test_the_command_ends_with_ready_or_a_list(pairs, cli):
    words = ["train", pairs, "-c", pairs / "train.toml", "-o", pairs / "run", "-d", "cpu", "--dry-run"]
    words += [word for override in PAIRED for word in ("--set", override)]
    fine = cli(*words, model=False)
    assert fine.exit_code == 0 and fine.stdout == "ready\n", fine.output
    for said in ("3 pictures", "pairs.png", "hours", "GB of memory", "s a step"):
        assert said in fine.stderr
    told = json.loads(cli(*words, "--json", model=False).stdout)
    assert told["ready"] and told["problems"] == [] and told["step_seconds"] > 0
    plant_shift(pairs)
    plant_lonely_validation(pairs)
    faulty = cli(*words, model=False)
    assert faulty.exit_code == 1 and len(faulty.stdout.splitlines()) == 3
    assert "ready" not in faulty.stdout
