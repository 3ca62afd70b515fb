"""Official files of IR-SDE, Refusion and GOUB become models that draw; whatever else is refused with a sentence."""

import math
import os
from dataclasses import replace

import pytest
import torch
from official_irsde import compression, nafnet, random_state, unet
from official_rddm import official_state as rddm_state
from official_trainer import Layout, model_state, trainer
from torch.nn.functional import interpolate

from restorer import Restorer
from restorer.convert.irsde_presets import PRESETS
from restorer.convert.official import Wishes, convert
from restorer.diffusion.samplers import SAMPLERS
from restorer.diffusion.schedule import SCHEDULES
from restorer.entry import TASKS
from restorer.errors import ModelError, UsageError
from restorer.nets.irsde_unet import rename
from restorer.settings import Settings

PAIR, ALONE = unet(8, 2), unet(8, 2, 3, full=True)
BLOCKS = (8, (1, 1), 1, (1, 1))
NAF_PAIR, NAF_ALONE, NAF_LATENT = (nafnet(*BLOCKS, channels=c, out=o) for c, o in ((6, 3), (3, 3), (10, 5)))
CODEC = compression(4, (2, 3), 5)

FILES = {
    "derain-h100": PAIR,
    "derain-l100": PAIR,
    "deblur": PAIR,
    "sr-x4": PAIR,
    "inpaint": PAIR,
    "denoise": ALONE,
    "refusion-denoise": NAF_ALONE,
    "refusion-deshadow": NAF_PAIR,
    "latent-dehaze": NAF_LATENT,
    "goub-derain": PAIR,
    "goub-sr-x4": PAIR,
    "goub-inpaint": PAIR,
}
BY_HAND = Wishes(
    **{"task": "derain", "sampler": "posterior", "steps": 5},
    **{"max_sigma": 20.0, "eps": 0.01, "length": 40, "theta": "linear"},
)


@pytest.fixture
def made(tmp_path):
    """Save a file (and the codec's, for latents) and convert it; answers the loaded model and the notes."""

    def make(shapes, wishes, **more):
        torch.save(random_state(shapes), tmp_path / "700000_G.pth")
        if shapes is NAF_LATENT:
            torch.save(random_state(CODEC), tmp_path / "codec.pth")
            wishes = replace(wishes, codec=tmp_path / "codec.pth")
        done = convert("irsde", tmp_path / "700000_G.pth", tmp_path / "made", wishes, overwrite=True, **more)
        return Restorer.from_pretrained(str(tmp_path / "made"), device="cpu", dtype="fp32"), done.notes

    return make


def settings_of(model, **more):
    """Models that begin at the picture are told its noise."""
    return Settings(**more, sigma=25.0 if model.entry.sample.begin == "picture" else None)


# ------------------------------------------------------------------------------------------------ what is drawn


def official_tables(max_sigma, eps, T):
    """lambda, and at t = 0 ... T: alpha, sigma_bar, and u = theta dt. Cosine."""
    k = torch.arange(T + 3, dtype=torch.float64) / (T + 2)
    kept = torch.cos((k + 0.008) / 1.008 * math.pi / 2) ** 2
    theta = 1 - (kept / kept[0])[1:-1]
    bar = theta.cumsum(0) - theta[0]
    dt = -math.log(eps) / bar[-1]
    level, alpha = max_sigma / 255, torch.exp(-bar * dt)
    return level, alpha.tolist(), (level * (1 - alpha**2).sqrt()).tolist(), (theta * dt).tolist()


@torch.inference_mode()
def official_picture(preset, net, y, seed, codec=None):
    """Official sampling written out: the reverse SDE from y and noise, or the denoising ODE from y at sigma 25."""
    level, alpha, sigma, u = official_tables(preset.max_sigma, preset.eps, preset.length)
    rng = torch.Generator().manual_seed(seed)
    mu, hidden = codec.encode(y) if codec else (y, None)
    if preset.kind == "goub":
        # From y itself, out of which the first step draws noise alone; then there is a pull that ends there.
        x = y + level * (2 * u[preset.length]) ** 0.5 * torch.randn(mu.shape, generator=rng)
        for t in range(preset.length - 1, 0, -1):
            ahead = 1 - (alpha[-1] / alpha[t]) ** 2
            spread = 2 * level**2 * u[t]
            noise = sigma[t] * (ahead / (1 - alpha[-1] ** 2)) ** 0.5
            said = net(torch.cat([x - mu, mu], dim=1), torch.tensor([float(t)]))
            pull = u[t] + 2 * u[t] * (alpha[-1] / alpha[t]) ** 2 / ahead
            x = x + pull * (x - mu) - spread / noise * said - spread**0.5 * torch.randn(mu.shape, generator=rng)
        return x
    if preset.kind == "denoising-sde":
        x = mu
        for t in range(21, 0, -1):
            x = x - level**2 * u[t] * alpha[t] ** 2 / sigma[t] * net(x, torch.tensor([float(t)]))
        return x
    x = mu + level * torch.randn(mu.shape, generator=rng)
    for t in range(preset.length, 0, -1):
        said = net(torch.cat([x - mu, mu], dim=1), torch.tensor([float(t)]))
        x = x + u[t] * (x - mu) - 2 * level**2 * u[t] / sigma[t] * said
        x = x - level * (2 * u[t]) ** 0.5 * torch.randn(mu.shape, generator=rng)
    return codec.decode(x, hidden) if codec else x


@pytest.mark.parametrize("name", ["derain-h100", "denoise", "latent-dehaze", "goub-derain"])
def test_a_converted_model_draws_what_official_code_draws(made, name):
    preset = PRESETS[name]
    if preset.kind != "denoising-sde":  # as the preset has it, but shorter
        preset = replace(preset, length=25, steps=preset.steps - 75)
    model, _ = made(FILES[name], Wishes(preset=name, length=preset.length, steps=preset.steps))
    y = 0.2 + 0.6 * torch.rand(1, 3, 11, 14, generator=torch.Generator().manual_seed(0))
    net = model.denoiser.net
    wanted = official_picture(preset, net, y, 7, model.denoiser.codec)
    got = model.restore(y, settings_of(model, seed=7))
    assert torch.allclose(got, wanted.clamp(0, 1), atol=1e-4)
    assert wanted.std() > 0.05 and (got > 0).float().mean() > 0.3


# ------------------------------------------------------------------------------------------------ what is made


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_makes_a_model_that_draws(tmp_path, made, preset):
    model, notes = made(FILES[preset], Wishes(preset=preset))
    said, entry = PRESETS[preset], model.entry
    assert (entry.task, entry.net["arch"], entry.data) == (said.task, said.arch, said.data)
    assert entry.schedule == {
        **{"kind": said.kind, "T": said.length, "theta": said.theta},
        **{"max_sigma": said.max_sigma, "eps": said.eps},
    }
    assert (entry.predict.output, entry.predict.time, entry.predict.clip) == ("eps", "t", "none")
    assert (entry.predict.input, entry.predict.range) == (said.input, (0.0, 1.0))
    assert (entry.sample.sampler, entry.sample.steps) == (said.sampler, said.steps)
    assert entry.sample.eta == (0.0 if said.sampler == "irsde-ode" else 1.0)
    assert entry.size.multiple == 1
    assert not said.doubt or any(said.doubt in note for note in notes)
    assert entry.prepare == said.prepare and (said.prepare or "restorer") in (tmp_path / "made/README.md").read_text()
    y = torch.rand(1, 3, 9, 13, generator=torch.Generator().manual_seed(0))
    restored = model.restore(y, settings_of(model, steps=3))
    scale = 4 if said.task == "upscale" else 1
    assert restored.shape == (1, 3, 9 * scale, 13 * scale) and restored.isfinite().all() and restored.std() > 0.01


def test_the_cards_are_as_official_code_samples(made):
    sample = made(PAIR, Wishes(preset="inpaint"))[0].entry.sample
    assert (sample.start, sample.begin) == (pytest.approx(30 / 255), "noise")
    sample = made(ALONE, Wishes(preset="denoise"))[0].entry.sample
    assert (sample.start, sample.begin, sample.eta, sample.sampler) == (None, "picture", 0.0, "irsde-ode")
    entry = made(PAIR, Wishes(preset="goub-derain"))[0].entry
    assert (entry.sample.start, entry.sample.begin, entry.method) == (None, "noise", "goub")


def test_what_super_resolution_and_inpainting_are_shown_is_made_by_the_card(made):
    """As official data loaders make it: small pictures enlarged, or holes painted white where masks that keep are 0."""
    y = torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    keep = (torch.rand(1, 1, 5, 6, generator=torch.Generator().manual_seed(1)) > 0.5).float().expand(-1, 3, -1, -1)
    wanted = {
        "sr-x4": interpolate(y, scale_factor=4, mode="nearest"),
        "goub-sr-x4": interpolate(y, scale_factor=4, mode="bicubic"),
        "inpaint": y * keep + (1 - keep),
        "goub-inpaint": y * keep + (1 - keep),
    }
    assert wanted["goub-sr-x4"].min() < 0 and wanted["goub-sr-x4"].max() > 1  # not clamped
    for name, shown in wanted.items():
        model, notes = made(PAIR, Wishes(preset=name, license="MIT"))
        fed = []
        model.denoiser.net.register_forward_pre_hook(lambda net, args, fed=fed: fed.append(args[0][:, 3:]))
        model.restore(y, Settings(steps=1), mask=1 - keep if model.takes_mask else None)
        assert torch.allclose(fed[0], shown, atol=1e-6) and notes == ()


def test_the_card_says_all_that_is_known(made):
    model, notes = made(PAIR, Wishes(preset="derain-h100", name="rain", license="ask"))
    entry = model.entry
    assert (entry.name, entry.method, entry.license, entry.codec, notes) == ("rain", "irsde", "ask", None, ())
    assert entry.net == {
        **{"arch": "irsde_unet", "in_channels": 6, "out_channels": 3},
        **{"width": 8, "depth": 2, "attention": "linear"},
    }
    assert (entry.size.minimum, entry.size.trained, entry.weights.dtype) == (3, 128, "float32")
    assert "700000_G.pth" in entry.source and "preset derain-h100" in entry.source


def test_two_files_make_a_model_of_latents(made):
    model, _ = made(NAF_LATENT, Wishes(preset="latent-dehaze"))
    assert model.entry.net["global_skip"] is True and model.entry.codec["latent_channels"] == 5
    assert "700000_G.pth" in model.entry.source and "codec.pth" in model.entry.source
    assert model.entry.size.minimum == 3
    _, notes = made(NAF_LATENT, replace(BY_HAND, task="dehaze", license="MIT"))
    assert len(notes) == 1 and "no file can tell" in notes[0]


def test_all_said_by_options(made):
    entry = made(PAIR, BY_HAND)[0].entry
    assert entry.schedule == {"kind": "irsde", "T": 40, "theta": "linear", "max_sigma": 20.0, "eps": 0.01}
    assert (entry.sample.sampler, entry.sample.steps, entry.sample.eta) == ("posterior", 5, 1.0)
    assert entry.sample.start == pytest.approx(20 / 255)
    assert made(PAIR, replace(BY_HAND, max_sigma=0.1))[0].entry.sample.start == 0.1
    entry = made(NAF_ALONE, replace(BY_HAND, task="denoise", sampler="irsde-ode"))[0].entry
    assert (entry.schedule["kind"], entry.sample.begin, entry.sample.eta) == ("denoising-sde", "picture", 0.0)


def test_an_option_that_differs_from_the_preset_counts_and_is_told(made):
    model, notes = made(
        PAIR, Wishes(preset="derain-h100", sampler="posterior", steps=20, max_sigma=10.0, license="MIT")
    )
    assert (model.entry.sample.sampler, model.entry.sample.steps) == ("posterior", 20)
    assert notes == (
        "--sampler posterior is taken, not irsde-euler of the preset derain-h100.",
        "--steps 20 is taken, not 100 of the preset derain-h100.",
    )


@pytest.mark.parametrize("wrapper", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_plain_and_wrapped_state_dicts_old_and_new(tmp_path, wrapper, zipped):
    state = {wrapper + key: value for key, value in random_state(PAIR).items()}
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    done = convert("irsde", tmp_path / "a.pth", tmp_path / "m", Wishes(preset="deblur"))
    wanted = rename(random_state(PAIR))
    assert all(torch.equal(value, wanted[key]) for key, value in done.net.state_dict().items())


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_the_dtype_of_the_weights(made, dtype):
    model, _ = made(PAIR, Wishes(preset="deblur"), dtype=dtype)
    assert model.entry.weights.dtype == str(dtype or torch.float32).removeprefix("torch.")


def test_presets_use_known_words_and_each_has_a_file():
    assert set(PRESETS) == set(FILES)
    for preset in PRESETS.values():
        assert preset.task in TASKS and preset.sampler in SAMPLERS and preset.kind in SCHEDULES
        assert preset.length >= preset.steps


# ------------------------------------------------------------------------------------------------ what is refused


class Bomb:
    """A pickle of it runs a command when it is loaded without care."""

    def __reduce__(self):
        return os.system, ("touch exploded",)


def changed(shapes, drop="\0", **more):
    return {**{key: value for key, value in random_state(shapes).items() if drop not in key}, **more}


STATE = {"epoch": 3, "iter": 5000, "schedulers": [{}], "optimizers": [{"state": {}, "param_groups": []}]}
HUGE = changed(PAIR, **{"final_conv.bias": torch.zeros(1).expand(2**50)})
DEEP = changed(PAIR, **{f"downs.{level}.0.x": torch.zeros(1) for level in range(2, 70)})
WRONG = {
    "a tensor": (torch.zeros(3), "found a Tensor, expected the state dict of a net of IR-SDE"),
    "an empty dict": ({}, "found nothing; expected the state dict"),
    "another net": ({"conv_in.weight": torch.zeros(3)}, "found conv_in.weight; expected the state dict"),
    "nested": ({"state_dict": random_state(PAIR)}, "found state_dict (dict); expected the state dict"),
    "not a tensor": (changed(PAIR, note="x"), "found note (str); expected"),
    "whole numbers": (
        changed(PAIR, n=torch.zeros(1, dtype=torch.long)),
        "expected weights of floats; found n (torch.int64)",
    ),
    "training state": (
        STATE,
        "the state of a training run (epoch, iter, schedulers, optimizers), which holds no weights",
    ),
    "RDDM's trainer": (trainer(Layout()), "an RDDM checkpoint by its keys (step, model, opt, ema and 1 more)"),
    "RDDM's net": (model_state(Layout()), "convert it with --from rddm"),
    "RDDM's net alone": (rddm_state("bare", dim=8, mults=(1, 2)), "convert it with --from rddm"),
    "some trainer's": (
        {"model": random_state(PAIR), "epoch": 3},
        "found model (dict), epoch (int); expected the state",
    ),
    "missing keys": (
        changed(PAIR, "mid_attn"),
        "a U-Net by its keys, but: Not the 87 tensors of an official IR-SDE U-Net (in_channels 6, out_channels 3, "
        "width 8, depth 2, attention linear): missing: mid_attn",
    ),
    "extra keys": (changed(PAIR, more=torch.zeros(1)), "not known: more."),
    "another shape": (
        changed(PAIR, **{"downs.1.0.mlp.1.bias": torch.zeros(7)}),
        "of another shape: downs.1.0.mlp.1.bias (7,) for (32,)",
    ),
    "stereo": (
        changed(NAF_PAIR, **{"encoders.0.0.scam.beta": torch.zeros(1)}),
        "a NAFNet by its keys, but: Not the",
    ),
    "half a net": ({"init_conv.weight": torch.zeros(8, 6, 7, 7)}, "No weights of an official IR-SDE U-Net: expected"),
    "a codec": (random_state(CODEC), "a compression U-Net, which restores nothing; give it as --codec"),
    "no numbers": (changed(PAIR, **{"final_conv.bias": torch.full((3,), torch.nan)}), "no numbers in final_conv.bias"),
    "no pictures": (
        random_state(unet(8, 2, 9)),
        "the net makes 3 channels of 9; expected 3 of 6 (shown x-y and y) or",
    ),
    "a huge tensor": (HUGE, "final_conv.bias (1125899906842624,) for (3,)"),
    "a deep net": (DEEP, "a U-Net by its keys, but: "),
    "a bomb": ({**random_state(PAIR), "args": Bomb()}, "asks for the code"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_checkpoint_is_told_and_leaves_nothing(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    content, words = WRONG[case]
    torch.save(content, "wrong.pth")
    with pytest.raises(ModelError) as error:
        convert("irsde", tmp_path / "wrong.pth", tmp_path / "m", Wishes(preset="deblur"))
    told = str(error.value)
    assert words in told and "wrong.pth" in told and told.endswith(".")
    assert "weights_only" not in told and "\n" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.pth"]


def test_a_file_cut_short_is_told(tmp_path):
    torch.save(random_state(PAIR), tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:50_000])
    with pytest.raises(ModelError, match="damaged or cut short"):
        convert("irsde", tmp_path / "cut.pth", tmp_path / "m", Wishes(preset="deblur"))


# preset, what is in the file, words of both
DIFFER = [
    ("deblur", ALONE, "preset deblur is of a U-Net shown x-y,y, found a U-Net shown x (3 channels)"),
    ("denoise", PAIR, "preset denoise is of a U-Net shown x, found a U-Net shown x-y,y (6 channels)"),
    ("denoise", unet(8, 2, 3), "preset denoise is of a U-Net with full attention in the middle, found linear"),
    ("deblur", unet(8, 2, full=True), "preset deblur is of a U-Net with linear attention in the middle, found full"),
    ("deblur", NAF_PAIR, "preset deblur is of a U-Net shown x-y,y, found a NAFNet shown x-y,y"),
    ("refusion-denoise", NAF_PAIR, "preset refusion-denoise is of a NAFNet shown x, found a NAFNet shown x-y,y"),
    ("refusion-deshadow", NAF_LATENT, "is of a net for pictures, without a --codec, found one for latents"),
    ("latent-dehaze", NAF_PAIR, "is of a net for latents, with a --codec, found one for pictures"),
]


@pytest.mark.parametrize(("preset", "shapes", "words"), DIFFER)
def test_a_contradiction_names_both_sides(made, tmp_path, preset, shapes, words):
    with pytest.raises(ModelError) as error:
        made(shapes, Wishes(preset=preset))
    assert words in str(error.value)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (compression(4, (2, 3), 4), "makes 5 channels of 10, but latents of 4 in"),
        (PAIR, "expected a compression U-Net as --codec; found a U-Net"),
    ],
)
def test_a_codec_of_another_model_is_refused(tmp_path, shapes, words):
    torch.save(random_state(NAF_LATENT), tmp_path / "a.pth")
    torch.save(random_state(shapes), tmp_path / "b.pth")
    with pytest.raises(ModelError) as error:
        convert("irsde", tmp_path / "a.pth", tmp_path / "m", Wishes(preset="latent-dehaze", codec=tmp_path / "b.pth"))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("shapes", "wishes", "words"),
    [
        (PAIR, Wishes(), "add --task --sampler --steps --max-sigma --eps --length --theta, or --preset with one of"),
        (PAIR, replace(BY_HAND, eps=None), "does not say how its net is used; add --eps, or"),
        (PAIR, Wishes(preset="derain"), "Unknown preset 'derain'; did you mean"),
        (PAIR, replace(BY_HAND, task="derian"), "Unknown task 'derian'"),
        (PAIR, replace(BY_HAND, sampler="postérior"), "Unknown sampler 'postérior'"),
        (PAIR, replace(BY_HAND, steps=41), "41 steps are more than the schedule's 40; give --steps"),
        (PAIR, replace(BY_HAND, theta="sine"), "schedule 'irsde': Unknown theta 'sine'"),
        (PAIR, replace(BY_HAND, max_sigma=0.0), "schedule 'irsde': max_sigma must be above 0"),
        (PAIR, replace(BY_HAND, eps=1.0), "schedule 'irsde': eps must lie between 0 and 1"),
        (PAIR, replace(BY_HAND, objective="pred_res"), "--objective means nothing for files of irsde; leave it out"),
        (PAIR, replace(BY_HAND, sum_scale=1.0), "--sum-scale means nothing for files of irsde"),
        (nafnet(*BLOCKS, channels=10, out=5), Wishes(preset="latent-dehaze"), "add --codec with the file of its"),
    ],
)
def test_what_the_user_says_is_checked(tmp_path, shapes, wishes, words):
    torch.save(random_state(shapes), tmp_path / "a.pth")
    with pytest.raises(UsageError) as error:
        convert("irsde", tmp_path / "a.pth", tmp_path / "m", wishes)
    assert words in str(error.value)
    assert not (tmp_path / "m").exists()


def test_options_of_other_sources_are_refused(tmp_path):
    torch.save(trainer(Layout()), tmp_path / "a.pt")
    with pytest.raises(UsageError, match="--max-sigma means nothing for files of rddm"):
        convert("rddm", tmp_path / "a.pt", tmp_path / "m", Wishes(preset="raindrop", max_sigma=10.0))
