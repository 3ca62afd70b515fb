"""The flow of a picture: any size goes in and comes out, the seed decides, and what cannot be right is refused."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from toy import MULTIPLE, etas, toy_model, toy_net

import restorer
from restorer import entry as entry_module
from restorer import restore as module
from restorer.diffusion.samplers import SAMPLERS, leading_grid, time_grid
from restorer.entry import Sample
from restorer.errors import DeviceError, ImageError, ModelError, UsageError
from restorer.load import denoiser, find
from restorer.restore import Restorer
from restorer.sampling import pad, sample
from restorer.settings import Settings

EULER_TO_THE_END = ("irsde-euler", "irsde-ode")  # their last step, as official, is none to the predicted picture
CPU = torch.device("cpu")
RDDM = Sample("rddm", 3)


def picture(height=9, width=14, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def restorer_of(folder, *, state=None, dtype="fp32", **changes):
    return Restorer.from_pretrained(str(toy_model(folder, state=state, **changes)), device="cpu", dtype=dtype)


def overlaid(**tensors):
    """The toy's weights with other tensors in place of some; ``__`` in a name stands for a dot."""
    return {**toy_net().state_dict(), **{name.replace("__", "."): tensor for name, tensor in tensors.items()}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return restorer_of(tmp_path_factory.mktemp("models") / "toy")


# padding


@given(height=st.integers(1, 20), width=st.integers(1, 20), multiple=st.integers(1, 17))
@hypothesis_settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_padding_mirrors_to_the_next_multiple_of_any_size(height, width, multiple):
    y = torch.arange(3.0 * height * width).reshape(1, 3, height, width)
    padded = pad(y, multiple)
    below, right = padded.shape[2] - height, padded.shape[3] - width
    assert padded.shape[2] % multiple == padded.shape[3] % multiple == 0
    assert 0 <= below < multiple
    assert 0 <= right < multiple
    wanted = y.numpy()
    for axis, extra in ((2, below), (3, right)):
        widths = [(0, extra if i == axis else 0) for i in range(4)]
        wanted = np.pad(wanted, widths, mode="reflect" if wanted.shape[axis] > 1 else "edge")
    assert np.array_equal(padded.numpy(), wanted)


def test_padding_serves_a_batch_and_leaves_what_fits_alone():
    y = picture(8, 12).expand(2, -1, -1, -1)
    assert torch.equal(pad(y, 4), y)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (4, 5), (8, 8), (9, 14), (33, 17)])
def test_a_picture_of_any_size_keeps_it(tmp_path, size):
    y = picture(*size)
    before = y.clone()
    out = restorer_of(tmp_path / "toy", size={"minimum": 1}).restore(y, Settings())
    assert (out.shape, out.dtype, out.device.type) == ((1, 3, *size), torch.float32, "cpu")
    assert 0 <= float(out.min()) <= float(out.max()) <= 1
    assert torch.equal(y, before)


def test_padding_by_hand_changes_nothing(model):
    y = picture(9, 14)
    whole = model.restore(pad(y, MULTIPLE), Settings(seed=3))
    assert whole.shape == (1, 3, 12, 16)
    assert torch.equal(model.restore(y, Settings(seed=3)), whole[..., :9, :14])


def test_a_picture_below_the_minimum_is_refused(model):
    model.restore(picture(4, 4), Settings())
    for height, width in ((3, 40), (40, 3)):
        with pytest.raises(ImageError, match=f"{width}x{height} pixels is too small; toy needs 4 on each side"):
            model.restore(picture(height, width), Settings())


# the whole flow, where the answer is known


@pytest.mark.parametrize("bounds", [[-1.0, 1.0], [0.0, 1.0]])
@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in EULER_TO_THE_END])
def test_a_net_that_sees_no_damage_gives_the_picture_back(tmp_path, bounds, sampler):
    nothing = overlaid(exit__weight=torch.zeros(12, 8, 3, 3), exit__bias=torch.zeros(12))
    restorer = restorer_of(tmp_path / "toy", state=nothing, predict={"range": bounds}, sample={"sampler": sampler})
    y = picture()
    for eta in etas(sampler):
        assert torch.allclose(restorer.restore(y, Settings(eta=eta)), y, atol=1e-6)


def test_an_eta_that_the_sampler_does_not_take_is_a_sentence(tmp_path):
    restorer = restorer_of(tmp_path / "toy", sample={"sampler": "rddm-ancestral"})
    with pytest.raises(UsageError, match="rddm-ancestral draws all of the noise, so eta is 1, not 0"):
        restorer.restore(picture(), Settings())


@pytest.mark.parametrize("output", ["res", "x0"])
@pytest.mark.parametrize("steps", [1, 4, 100])
def test_a_net_that_knows_the_damage_gives_the_clean_picture(tmp_path, output, steps):
    loaded = restorer_of(tmp_path / "toy", predict={"output": output})
    clean, y = picture(seed=1), picture(seed=2)
    target = 2 * pad(clean, MULTIPLE) - 1

    def knows(fed, time):
        return fed[:, 3:] - target if output == "res" else target

    knowing = denoiser(knows, loaded.denoiser.schedule, loaded.entry)
    out = Restorer(loaded.found, knowing, CPU).restore(y, Settings(steps=steps, eta=1.0))
    assert torch.allclose(out, clean, atol=1e-6)


@pytest.mark.parametrize("bias", [5.0, -5.0])
@pytest.mark.parametrize("clip", ["none", "range", "official"])
def test_output_stays_in_range_whatever_the_net_says(tmp_path, clip, bias):
    wild = overlaid(exit__bias=torch.full((12,), bias))
    wild = restorer_of(tmp_path / "toy", state=wild, predict={"clip": clip})
    if (clip, bias) == ("range", -5.0):  # which leaves nothing but white
        with pytest.raises(ImageError, match="toy gave one flat colour; try other --steps or another model"):
            wild.restore(picture(), Settings())
        assert wild.restore(picture() * 0.02 + 0.5, Settings()).min() == 1  # of a flat picture that may be right
        return
    out = wild.restore(picture(), Settings())
    assert 0 <= float(out.min()) <= float(out.max()) <= 1
    assert 0 in out or 1 in out


# randomness


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_picture(model, eta):
    first, again, other = (model.restore(picture(), Settings(eta=eta, seed=seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_eta_adds_noise_of_its_own(model):
    assert not torch.equal(*(model.restore(picture(), Settings(eta=eta)) for eta in (0.0, 1.0)))


def test_a_picture_does_not_hang_on_those_before_it(model):
    alone = model.restore(picture(), Settings())
    model.restore(picture(20, 30, seed=9), Settings(steps=2, eta=1.0, seed=8))
    assert torch.equal(model.restore(picture(), Settings()), alone)


def test_the_global_generator_is_neither_used_nor_moved(model):
    torch.manual_seed(0)
    first, state = model.restore(picture(), Settings(eta=1.0)), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(model.restore(picture(), Settings(eta=1.0)), first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_start_is_y_with_the_noise_of_the_schedule(model):
    """x_T = y + sigma_T z, z drawn from the seed alone for the whole canvas: seen in what the net is fed first."""
    fed = []

    def listens(x, time):
        fed.append(x)
        return torch.zeros_like(x[:, :3])

    listening = denoiser(listens, model.denoiser.schedule, model.entry)
    y = picture(128, 128)
    start, _, *_ = sample(listening, y, RDDM, Settings(3, 0.0, 0), CPU)
    x, seen = fed[0].chunk(2, dim=1)
    assert torch.equal(start.x, x) and torch.equal(start.x0, seen)
    z = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(seen, 2 * y - 1)
    assert torch.allclose(x, seen + 0.1 * z, atol=1e-6)


# settings


def test_what_is_not_set_comes_from_the_card(tmp_path):
    restorer = restorer_of(tmp_path / "toy", sample={"steps": 7, "eta": 0.5})
    assert restorer.settled(Settings()) == Settings(7, 0.5, 0, "rddm", None, "rddm")
    assert restorer.settled(Settings(eta=0.0, steps=1, seed=4)) == Settings(1, 0.0, 4, "rddm", None, "rddm")
    times = []
    restorer.restore(picture(), Settings(), progress=lambda done, state: times.append(state.t))
    assert times == time_grid(100, 7)[1:]

    times.clear()
    restorer.restore(picture(), Settings(times="leading"), progress=lambda done, state: times.append(state.t))
    assert times == leading_grid(100, 7)[1:]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(steps=0), "steps must be from 1 to 100, the length of the model's schedule; not 0"),
        (Settings(steps=101), "steps must be from 1 to 100, the length of the model's schedule; not 101"),
        (Settings(eta=-0.1), r"eta must be from 0 \(no fresh noise\) to 1 \(ancestral\), not -0.1"),
        (Settings(eta=1.1), "eta must be from 0"),
        (Settings(eta=math.nan), "eta must be from 0 .* not nan"),
        (Settings(seed=-1), r"seed must be from 0 to 2\^63 - 1, not -1"),
        (Settings(seed=2**64), r"seed must be from 0 to 2\^63 - 1, not 18446744073709551616"),
        (Settings(times="leadin"), "Unknown times 'leadin'; did you mean 'leading'"),
    ],
)
def test_settings_out_of_range_are_named(model, settings, words):
    for use in (model.settled, model.recipe, lambda settings: model.restore(picture(), settings)):
        with pytest.raises(UsageError, match=words):
            use(settings)


def test_the_recipe_is_enough_to_make_the_picture_again_and_tells_no_path(model):
    recipe = model.recipe(Settings(seed=2))
    assert recipe == {
        "restorer": restorer.__version__,
        "torch": torch.__version__,
        "task": "derain",
        "model": "toy",
        "weights": model.found.sha256,
        "sampler": "rddm",
        "steps": 3,
        "eta": 0.0,
        "times": "rddm",
        "seed": 2,
        "dtype": "fp32",
    }
    assert str(model.found.weights.parent) not in json.dumps(recipe)
    again = Settings(recipe["steps"], recipe["eta"], recipe["seed"], recipe["times"])
    assert torch.equal(model.restore(picture(), again), model.restore(picture(), Settings(seed=2)))


# what a caller may rely on


def test_inference_mode_does_not_leak(model):
    modes = []
    out = model.restore(
        picture(), Settings(), progress=lambda done, state: modes.append(torch.is_inference_mode_enabled())
    )
    assert modes == [False] * 3
    states = sample(model.denoiser, picture(8, 8), RDDM, Settings(3, 0.0, 0), CPU)
    next(states), next(states)
    assert not torch.is_inference_mode_enabled()
    assert not out.is_inference()
    (out * torch.ones(1, requires_grad=True)).sum().backward()


def test_a_picture_that_wants_a_gradient_gets_none(model):
    assert not model.restore(picture().requires_grad_(), Settings()).requires_grad


def test_memory_layout_of_the_picture_changes_nothing(model):
    y = picture()
    assert torch.equal(model.restore(y.to(memory_format=torch.channels_last), Settings()), model.restore(y, Settings()))


def test_the_states_are_in_the_range_of_the_net(model):
    states = list(sample(model.denoiser, picture(8, 8), RDDM, Settings(4, 0.0, 0), CPU))
    assert [state.t for state in states] == [100, 75, 50, 25, 0]
    assert all(state.x0.abs().max() <= 1 for state in states)
    assert torch.equal(states[-1].x, states[-1].x0)
    assert states[-1].x0.min() < 0


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray((picture()[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)),
        Image.fromarray((picture()[0, 0].numpy() * 255).astype(np.uint8)),
        (picture()[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8),
        picture()[0].permute(1, 2, 0).numpy(),
        picture()[0],
        picture(),
    ],
    ids=["PIL RGB", "PIL grey", "numpy uint8", "numpy float32", "tensor CHW", "tensor NCHW"],
)
def test_the_same_kind_of_picture_comes_back(model, image):
    out = model(image, steps=2, eta=0.5, seed=1)
    assert type(out) is type(image)
    if isinstance(image, Image.Image):
        assert (out.mode, out.size) == (image.mode, image.size)
    else:
        assert (out.shape, out.dtype) == (image.shape, image.dtype)


def test_a_call_is_restore_with_words(model):
    y = picture()
    assert torch.equal(model(y, steps=2, eta=0.5, seed=1), model.restore(y, Settings(2, 0.5, 1)))


# values that are no numbers


def loads(monkeypatch):
    """The precisions in which a model is loaded from now on."""
    asked, load = [], module.load
    monkeypatch.setattr(module, "load", lambda found, device, dtype: asked.append(dtype) or load(found, device, dtype))
    return asked


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("clip", ["none", "range"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_an_error_after_a_try_in_full_precision(
    tmp_path, monkeypatch, dtype, clip, bad
):
    state = overlaid(exit__bias=torch.full((12,), bad))
    model = restorer_of(tmp_path / "toy", state=state, dtype=dtype, predict={"clip": clip})
    asked = loads(monkeypatch)
    for _ in range(2):
        with pytest.raises(ImageError, match="toy gave values that are no numbers; try other --steps or another model"):
            model.restore(picture(), Settings())
    assert asked == ([] if dtype == "fp32" else [torch.float32])


def test_half_precision_that_overflows_gives_way_to_full_precision(tmp_path, monkeypatch):
    """-100 000 is beyond fp16, whose infinity SiLU makes NaN; in fp32 SiLU makes it 0, and all is well."""
    state = overlaid(middle__0__conv1__bias=torch.full((12,), -1e5))
    half, full = (restorer_of(tmp_path / dtype, state=state, dtype=dtype) for dtype in ("fp16", "fp32"))
    asked = loads(monkeypatch)
    assert torch.equal(half.restore(picture(), Settings()), full.restore(picture(), Settings()))
    assert asked == [torch.float32]


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_is_near_full_precision(tmp_path, monkeypatch, model, dtype):
    half = restorer_of(tmp_path / "toy", dtype=dtype)
    asked = loads(monkeypatch)
    out = half.restore(picture(), Settings())
    assert (out - model.restore(picture(), Settings())).abs().max() < 0.05
    assert out.dtype == torch.float32
    assert half.recipe(Settings())["dtype"] == dtype
    assert asked == []


@pytest.mark.gpu
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_accelerator_gives_the_picture_of_the_cpu(model, eta):
    folder = str(model.found.weights.parent)
    there = Restorer.from_pretrained(folder, device=torch.accelerator.current_accelerator().type, dtype="fp32")
    y, settings = picture(64, 80), Settings(5, eta, seed=1)
    torch.testing.assert_close(there.restore(y, settings), model.restore(y, settings), atol=2e-3, rtol=0)


def test_run_yields_a_record_of_every_picture(model, tmp_path):
    Image.new("RGB", (9, 8), (90, 40, 200)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    records = list(model.run([tmp_path], output=tmp_path / "out", steps=1))
    assert [(record.status, record.made["steps"]) for record in records] == [("done", 1), ("failed", 1)]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.png"]
    [again] = model.run([tmp_path / "a.png"], output=tmp_path / "out", steps=1)
    assert again.status == "skipped"


# loading


def test_the_package_offers_the_restorer_and_nothing_it_has_not():
    assert restorer.Restorer is Restorer
    with pytest.raises(AttributeError, match="module 'restorer' has no attribute 'Restore'"):
        _ = restorer.Restore


def test_without_a_name_the_task_chooses_the_model(tmp_path, monkeypatch, model):
    monkeypatch.setattr(entry_module, "models_folder", lambda: tmp_path)
    shutil.copytree(model.found.weights.parent, tmp_path / "toy")
    loaded = Restorer.from_pretrained(device="cpu", dtype="fp32")
    assert loaded.entry == model.entry
    assert torch.equal(loaded.restore(picture(), Settings()), model.restore(picture(), Settings()))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model": "no-such-model"}, ModelError),
        ({"task": "no-such-task"}, UsageError),
        ({"device": "no-such-device"}, UsageError),
        ({"device": "cpu:1"}, DeviceError),
        ({"dtype": "no-such-dtype"}, UsageError),
    ],
)
def test_what_cannot_be_loaded_is_an_error_of_ours(model, options, error):
    given = {"device": "cpu", "model": None if "task" in options else str(model.found.weights.parent), **options}
    with pytest.raises(error):
        Restorer.from_pretrained(**given)


def test_find_and_from_pretrained_agree(model):
    assert find(str(model.found.weights.parent)) == model.found


# masks


MASKED = {"net": {"in_channels": 9}, "predict": {"input": ["x", "y", "mask"]}}


def test_the_net_is_shown_the_mask_last_as_it_is(tmp_path):
    model = restorer_of(tmp_path / "m", state=toy_net(in_channels=9).state_dict(), **MASKED)
    fed = []
    model.denoiser.net.register_forward_hook(lambda net, args, out: fed.append(args[0]))
    y, mask = picture(), (picture(seed=1)[:, :1] > 0.5).float().expand(-1, 3, -1, -1)
    model(y, steps=2, mask=mask)
    padded = pad(y, MULTIPLE)
    for shown in fed:
        assert shown.shape == (1, 9, *padded.shape[2:])
        assert torch.equal(shown[:, 3:6], 2 * padded - 1) and torch.equal(shown[:, 6:], pad(mask, MULTIPLE))
    as_pil = Image.fromarray((255 * mask[0, 0]).numpy().astype(np.uint8))
    assert torch.equal(model(y, mask=as_pil), model(y, mask=mask))


def test_a_mask_must_fit_the_picture_and_the_model(tmp_path, model):
    masked = restorer_of(tmp_path / "m", state=toy_net(in_channels=9).state_dict(), **MASKED)
    with pytest.raises(UsageError, match="needs a mask"):
        masked(picture())
    with pytest.raises(UsageError, match="takes no mask"):
        model(picture(), mask=picture())
    with pytest.raises(ImageError, match="mask is 9x14 pixels, the picture 14x9"):
        masked(picture(), mask=picture(14, 9))


def test_the_noise_at_the_start_is_the_cards_where_it_says_so(tmp_path):
    y = torch.zeros(1, 3, 8, 8)
    sizes = {}
    for start in (None, 0.5):
        model = restorer_of(tmp_path / str(start), sample={"start": start} if start else {})
        fed = []
        model.denoiser.net.register_forward_hook(lambda net, args, out, fed=fed: fed.append(args[0]))
        model(y, steps=1)
        sizes[start] = fed[0][:, :3] + 1
    assert torch.allclose(sizes[0.5], 5 * sizes[None], atol=1e-6)
