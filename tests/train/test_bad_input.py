"""Pictures, disks and numbers that fail: one sentence each, and what was kept stays whole."""

from __future__ import annotations

import resource
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from toy_training import toy

from restorer.errors import ImageError, InputError, UsageError
from restorer.train.checkpoint import STATE, load_checkpoint
from restorer.train.data import Crops, Pair, crops_of, training_pairs
from restorer.train.loop import train


def spoil(file):
    file.write_bytes(file.read_bytes()[:-30])


@pytest.fixture
def full_disk():
    """A disk on which no file may be larger than so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(most: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))

    yield full
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_picture_stops_the_run_or_is_skipped_and_named(root, go, workers):
    spoil(root / "clean" / "1.png")
    more = (f"train.workers={workers}", "data.validation_pictures=0", "train.steps=6")
    with pytest.raises(ImageError, match=r"clean/1\.png"):
        go("stopped", *more)
    course = go("skipping", *more, "data.corrupt=skip")
    told = [sentence for now in course for sentence in now.warnings]
    assert len(course) == 6 and len(told) == 1 and "Skipped: " in told[0] and "1.png" in told[0]


def test_a_picture_that_is_skipped_does_not_change_what_depends_on_the_seed(root):
    spoil(root / "clean" / "1.png")
    first, second = (crops_of(root, toy(root, "data.corrupt=skip")) for _ in range(2))
    second[3]
    assert all(torch.equal(a, b) for i in range(8) for a, b in zip(first[i][:2], second[i][:2], strict=True))


def test_a_folder_of_corrupt_pictures_stops_the_run_even_so(root, go):
    for file in (root / "clean").iterdir():
        spoil(file)
    with pytest.raises(ImageError):
        go("run", "data.corrupt=skip", "data.validation_pictures=0")


def test_an_empty_folder_is_named(root, go):
    shutil.rmtree(root / "clean")
    (root / "clean").mkdir()
    with pytest.raises(InputError, match="clean: no pictures in it"):
        go("run")


def test_every_mismatch_is_listed(root):
    (root / "lq").mkdir()
    for i in range(20):
        shutil.copy(root / "clean" / "0.png", root / "lq" / f"x{i}.png")
    with pytest.raises(InputError) as caught:
        training_pairs(root, toy(root, "data.lq=lq", "data.gt=clean", "data.clean=[]").data)
    assert "24 pictures" in str(caught.value) and all(f"x{i}.png" in str(caught.value) for i in range(20))


def test_a_pair_of_two_sizes_is_named(root):
    Image.new("RGB", (50, 41)).save(root / "other.png")
    crops = Crops([Pair(root / "clean" / "0.png", root / "other.png")], (), 16, seed=0)
    with pytest.raises(InputError, match=r"other\.png: 50x41, and .*0\.png is 50x40"):
        crops[0]


def test_a_batch_larger_than_the_data_is_told_and_does_no_harm(root, go):
    course = go("run", "train.batch_size=5", "train.steps=2")
    assert "A step sees 5 crops, and there are 4 pictures" in course[0].warnings[0]
    assert course[1].warnings == () and go("fits", "train.batch_size=4", "train.steps=1")[0].warnings == ()


def test_a_loss_that_is_no_number_leaves_the_last_good_checkpoint(root):
    course = train(toy(root, "train.save_every=1"), root, root / "run", torch.device("cpu"))
    for _ in range(3):
        next(course)
    course.close()
    good = load_checkpoint(root / "run" / STATE)
    wild = toy(root, "train.save_every=1", "train.lr=1e30", "train.warmup=0", "train.clip=0")
    with pytest.raises(UsageError, match=r"The loss is (nan|inf) at step \d, .*last checkpoint is kept"):
        list(train(wild, root, root / "run", torch.device("cpu")))
    kept = load_checkpoint(root / "run" / STATE)
    assert kept.step == good.step and all(torch.equal(kept.net[key], good.net[key]) for key in good.net)


def test_a_full_disk_leaves_the_checkpoint_before_whole(root, go, full_disk):
    go("run", "train.steps=4", "train.save_every=2", "data.validation_pictures=0")
    size = (root / "run" / STATE).stat().st_size
    full_disk(size // 2)
    with pytest.raises(
        UsageError, match=r"last\.pt: the checkpoint of step 6 cannot be written .* make room"
    ) as caught:
        go("run", "train.save_every=2", "data.validation_pictures=0")
    assert len(str(caught.value).splitlines()) == 1
    assert load_checkpoint(root / "run" / STATE).step == 4
    assert not [file for file in (root / "run").iterdir() if file.name.startswith(".")]
    full_disk(10 * size)
    assert go("run", "train.save_every=2", "data.validation_pictures=0")[0].step == 5


# ---------------------------------------------------------------------------------------------------- crops


def test_crops_are_turned_and_mirrored_only_where_it_is_asked_for(root):
    pairs = training_pairs(root, toy(root).data)
    plain, turned = (Crops(pairs, (), 16, 0, rotate=rotate) for rotate in (False, True))
    ways = {
        turns for i in range(16) for turns in range(4) if torch.equal(plain[i][0].rot90(turns, (1, 2)), turned[i][0])
    }
    assert ways == {0, 1, 2, 3}
    still = Crops(pairs, (), 16, 0, flip=False)
    assert {torch.equal(plain[i][0], still[i][0]) for i in range(8)} == {True, False}
    assert all(
        torch.equal(plain[i][0].flip(-1), still[i][0]) or torch.equal(plain[i][0], still[i][0]) for i in range(8)
    )


def test_grey_and_deep_pictures_are_learned_from_as_they_are(tmp_path):
    deep = np.arange(40 * 40, dtype=np.uint16).reshape(40, 40) * 40
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray((deep >> 8).astype("uint8")).save(tmp_path / "grey.png")
    for name, levels in (("deep.png", 65535), ("grey.png", 255)):
        x0, *_ = Crops([Pair(tmp_path / name, None)], (), 16, seed=0)[0]
        assert x0.shape == (3, 16, 16) and torch.equal(x0[0], x0[1])
        assert torch.allclose(x0 * levels, (x0 * levels).round(), atol=1e-2)
        assert len((x0 * levels).round().unique()) > (200 if name == "deep.png" else 10)


def test_pictures_beyond_the_memory_are_read_anew(root, monkeypatch):
    from restorer.train import data

    pairs, reads = training_pairs(root, toy(root).data), []
    monkeypatch.setattr(data, "read", lambda file, own=data.read: reads.append(file) or own(file))
    everything, nothing = Crops(pairs, (), 16, 0), Crops(pairs, (), 16, 0, room=0)
    for crops, most in ((everything, 4), (nothing, 20)):
        reads.clear()
        for i in range(20):
            crops[i]
        assert len(reads) == most
    assert crops_of(root, toy(root, "data.cache_mb=3", "train.workers=3")).room == 1 << 20
