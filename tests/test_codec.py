"""Models of latents: pictures are encoded before sampling and decoded after it, and nothing is kept between them."""

import pytest
import torch
from official_irsde import random_state
from toy import toy_model

from restorer import Restorer
from restorer.errors import ImageError, ModelError
from restorer.load import build_codec, build_net, denoiser, find
from restorer.sampling import sample
from restorer.settings import Settings

CODEC = {"arch": "latent_unet", "width": 4, "mults": [2, 3], "latent_channels": 5}
NET = {
    **{"arch": "nafnet", "in_channels": 10, "out_channels": 5, "width": 8},
    **{"encoder": [1, 1], "middle": 1, "decoder": [1, 1], "global_skip": True},
}
PREDICT = {"output": "res", "range": [0.0, 1.0], "clip": "none"}


def latent_state(codec=CODEC):
    nets = {"": build_net(NET), "codec.": build_codec(codec)}
    shapes = {prefix + key: value.shape for prefix, net in nets.items() for key, value in net.state_dict().items()}
    return random_state({key: tuple(shape) for key, shape in shapes.items()})


def latent_model(folder, state=None, **changes):
    own = {
        "net": {},
        "codec": CODEC,
        "predict": PREDICT,
        "size": {"multiple": 1, "minimum": 3},
    }
    return toy_model(folder, state=state or latent_state(), **{**own, **changes})


@pytest.fixture(autouse=True)
def nets_of_latents(monkeypatch):
    """The toy's card takes its net from here, whole."""
    monkeypatch.setattr("toy.NET", NET)


def loaded(folder, dtype="fp32"):
    return Restorer.from_pretrained(str(folder), device="cpu", dtype=dtype)


def picture(height, width, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def model(tmp_path):
    return loaded(latent_model(tmp_path / "latent"))


@pytest.mark.parametrize("size", [(3, 3), (9, 16), (15, 17), (40, 23)])
def test_pictures_of_any_size_are_restored(model, size):
    y = picture(*size)
    restored = model(y, seed=1)
    assert restored.shape == y.shape and restored.std() > 0.01
    assert not torch.equal(restored, y)


def test_sampling_is_in_the_latent_and_decoding_with_the_degraded_pictures_features(model):
    y = picture(13, 18)
    codec = model.denoiser.codec
    with torch.inference_mode():
        latent, hidden = codec.encode(y)
        *_, last = sample_of(model, latent)
        wanted = codec.decode(last.x0, hidden).clamp(0, 1)
    assert last.x0.shape == latent.shape == (1, 5, 8, 10)
    assert torch.allclose(model(y, seed=3), wanted, atol=1e-6)


def sample_of(model, latent):
    settings = model.settled(Settings(seed=3))
    return sample(model.denoiser, latent, model.entry.sample, settings, model.device)


def test_nothing_of_one_picture_stays_for_the_next(model):
    first = model(picture(13, 18), seed=1)
    model(picture(30, 11, seed=5), seed=2)
    assert torch.equal(model(picture(13, 18), seed=1), first)
    assert not [name for name in vars(model.denoiser.codec) if name in ("H", "W", "size", "hidden")]


def test_half_precision_is_near(tmp_path, model):
    rough = loaded(tmp_path / "latent", "bf16")
    y = picture(13, 18)
    assert (rough(y, seed=1) - model(y, seed=1)).abs().mean() < 0.05


def test_a_picture_below_the_codecs_least_is_refused(model):
    with pytest.raises(ImageError, match="needs 3 on each side"):
        model(picture(2, 9))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codec": {**CODEC, "arch": "vae"}}, "Unknown codec arch 'vae'"),
        ({"codec": {**CODEC, "levels": 3}}, "codec: Unknown key 'levels'"),
        ({"size": {"multiple": 1, "minimum": 2}}, r"the codec must make \(3, 2, 2\) of its latent, but fails"),
        ({"codec": {**CODEC, "width": 8}}, "of another shape: codec"),
        ({"task": "generate"}, "codec: a model of latents restores pictures"),
        ({"predict": {**PREDICT, "range": [-1.0, 1.0]}}, r"has the range \[0, 1\]; not derain, x,y, \[-1.0, 1.0\]"),
        ({"predict": {**PREDICT, "input": ["x", "mask"]}}, "is shown no mask"),
    ],
)
def test_a_codec_that_does_not_fit_is_a_sentence(tmp_path, changes, words):
    with pytest.raises(ModelError, match=words):
        loaded(latent_model(tmp_path / "latent", **changes))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"latent_channels": 4}, r"the net must make \(4, 2, 2\) of \(8, 2, 2\), but fails"),
        ({"out_channels": 1}, r"the codec must make \(3, 3, 3\) of its latent, but makes \(1, 3, 3\)"),
    ],
)
def test_a_codec_of_other_sizes_with_its_own_weights_is_a_sentence(tmp_path, change, words):
    codec = CODEC | change
    with pytest.raises(ModelError, match=words):
        loaded(latent_model(tmp_path / "latent", latent_state(codec), codec=codec))


def test_a_model_of_pictures_has_no_codec(toy_restorer, tmp_path):
    assert toy_restorer.denoiser.codec is None
    entry = find(str(latent_model(tmp_path / "latent"))).entry
    net = build_net(entry.net)
    net.add_module("codec", build_codec(entry.codec))
    assert denoiser(net, toy_restorer.denoiser.schedule, entry).codec is net.codec


def test_what_is_watched_is_a_picture(model):
    y, seen = picture(13, 18), []
    restored = model.restore(y, Settings(steps=3, seed=1), watch=lambda done, x, x0: seen.append((done, x, x0)))
    assert [done for done, _, _ in seen] == [0, 1, 2, 3]
    assert all(v.shape == y.shape for _, *pair in seen for v in pair)
    assert torch.equal(seen[-1][1].clamp(0, 1), restored)
