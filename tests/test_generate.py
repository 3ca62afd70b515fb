"""Pictures drawn from nothing: the seed alone decides, and files are written once and never over others."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from toy import NET, etas, toy_model, toy_net

from restorer import images
from restorer.diffusion.samplers import SAMPLERS
from restorer.errors import DeviceError, ImageError, ModelError, UsageError
from restorer.generate import Order, draw, order, run, sample, sheet_file
from restorer.images.many import gif, sheet
from restorer.restore import Restorer
from restorer.settings import Settings

PRIOR = {
    "task": "generate",
    "net": {**NET, "in_channels": 3},
    "schedule": {"kind": "rddm", "T": 100, "sum_scale": 1.0},
    "predict": {"output": "eps", "input": ["x"]},
    "size": {"trained": 16},
}
"""Laid over the toy's card: a model that draws."""


def prior_model(folder, dtype="fp32", **changes):
    folder = toy_model(folder, state=toy_net(in_channels=3).state_dict(), **{**PRIOR, **changes})
    return Restorer.from_pretrained(str(folder), device="cpu", dtype=dtype)


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    return prior_model(tmp_path_factory.mktemp("models") / "prior")


def all_of(*args, **more):
    return torch.cat(list(args[0].generate(*args[1:], **more)))


# pixels


def test_the_contract(prior):
    made = list(prior.generate(2, size=(20, 12), steps=2))
    assert [(one.shape, one.dtype, one.device.type) for one in made] == [((1, 3, 12, 20), torch.float32, "cpu")] * 2
    assert all(0 <= float(one.min()) < float(one.max()) <= 1 for one in made)
    assert next(prior.generate(steps=1)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_a_picture_is_the_same_in_any_batch(prior, eta, batch_size):
    together = all_of(prior, 5, seed=7, eta=eta, steps=4)
    assert torch.equal(all_of(prior, 5, seed=7, eta=eta, steps=4, batch_size=batch_size), together)
    assert torch.equal(all_of(prior, 1, seed=9, eta=eta, steps=4), together[2:3])
    assert (together[0] - together[1]).abs().max() > 0.1


def test_in_half_precision_a_batch_is_one_call_and_the_pictures_nearly_the_same(tmp_path):
    model = prior_model(tmp_path / "prior", dtype="bf16")
    shapes = []
    model.denoiser.net.register_forward_hook(lambda net, fed, made: shapes.append(len(fed[0])))
    together = all_of(model, 3, steps=2)
    assert shapes == [3, 3]
    assert (all_of(model, 3, steps=2, batch_size=1) - together).abs().max() < 0.05


def test_half_precision_that_overflows_is_drawn_in_full(tmp_path):
    state = toy_net(in_channels=3).state_dict() | {"exit.weight": torch.full((12, 8, 3, 3), 3e4)}
    folder = toy_model(tmp_path / "prior", state=state, **PRIOR)
    half, full = (Restorer.from_pretrained(str(folder), device="cpu", dtype=dtype) for dtype in ("fp16", "fp32"))
    assert torch.equal(all_of(half, 2, steps=2), all_of(full, 2, steps=2))


def test_what_is_no_number_is_refused(tmp_path):
    state = toy_net(in_channels=3).state_dict() | {"exit.bias": torch.full((12,), torch.nan)}
    folder = toy_model(tmp_path / "prior", state=state, **PRIOR)
    with pytest.raises(ImageError, match="toy gave values that are no numbers"):
        list(Restorer.from_pretrained(str(folder), device="cpu", dtype="fp32").generate())


def test_memory_that_runs_out_says_what_to_do(prior, monkeypatch):
    def none_left(*args):
        raise MemoryError

    monkeypatch.setattr("restorer.generate._draw", none_left)
    with pytest.raises(DeviceError, match="memory on cpu for 2 pictures at once; try a smaller --batch-size"):
        draw(prior, [0, 1], prior.settled(Settings()), size=(16, 16))


def test_the_start_is_noise_of_each_pictures_seed(prior):
    settings = prior.settled(Settings(2, 1.0, 0))
    first, *_ = sample(prior.denoiser, [3, 4], settings, "rddm", (8, 4), prior.device)
    for x, seed in zip(first.x, (3, 4), strict=True):
        assert torch.equal(x[None], torch.randn(1, 3, 4, 8, generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_trace_goes_from_noise_to_the_picture(tmp_path, sampler):
    model = prior_model(tmp_path / "prior", sample={"sampler": sampler})
    eta = etas(sampler, (0.5, 1.0, 0.0))[0]
    steps = []
    settings = model.settled(Settings(3, eta))
    [drawn] = draw(model, [5], settings, size=(16, 16), trace=True, after_step=lambda: steps.append(1))
    assert len(drawn.trace) == len(steps) + 1
    assert torch.equal(drawn.trace[-1], drawn.pixels)
    assert torch.equal(drawn.pixels, all_of(model, 1, seed=5, steps=3, eta=eta))
    noise = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    assert torch.equal(drawn.trace[0], ((noise + 1) / 2).clamp(0, 1))


def test_a_long_trace_is_thinned_out(tmp_path):
    model = prior_model(tmp_path / "prior", schedule={"T": 300})
    [drawn] = draw(model, [0], model.settled(Settings(300)), size=(8, 8), trace=True)
    assert len(drawn.trace) == 101
    assert torch.equal(drawn.trace[-1], drawn.pixels)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((18, 16), "toy draws pictures whose sides are multiples of 4 from 4 up, not 18x16."),
        ((16, 0), "multiples of 4 from 4 up, not 16x0."),
    ],
)
def test_sizes_that_the_net_cannot_draw(prior, size, words):
    with pytest.raises(UsageError, match=words):
        next(prior.generate(size=size))


def test_numbers_of_pictures_that_cannot_be(prior):
    assert list(prior.generate(0)) == []
    for words in ({"samples": -1}, {"batch_size": 0}):
        with pytest.raises(UsageError, match="samples must be 0 or more and batch_size at least 1"):
            next(prior.generate(**words))


def test_a_card_without_a_size_wants_one(tmp_path):
    folder = toy_model(tmp_path / "prior", state=toy_net(in_channels=3).state_dict(), **{**PRIOR, "size": {}})
    model = Restorer.from_pretrained(str(folder), device="cpu", dtype="fp32")
    with pytest.raises(UsageError, match=r"The card of 'toy' does not say what size .* --size 64x64"):
        next(model.generate())


def test_models_are_told_apart(prior, toy_restorer):
    with pytest.raises(UsageError, match="'toy' is for derain, not for new pictures; use restorer restore"):
        next(toy_restorer.generate())
    with pytest.raises(UsageError, match="'toy' draws new pictures; use restorer generate, or name"):
        prior.restore(torch.rand(1, 3, 16, 16), Settings())


def test_an_eta_that_the_sampler_does_not_take(tmp_path):
    model = prior_model(tmp_path / "prior", sample={"sampler": "rddm-ancestral"})
    with pytest.raises(UsageError, match="eta is 1, not 0"):
        next(model.generate(eta=0.0))


# sheets and animations


@pytest.mark.parametrize(
    ("count", "size", "wanted"), [(1, (4, 6), (4, 6)), (5, (4, 4), (10, 16)), (4, (2, 8), (14, 8))]
)
def test_a_sheet_holds_every_picture(count, size, wanted):
    pictures = [torch.full((1, 3, *size), i / 10) for i in range(count)]
    laid = sheet(pictures)
    assert laid.shape == (1, 3, *wanted)
    for i in range(count):
        assert int((laid == pictures[i].flatten()[0]).sum()) == 3 * size[0] * size[1]


def test_an_animation_holds_every_frame_and_waits_at_the_end(tmp_path):
    file = tmp_path / "a.gif"
    file.write_bytes(gif([torch.full((1, 3, 4, 6), i / 4) for i in range(5)]))
    with Image.open(file) as opened:
        assert (opened.n_frames, opened.size, opened.info["loop"]) == (5, (6, 4), 0)
        opened.seek(4)
        assert opened.info["duration"] > 2000
        assert opened.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


# files


def go(model, **changes):
    words = {"samples": 3, "settings": Settings(2), "output": "out", **changes}
    return list(run(model, order(model, **{**words, "output": Path(words["output"])})))


def test_pictures_carry_what_makes_them_again(here, prior):
    records = go(prior, settings=Settings(2, 0.5, 7, "leading"))
    assert [record.output for record in records] == ["out/0000.png", "out/0001.png", "out/0002.png"]
    assert [record.line()["seed"] for record in records] == [7, 8, 9]
    assert json.dumps(records[0].line())
    recipe = images.read_recipe(here / "out/0002.png")
    assert recipe == records[2].made
    again = all_of(
        prior, 1, seed=recipe["seed"], steps=2, eta=recipe["eta"], times=recipe["times"], size=recipe["size"]
    )
    assert torch.equal(images.read(here / "out/0002.png").pixels, (again * 255 + 0.5).floor() / 255)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_files_are_the_same_bytes_at_any_batch_size(here, prior, eta):
    for batch_size in (1, 2, 8):
        go(prior, output=f"out{batch_size}", settings=Settings(3, eta), batch_size=batch_size, sheet=True)
    for name in ("0000.png", "0001.png", "0002.png", "sheet.png"):
        assert len({(here / f"out{n}" / name).read_bytes() for n in (1, 2, 8)}) == 1


def test_what_is_there_is_skipped_and_the_rest_drawn(here, prior):
    go(prior)
    (here / "out/0001.png").unlink()
    before = (here / "out/0000.png").stat().st_mtime_ns
    assert sorted(record.status for record in go(prior, samples=4, sheet=True)) == [
        "done",
        "done",
        "skipped",
        "skipped",
    ]
    assert (here / "out/0000.png").stat().st_mtime_ns == before
    assert images.read(here / "out/sheet.png").size == (34, 34)


@pytest.mark.parametrize("trace", ["gif", "frames"])
def test_traces(here, prior, trace):
    go(prior, samples=1)
    assert [record.status for record in go(prior, samples=2, trace=trace)] == ["done", "done"]
    assert [record.status for record in go(prior, samples=2, trace=trace)] == ["skipped", "skipped"]
    if trace == "gif":
        with Image.open(here / "out/0001.gif") as opened:
            assert opened.n_frames == 3
    else:
        names = sorted(file.name for file in (here / "out/0001").iterdir())
        assert names == ["000.png", "001.png", "002.png"]
        assert torch.equal(images.read(here / "out/0001/002.png").pixels, images.read(here / "out/0001.png").pixels)


def test_frames_that_an_interrupt_left_are_completed_and_those_of_a_longer_way_go(here, prior):
    go(prior, samples=1, trace="frames", settings=Settings(4))
    frames = here / "out/0000"
    (frames / "000.png").unlink()
    assert [record.status for record in go(prior, samples=1, trace="frames", settings=Settings(4))] == ["done"]
    assert len(list(frames.iterdir())) == 5
    go(prior, samples=1, trace="frames", settings=Settings(2), overwrite=True)
    assert sorted(file.name for file in frames.iterdir()) == ["000.png", "001.png", "002.png"]


def picture_made_otherwise(here):
    Image.new("RGB", (4, 4)).save(here / "out/0001.png")


def a_sheet_of_others(here):
    Image.new("RGB", (4, 4)).save(here / "out/sheet.png")


def an_animation_of_others(here):
    Image.new("RGB", (4, 4)).save(here / "out/0002.gif")


def test_frames_of_others_are_not_written_over(here, prior):
    (here / "out/0000").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(here / "out/0000/000.png")
    with pytest.raises(ImageError, match="0000 is there already; use --overwrite"):
        go(prior, trace="frames")


@pytest.mark.parametrize("make", [picture_made_otherwise, a_sheet_of_others, an_animation_of_others])
def test_nothing_is_written_over_unless_told(here, prior, make):
    (here / "out").mkdir()
    make(here)
    [file] = (here / "out").iterdir()
    before = file.read_bytes()
    with pytest.raises(ImageError, match=rf"{file.name} is there.*; use --overwrite"):
        go(prior, sheet=True, trace="gif")
    assert [one.name for one in (here / "out").iterdir()] == [file.name] and file.read_bytes() == before
    go(prior, sheet=True, trace="gif", overwrite=True)
    assert len(list((here / "out").iterdir())) == 7 and file.read_bytes() != before


def test_one_picture_by_its_name(here, prior):
    [record] = go(prior, samples=1, output="made/cat.jpg", sheet=True, trace="gif")
    assert record.output == "made/cat.jpg"
    assert sorted(file.name for file in (here / "made").iterdir()) == ["cat.gif", "cat.jpg", "cat_sheet.png"]
    with pytest.raises(UsageError, match=r"cat\.jpg is one file and cannot hold 2 pictures; name a folder"):
        go(prior, samples=2, output="made/cat.jpg")


def test_a_folder_that_cannot_be(here, prior):
    (here / "out").touch()
    with pytest.raises(ImageError, match=r"out: cannot make this folder: .*; choose another OUTPUT"):
        go(prior)


def test_a_drawn_seed_is_recorded(here, prior):
    asked = order(prior, here / "out", 1, Settings(2, seed=-1))
    assert isinstance(asked, Order) and asked.settings.seed >= 0 and asked.batches == 1
    assert sheet_file(asked) == here / "out/sheet.png"


def test_no_model_for_the_task_is_a_sentence():
    with pytest.raises(ModelError, match="serves the task 'translate'; name one with --model"):
        Restorer.from_pretrained(task="translate", device="cpu")
