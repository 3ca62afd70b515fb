"""Official RDDM files become models that draw what official code draws; whatever else is refused with a sentence."""

import json
import os

import pytest
import torch
from official_rddm import SHAPE, SHOWN, draw, official_state, wave
from official_trainer import LAYOUTS, Layout, buffers, derived, model_state, official_picture, random_state, trainer

from restorer import Restorer
from restorer.convert.official import SOURCES, Wishes, convert
from restorer.convert.rddm import OBJECTIVES
from restorer.convert.rddm_buffers import schedule_of
from restorer.convert.rddm_presets import PRESETS
from restorer.diffusion.predict import INPUTS, OUTPUTS, TIMES
from restorer.diffusion.samplers import SAMPLERS
from restorer.entry import TASKS
from restorer.errors import ModelError, UsageError
from restorer.load import build_schedule
from restorer.nets import NETS
from restorer.nets.rddm_unet import options_of, rename
from restorer.prepare import equalize, fill
from restorer.sampling import sample
from restorer.settings import Settings

CPU = torch.device("cpu")
BY_HAND = Wishes(task="derain", objective="pred_res_noise", time="index", input=("x", "y"), sampler="rddm", steps=5)


@pytest.fixture
def made(tmp_path):
    """Save a checkpoint and convert it; answers the loaded model."""

    def make(content, wishes, **more):
        torch.save(content, tmp_path / "model-100.pt")
        convert("rddm", tmp_path / "model-100.pt", tmp_path / "made", wishes, overwrite=True, **more)
        return Restorer.from_pretrained(str(tmp_path / "made"), device="cpu", dtype="fp32")

    return make


def sampled(model, y, mask=None, **settings):
    """Through the flow of a picture, but for the refusal of models that draw from noise alone."""
    settings = model.settled(Settings(**settings))
    *_, last = sample(model.denoiser, y, model.entry.sample, settings, CPU, mask=mask)
    return (last.x + 1) / 2


# ------------------------------------------------------------------------------------------------ what is drawn


@pytest.mark.parametrize("preset", PRESETS)
def test_a_converted_model_draws_what_official_code_draws(made, preset):
    layout = LAYOUTS[preset]
    weights = random_state(layout.form, layout.channels)
    model = made(trainer(layout, model_state(layout, weights)), Wishes(preset=preset))
    options = options_of(weights)
    net = NETS[options.pop("arch")](**options).eval()
    net.load_state_dict(rename(weights))
    y, mask = (0.5 + 0.4 * wave((1, 3, 12, 16), 0.031, k) for k in (1.0, 2.0))
    if layout.generation:
        y = torch.full_like(y, 0.5)
    mask = (mask[:, :1] > 0.5).float().expand(-1, 3, -1, -1)
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(7))
    shown = {"equalize": equalize(y), "fill:0.5": fill(y, mask, 0.5), None: y}[PRESETS[preset].prepare]
    wanted = official_picture(net, layout, shown, mask, PRESETS[preset].steps, noise)
    got = sampled(model, shown, mask, seed=7)
    # Official tables are float32, ours float64; nets of random weights make more of that than trained ones.
    assert torch.allclose(got, wanted, atol=1e-4) and wanted.std() > 0.1
    if not layout.generation:
        marked = {"mask": mask} if model.takes_mask else {}
        assert torch.allclose(model(y, seed=7, **marked), wanted.clamp(0, 1), atol=1e-4)


# (layout, wishes): mean, standard deviation, elements of the picture that official classes drew
GOLDEN = [
    (Layout(), Wishes(preset="raindrop"), (0.510068, 0.384340, 1, 0.918337, 0.186442, 0.522389)),
    (Layout("one"), Wishes(preset="lol"), (0.515837, 0.317638, 0.990878, 1, 0.747856, 0.273645)),
    (Layout("shared"), BY_HAND, (0.491998, 0.390682, 0.997947, 1, 0.053682, 0.772497)),
    (
        LAYOUTS["celeba64-path"],
        Wishes(preset="celeba64-path"),
        (0.511044, 0.369631, 0.831617, 0.822804, 0.061299, 0.685564),
    ),
    (LAYOUTS["inpaint"], Wishes(preset="inpaint"), (0.508106, 0.384436, 1, 1, 0.178442, 0.514485)),
]


@pytest.mark.parametrize(("layout", "wishes", "values"), GOLDEN)
def test_a_converted_model_gives_the_golden_picture(made, monkeypatch, layout, wishes, values):
    model = made(trainer(layout, model_state(layout, official_state(layout.form, layout.channels))), wishes)
    draws = iter(range(1, 100))
    monkeypatch.setattr(torch, "randn", lambda shape, generator: draw(shape, next(draws)))
    y = torch.full(SHAPE, 0.5) if layout.generation else 0.5 + 0.4 * wave(SHAPE, 0.031, 1.0)
    picture = sampled(model, y)
    got = [float(picture.mean()), float(picture.std(correction=0)), *picture.flatten()[SHOWN].tolist()]
    assert got == pytest.approx(values, rel=2e-5, abs=2e-6)


# ------------------------------------------------------------------------------------------------ what is read


def test_presets_use_known_words_and_each_has_a_layout():
    assert set(PRESETS) == set(LAYOUTS)
    for preset in PRESETS.values():
        assert preset.task in TASKS and preset.time in TIMES and preset.sampler in SAMPLERS
        assert preset.output in OUTPUTS and set(preset.input) <= set(INPUTS)
    assert set(OBJECTIVES.values()) == set(OUTPUTS) - {"euler_eps", "v"}
    assert list(SOURCES) == ["rddm", "irsde", "ddim", "diffusers"]


def test_the_card_says_all_that_is_known(made):
    model = made(trainer(LAYOUTS["istd"]), Wishes(preset="istd", name="shadows", license="ask"))
    entry = model.entry
    assert (entry.name, entry.task, entry.license, entry.data) == ("shadows", "deshadow", "ask", "ISTD")
    assert entry.schedule == {
        **{"kind": "rddm", "T": 1000, "alpha": "decreased", "beta": "increased"},
        **{"sum_scale": 0.01, "family": "integer"},
    }
    assert entry.net == {"arch": "rddm_unet_two", "in_channels": 9, "dim": 8, "dim_mults": [1, 2]}
    assert (entry.predict.input, entry.predict.clip) == (("x", "y", "mask"), "official")
    assert (entry.size.multiple, entry.size.trained, entry.sample.start) == (2, 256, None)
    assert "model-100.pt" in entry.source and "preset istd" in entry.source
    assert entry.weights.dtype == "float32"


def test_a_schedule_from_ddim_starts_with_the_whole_noise(made):
    assert made(trainer(LAYOUTS["celeba64-path"]), Wishes(preset="celeba64-path")).entry.sample.start == 1.0


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_the_dtype_of_the_weights(made, dtype):
    model = made(trainer(Layout()), Wishes(preset="raindrop"), dtype=dtype)
    assert model.entry.weights.dtype == str(dtype or torch.float32).removeprefix("torch.")


@pytest.mark.parametrize(
    ("pick", "notes"),
    [
        (lambda t: t, 0),
        (lambda t: {"ema": t["ema"]}, 0),
        (lambda t: {**t, "version": "1.0"}, 1),
        (lambda t: t["ema"], 0),
        (lambda t: model_state(Layout()), 1),
    ],
    ids=["whole", "no optimiser", "more keys", "ema alone", "model alone"],
)
def test_a_trainers_file_or_a_part_of_it(tmp_path, pick, notes):
    torch.save(pick(trainer(Layout())), tmp_path / "a.pt")
    made = convert("rddm", tmp_path / "a.pt", tmp_path / "m", Wishes(preset="raindrop", license="MIT"))
    assert len(made.notes) == notes
    wanted = rename(random_state("two", 6))
    assert all(torch.equal(value, wanted[key]) for key, value in made.net.state_dict().items())


def test_old_files_that_are_no_zip_are_read(tmp_path):
    torch.save(trainer(Layout()), tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert convert("rddm", tmp_path / "a.pt", tmp_path / "m", Wishes(preset="raindrop")).entry.task == "derain"


@pytest.mark.parametrize(("share", "output"), [(1.0, "res"), (0.49, "eps")])
def test_automatic_selection_is_decided_by_the_file(made, share, output):
    layout = Layout("one", family="ddim", optimisers=("opt0",), share=share)
    said = {**vars(BY_HAND), "objective": None, "sum_scale": 1.0}
    assert made(trainer(layout), Wishes(**said)).entry.predict.output == output
    assert made(trainer(layout), Wishes(**{**said, "objective": "auto_res_noise"})).entry.predict.output == output
    other = {"res": "pred_noise", "eps": "pred_res"}[output]
    with pytest.raises(ModelError, match=f"--objective says .* found alpha_res {share:g}"):
        made(trainer(layout), Wishes(**{**said, "objective": other}))


# ------------------------------------------------------------------------------------------------ schedules


@pytest.mark.parametrize("T", [10, 1000])
@pytest.mark.parametrize(
    ("family", "sum_scale", "wanted"),
    [
        ("double", 1.0, {"kind": "rddm", "sum_scale": 1.0, "family": "integer"}),
        ("double", 0.01, {"kind": "rddm", "sum_scale": 0.01, "family": "integer"}),
        ("single", 1.0, {"kind": "rddm", "sum_scale": 1.0, "family": "linspace"}),
        ("ddim", 1.0, {"kind": "vp", "beta": "linear"}),
    ],
)
def test_official_buffers_are_found_again_by_name(T, family, sum_scale, wanted):
    table = buffers(family, sum_scale, T)
    found = schedule_of(table, "here")
    assert {key: found[key] for key in wanted} == wanted
    assert_same(found, table)


def assert_same(found, table):
    schedule = build_schedule(found)
    assert torch.allclose(schedule.shift[1:].float(), table["alphas_cumsum"], atol=2e-6)
    assert torch.allclose(schedule.sigma[1:].float(), table["betas_cumsum"], atol=2e-6)


def test_readjusted_buffers():
    """P(x, 2) has no name; average and normal ones have."""
    ramp = torch.linspace(0, 1, 50)
    squares, average = ramp**2 / (ramp**2).sum(), torch.full((50,), 0.02)
    bell = torch.exp(-(torch.linspace(-3, 3, 50) ** 2) / 2)
    for alphas, betas2, kind in (
        (squares.flip(0), average, "tables"),
        (average, ramp / ramp.sum(), "rddm"),
        (bell / bell.sum(), average, "rddm"),
    ):
        table = derived(alphas, betas2, alphas.cumsum(0).clip(0, 1), betas2.cumsum(0).clip(0, 1))
        found = schedule_of(table, "here")
        assert found["kind"] == kind
        assert_same(found, table)
        assert_same(json.loads(json.dumps(found)), table)


def test_a_model_with_tables_runs(made):
    ramp = torch.linspace(0, 1, 50) ** 2
    ramp = ramp / ramp.sum()
    table = derived(ramp.flip(0), ramp, ramp.flip(0).cumsum(0).clip(0, 1), ramp.cumsum(0).clip(0, 1))
    model = made(trainer(Layout(), model_state(Layout(), schedule=table)), BY_HAND)
    assert model(torch.rand(1, 3, 9, 9), steps=3).isfinite().all()


# ------------------------------------------------------------------------------------------------ what is refused


def changed(state, drop=(), **more):
    return {**{key: value for key, value in state.items() if not key.endswith(tuple(drop) or ("\0",))}, **more}


def ema_of(layout, drop=(), **more):
    return trainer(layout, changed(model_state(layout), drop, **more))


class Bomb:
    """A pickle of it runs a command when it is loaded without care."""

    def __reduce__(self):
        return os.system, ("touch exploded",)


TWO = Layout()
HUGE = changed(model_state(TWO), **{"model.unet0.final_conv.bias": torch.zeros(1).expand(2**50)})
WRONG = {
    "a tensor": (torch.zeros(3), "found a Tensor, expected the dict of an RDDM trainer"),
    "an empty dict": ({}, "found the keys nothing; expected the dict"),
    "another trainer": ({"state_dict": {}, "epoch": 3}, "found the keys state_dict, epoch; expected"),
    "no ema": (
        {k: v for k, v in trainer(TWO).items() if k != "ema"},
        "expected the EMA weights in ema, with which official code samples; found only",
    ),
    "a net alone": (random_state("two", 6), "found the keys unet0.init_conv.weight"),
    "no ema_model": ({"ema": {"online_model.a": torch.zeros(1)}}, "expected keys ema_model... in ema; found online_mo"),
    "missing weights": (ema_of(TWO, ["downs.1.0.mlp.1.weight"]), "missing: unet0.downs.1.0.mlp.1.weight"),
    "missing buffers": (ema_of(TWO, [".alphas_cumsum", "alphas_cumsum"]), "buffers, but missing: alphas_cumsum"),
    "extra weights": (ema_of(TWO, **{"model.unet0.more": torch.zeros(1)}), "not known: unet0.more"),
    "extra buffers": (ema_of(TWO, gammas=torch.zeros(1)), "found keys that are not RDDM's: gammas"),
    "another shape": (
        ema_of(TWO, **{"model.unet1.final_conv.bias": torch.zeros(4)}),
        "of another shape: unet1.final_conv.bias (4,) for (3,)",
    ),
    "another net": ({"ema": {"ema_model.model.conv1.weight": torch.zeros(3)}}, "found conv1.weight"),
    "whole numbers": (ema_of(TWO, **{"model.unet0.final_conv.bias": torch.zeros(3, dtype=torch.int)}), "(torch.int32)"),
    "no tensors": (ema_of(TWO, **{"model.unet0.final_conv.bias": 3}), "unet0.final_conv.bias (int)"),
    "no numbers": (ema_of(TWO, **{"model.unet0.final_conv.bias": torch.full((3,), torch.nan)}), "are no numbers in"),
    "other channels": (trainer(Layout(channels=4)), "takes 4 channels; expected 3, 6, 9"),
    "short buffers": (ema_of(TWO, alphas=torch.zeros(3)), "rows of one length, 1 to 100000; found alphas (3,)"),
    "odd buffers": (ema_of(TWO, betas2_cumsum=torch.zeros(1000)), "betas2_cumsum does not follow"),
    "falling buffers": (
        trainer(TWO, model_state(TWO, schedule={k: v.flip(0) for k, v in buffers().items()})),
        "the buffers are no schedule: shift must never fall",
    ),
    "a huge tensor": (
        {"ema": {"ema_model." + key: value for key, value in HUGE.items()}},
        "unet0.final_conv.bias (1125899906842624,) for (3,)",
    ),
    "a huge buffer": (ema_of(TWO, alphas=torch.zeros(1).expand(2**50)), "found alphas (1125899906842624,)"),
    "a bomb": ({**trainer(TWO), "args": Bomb()}, "asks for the code"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_checkpoint_is_told_and_leaves_nothing(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    content, words = WRONG[case]
    for zipped in (True, False) if case == "a bomb" else (True,):
        torch.save(content, "wrong.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(ModelError) as error:
            convert("rddm", tmp_path / "wrong.pt", tmp_path / "m", Wishes(preset="raindrop"))
        told = str(error.value)
        assert words in told and "wrong.pt" in told and told.endswith(".")
        assert "weights_only" not in told and "\n" not in told and "\x1b" not in told
        assert [path.name for path in tmp_path.iterdir()] == ["wrong.pt"]


# what is said, what is in the file, and words of both
DIFFER = [
    (
        Wishes(preset="istd"),
        TWO,
        "preset istd says that the net is shown x,y,mask (9 channels), found one that",
    ),
    (Wishes(preset="raindrop"), Layout(channels=9), "shown x,y (6 channels), found one that takes 9 (x,y,mask)"),
    (Wishes(preset="lol"), TWO, "preset lol says the objective res of 1 outputs, found two nets, which makes 2"),
    (Wishes(preset="raindrop"), Layout("one"), "the objective res_eps of 2 outputs, found one net, which makes 1"),
    (Wishes(preset="raindrop"), Layout(sum_scale=0.01), "preset raindrop says sum_scale 1, found 0.01"),
    (Wishes(preset="istd"), Layout(channels=9), "preset istd says sum_scale 0.01, found 1"),
    (Wishes(preset="raindrop"), Layout(family="ddim"), "kind rddm, alpha decreased.*found one of kind vp, beta linear"),
    (Wishes(preset="raindrop"), Layout(optimisers=("opt0", "opt1")), "a trainer that saves opt, found opt0 and opt1"),
    (
        Wishes(preset="celeba64"),
        LAYOUTS["celeba64-path"],
        "preset celeba64 has a schedule of kind rddm.*family linspace, found one of kind vp",
    ),
    (Wishes(**{**vars(BY_HAND), "sum_scale": 0.5}), TWO, "--sum-scale says sum_scale 0.5, found 1"),
    (Wishes(**{**vars(BY_HAND), "sum_scale": float("nan")}), TWO, "--sum-scale says sum_scale nan, found 1"),
    (Wishes(**{**vars(BY_HAND), "input": ("x",)}), TWO, "--input says that the net is shown x .3 channels., found"),
    (
        Wishes(**{**vars(BY_HAND), "objective": "res", "time": "shift_sigma"}),
        Layout("one"),
        "--time says the time shift_sigma, one for each of two nets, found one net",
    ),
    (Wishes(**{**vars(BY_HAND), "objective": "auto_res_noise"}), TWO, "says auto_res_noise, found no alpha_res"),
]


@pytest.mark.parametrize(("wishes", "layout", "words"), DIFFER)
def test_a_contradiction_names_both_sides(tmp_path, wishes, layout, words):
    torch.save(trainer(layout), tmp_path / "a.pt")
    words = words.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(ModelError, match=words):
        convert("rddm", tmp_path / "a.pt", tmp_path / "m", wishes)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        (Wishes(), "add --task --objective --time --input --sampler --steps, or --preset with one of raindrop, "),
        (Wishes(**{**vars(BY_HAND), "time": None}), "does not say how its net is used; add --time, or"),
        (Wishes(preset="raindrops"), "Unknown preset 'raindrops'; did you mean 'raindrop'"),
        (Wishes(**{**vars(BY_HAND), "task": "derian"}), "Unknown task 'derian'"),
        (Wishes(**{**vars(BY_HAND), "objective": "pred_ress"}), "Unknown objective 'pred_ress'; did you mean"),
        (Wishes(**{**vars(BY_HAND), "time": "indices"}), "Unknown time 'indices'"),
        (Wishes(**{**vars(BY_HAND), "input": ("x", "z")}), "Unknown input 'z'"),
        (Wishes(**{**vars(BY_HAND), "input": ("y", "x")}), "shown one of x; x,y; x,y,mask, in this order; not y,x"),
        (Wishes(**{**vars(BY_HAND), "sampler": "rdmd"}), "Unknown sampler 'rdmd'"),
        (Wishes(**{**vars(BY_HAND), "steps": 2000}), "--steps says 2000 steps, more than the schedule's 1000"),
    ],
)
def test_what_the_user_says_is_checked(tmp_path, wishes, words):
    torch.save(trainer(Layout()), tmp_path / "a.pt")
    with pytest.raises(UsageError) as error:
        convert("rddm", tmp_path / "a.pt", tmp_path / "m", wishes)
    assert words in str(error.value)
    assert not (tmp_path / "m").exists()


def test_a_schedule_from_ddim_does_not_say_its_noise(tmp_path):
    torch.save(trainer(Layout(family="ddim")), tmp_path / "a.pt")
    with pytest.raises(UsageError, match="add --sum-scale"):
        convert("rddm", tmp_path / "a.pt", tmp_path / "m", BY_HAND)


def test_an_option_that_differs_from_the_preset_counts_and_is_told(made, tmp_path):
    torch.save(trainer(Layout()), tmp_path / "a.pt")
    wishes = Wishes(preset="raindrop", steps=7, sampler="ddim", license="MIT")
    done = convert("rddm", tmp_path / "a.pt", tmp_path / "m", wishes)
    assert (done.entry.sample.sampler, done.entry.sample.steps) == ("ddim", 7)
    assert done.notes == (
        "--sampler ddim is taken, not rddm of the preset raindrop.",
        "--steps 7 is taken, not 5 of the preset raindrop.",
    )


def test_a_folder_with_content_is_left_alone(tmp_path):
    torch.save(trainer(Layout()), tmp_path / "a.pt")
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="has content already; use -y"):
        convert("rddm", tmp_path / "a.pt", folder, Wishes(preset="raindrop"))
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    convert("rddm", tmp_path / "a.pt", folder, Wishes(preset="raindrop"), overwrite=True)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "notes.txt",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "m"]
    with pytest.raises(UsageError, match=r"a\.pt is a file"):
        convert("rddm", tmp_path / "a.pt", tmp_path / "a.pt", Wishes(preset="raindrop"), overwrite=True)
    with pytest.raises(UsageError, match="Unknown source 'rdm'; did you mean 'rddm'"):
        convert("rdm", tmp_path / "a.pt", folder, Wishes())
