"""DDIM and DDPM models of diffusers: the same pictures before conversion, after it, and in diffusers itself."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

from restorer.convert.ddim import difference, opened, to_ddim, to_rddm
from restorer.convert.official import convert
from restorer.convert.wishes import Wishes
from restorer.diffusion.samplers import time_grid
from restorer.errors import ModelError, UsageError
from restorer.generate import sample
from restorer.load import build_schedule, find
from restorer.restore import Restorer
from restorer.settings import Settings

CONFIG = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    **{"layers_per_block": 1, "norm_num_groups": 4, "sample_size": 8, "attention_head_dim": None},
}
SEED, COUNT = 3, 2
BETAS = [1e-4 + 0.04 * (i / 200) ** 2 for i in range(200)]
UNET, SCHEDULER = "unet/config.json", "scheduler/scheduler_config.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def pipeline(**scheduler):
    torch.manual_seed(0)
    return DDIMPipeline(UNet2DModel(**CONFIG).eval(), DDIMScheduler(**scheduler))


def saved(folder, **scheduler):
    pipeline(**scheduler).save_pretrained(folder)
    return folder


def model(folder):
    return Restorer.from_pretrained(str(folder), device="cpu", dtype="fp32")


def drawn(folder, **words):
    return torch.cat(list(model(folder).generate(COUNT, seed=SEED, **words)))


def drawn_by_diffusers(made, steps, eta):
    made.set_progress_bar_config(disable=True)
    rngs = [torch.Generator().manual_seed(SEED + i) for i in range(COUNT)]
    words = {"num_inference_steps": steps, "eta": eta, "generator": rngs, "output_type": "np"}
    return torch.from_numpy(made(batch_size=COUNT, **words).images).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """(diffusers folder, the RDDM model made of it, the diffusers folder made of that), nothing clipped."""
    folder = tmp_path_factory.mktemp("models")
    before = saved(folder / "before", clip_sample=False)
    to_rddm(opened(str(before)), folder / "after")
    to_ddim(opened(str(folder / "after")), folder / "back")
    return before, folder / "after", folder / "back"


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [5, 10, 20, 100])
def test_pictures_are_those_of_diffusers_before_and_after_conversion(forms, steps, eta):
    wanted = drawn_by_diffusers(pipeline(clip_sample=False), steps, eta)
    assert wanted.std() > 0.1
    for folder in forms:
        assert (drawn(folder, steps=steps, eta=eta) - wanted).abs().max() < 1e-4


def test_the_folder_that_is_written_back_loads_into_diffusers(forms):
    back = DDIMPipeline.from_pretrained(str(forms[2]))
    for key, value in pipeline().unet.state_dict().items():
        assert torch.equal(back.unet.state_dict()[key], value)
    for key, value in pipeline(clip_sample=False).scheduler.config.items():
        assert key.startswith("_") or back.scheduler.config[key] == value
    assert torch.equal(drawn_by_diffusers(back, 5, 0.0), drawn_by_diffusers(pipeline(clip_sample=False), 5, 0.0))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_with_clipping_ddim_is_still_diffusers_and_rddm_is_the_known_part_off(tmp_path, eta):
    """The first step differs by sqrt(alpha_bar) (x0 - clipped x0); a step that ends on x0 does not."""
    saved(tmp_path / "before", clip_sample=True)
    to_rddm(opened(str(tmp_path / "before")), tmp_path / "after")
    before, after = tmp_path / "before", tmp_path / "after"
    wanted = drawn_by_diffusers(pipeline(clip_sample=True), 5, eta)
    assert (drawn(before, steps=5, eta=eta) - wanted).abs().max() < 1e-4
    assert (drawn(before, steps=1, eta=eta) - drawn(after, steps=1, eta=eta)).abs().max() < 1e-5
    states = {}
    for folder in (before, after):
        made = model(folder)
        settings = made.settled(Settings(5, eta, SEED))
        first = sample(made.denoiser, [SEED], settings, made.entry.sample.sampler, (8, 8), made.device)
        states[folder] = [next(first), next(first)]
    start = states[before][0]
    denoiser = model(before).denoiser
    free = replace(denoiser, clip="none")(start.x, start.t, torch.zeros_like(start.x)).x0
    left = 1 - float(denoiser.schedule.shift[start.t])
    off = left * (free - free.clamp(-1, 1))
    assert off.abs().max() > 0.01
    assert torch.allclose(states[after][1].x - states[before][1].x, off, atol=1e-5)


def test_the_times_are_chosen_by_name(forms):
    for times, wanted in (("leading", [801, 601, 401, 201, 1, 0]), ("rddm", time_grid(1000, 5))):
        made = model(forms[1])
        heard = []
        made.denoiser.net.register_forward_hook(lambda net, fed, out, heard=heard: heard.append(int(fed[1])))
        next(made.generate(steps=5, times=times))
        assert heard == [t - 1 for t in wanted[:-1]]


@pytest.mark.parametrize("beta", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_schedules_are_those_of_diffusers(tmp_path, beta):
    theirs = DDIMScheduler(num_train_timesteps=200, beta_schedule=beta, beta_start=1e-3, beta_end=0.03)
    DDIMPipeline(pipeline().unet, theirs).save_pretrained(tmp_path)
    entry = find(str(tmp_path)).entry
    schedule = build_schedule(entry.schedule)
    alpha_bar = theirs.alphas_cumprod.double()
    assert torch.allclose(schedule.shift[1:], 1 - alpha_bar.sqrt(), atol=1e-5)
    assert torch.allclose(schedule.sigma[1:], (1 - alpha_bar).sqrt(), atol=1e-5)
    assert (entry.sample.sampler, entry.sample.steps, entry.sample.times) == ("ddim", 50, "leading")


@pytest.mark.parametrize(
    "scheduler", [{"trained_betas": BETAS}, {"timestep_spacing": "trailing"}, {"prediction_type": "v_prediction"}]
)
def test_lists_of_betas_trailing_times_and_velocities_are_those_of_diffusers_both_ways(tmp_path, scheduler):
    words = {"clip_sample": False, "num_train_timesteps": 200} | scheduler
    before, after, back = (tmp_path / name for name in ("before", "after", "back"))
    saved(before, **words)
    to_rddm(opened(str(before)), after)
    to_ddim(opened(str(after)), back)
    wanted = drawn_by_diffusers(pipeline(**words), 4, 1.0)
    for folder in (before, after):
        assert (drawn(folder, steps=4, eta=1.0) - wanted).abs().max() < 1e-4
    for key, value in scheduler.items():
        assert DDIMPipeline.from_pretrained(str(back)).scheduler.config[key] == value


def at_the_root(folder):
    """As on the Hub: the files of all parts beside each other."""
    for part in ("unet", "scheduler"):
        for file in (folder / part).iterdir():
            file.rename(folder / file.name)
        (folder / part).rmdir()


def as_bin(folder):
    file = folder / WEIGHTS
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()


def with_old_names(folder):
    file = folder / WEIGHTS
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(file)
    for new, name in old.items():
        state = {key.replace(f".{new}.", f".{name}."): value for key, value in state.items()}
    assert any("proj_attn" in key for key in state)
    save_file(state, file)


def with_ddpm(folder):
    DDPMScheduler(clip_sample=False).save_pretrained(folder / "scheduler")
    edited(folder / SCHEDULER, predict_epsilon=True, prediction_type="gone")


@pytest.mark.parametrize("change", [at_the_root, as_bin, with_old_names, with_ddpm])
def test_every_layout_is_the_same_model(tmp_path, forms, change):
    folder = shutil.copytree(forms[0], tmp_path / "other")
    change(folder)
    if change is as_bin:  # which runs once it is converted
        convert("diffusers", folder, tmp_path / "model", Wishes())
        folder = tmp_path / "model"
    # Not the last bit: where weights lie in memory may decide how a sum is taken.
    assert (drawn(folder, steps=2) - drawn(forms[0], steps=2)).abs().max() < 1e-4


def edited(file, **changes):
    data = json.loads(file.read_text())
    file.write_text(json.dumps({key: value for key, value in {**data, **changes}.items() if value != "gone"}))


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        (UNET, {"_class_name": "UNet2DConditionModel"}, "a UNet2DConditionModel of diffusers; only"),
        (UNET, {"class_embed_type": "timestep"}, "class_embed_type is 'timestep'; of UNet2DModel only None"),
        (UNET, {"in_channels": 4}, "a net from 4 to 3 channels, not 3 to 3"),
        (UNET, {"block_out_channels": [8, 32]}, "tensors of this UNet2DModel: of another shape: "),
        (SCHEDULER, {"_class_name": "PNDMScheduler"}, "a PNDMScheduler of diffusers; only DDIM"),
        (SCHEDULER, {"prediction_type": "sample"}, "prediction_type is 'sample'; only"),
        (SCHEDULER, {"timestep_spacing": "linspace"}, "timestep_spacing is 'linspace'; only 'leading' or 'trailing' c"),
        (SCHEDULER, {"trained_betas": [0.1]}, "trained_betas is a list of 1; only a list of num_train_timesteps, 1000"),
        (SCHEDULER, {"trained_betas": "cosine"}, "trained_betas is 'cosine'; only a list"),
        (SCHEDULER, {"trained_betas": [2.0] * 1000}, "betas must lie between 0 and 1"),
        (SCHEDULER, {"trained_betas": ["a"] * 1000}, "schedule 'betas': "),
        (SCHEDULER, {"clip_sample": 3}, "clip_sample is 3, neither true nor false"),
        (SCHEDULER, {"beta_schedule": "sigmoid"}, "Unknown beta 'sigmoid'; known: linear"),
        (SCHEDULER, {"betas": 1}, "unknown key 'betas' for a DDIMScheduler or DDPMScheduler"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, forms, file, changes, words):
    folder = shutil.copytree(forms[0], tmp_path / "other")
    edited(folder / file, **changes)
    with pytest.raises(ModelError) as error:
        model(folder)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (WEIGHTS, None, "no weights; expected diffusion_pytorch"),
        (WEIGHTS, b"odd", "cannot be read as weights: "),
        (SCHEDULER, None, "missing, without which the model's schedule is unknown"),
        (UNET, None, "a diffusers folder without a UNet2DModel"),
        (UNET, b"{", "is no JSON: "),
        (UNET, b"[]", "is no table of keys"),
    ],
)
def test_missing_and_damaged_files_are_named(tmp_path, forms, file, content, words):
    folder = shutil.copytree(forms[0], tmp_path / "other")
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    with pytest.raises(ModelError) as error:
        model(folder)
    assert words in str(error.value)


@pytest.mark.parametrize("content", [{"a": "text"}, [1], print])
def test_a_bin_that_holds_no_tensors_is_refused_and_nothing_in_it_runs(tmp_path, forms, content):
    folder = shutil.copytree(forms[0], tmp_path / "other")
    as_bin(folder)
    torch.save(content, folder / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(ModelError, match=r"\.bin: (holds no table of tensors|asks for the code )"):
        opened(str(folder))
    with pytest.raises(ModelError, match=r"a kind of file that can hold code; it runs once it is converted"):
        model(folder)


def test_the_difference_of_two_models_is_seen(tmp_path, forms):
    assert difference(*(opened(str(form)) for form in forms[:2])) < 1e-5
    other = shutil.copytree(forms[0], tmp_path / "other")
    file = other / WEIGHTS
    save_file({key: 1.01 * value for key, value in load_file(file).items()}, file)
    assert difference(opened(str(forms[0])), opened(str(other))) > 1e-3


def test_models_that_have_no_ddim_form(toy):
    with pytest.raises(UsageError, match="'toy' has schedule 'rddm'; a DDIM model has 'vp' or 'betas'"):
        opened(str(toy))


def test_another_pipelines_parts_are_not_written_beside(tmp_path, forms):
    folder = shutil.copytree(forms[0], tmp_path / "other")
    with pytest.raises(UsageError, match="holds another pipeline's unet; name another folder"):
        to_ddim(opened(str(forms[1])), folder)


def test_the_command(here, cli, forms, monkeypatch):
    before = str(forms[0])
    result = cli("convert-ddim", before, "after", model=False)
    assert result.exit_code == 0, result.stderr
    told, checked = result.stdout.splitlines()
    assert told == "after: rddm model, sampler rddm-ddim, times leading"
    assert checked.startswith("largest difference in 5 steps: ") and float(checked.split()[-1]) < 1e-5
    assert find("after").entry.method == "rddm"
    result = cli("convert-ddim", "after", "back", "--to", "ddim", "--no-check", model=False)
    assert result.exit_code == 0 and result.stdout == "back: ddpm model, sampler ddim, times leading\n"
    assert cli("convert-ddim", "after", "back", "--to", "ddim", model=False).exit_code == 2
    assert cli("convert-ddim", "after", "back", "--to", "ddim", "-y", model=False).exit_code == 0
    assert "is the model itself" in cli("convert-ddim", "after", "after", "-y", model=False).stderr
    monkeypatch.setattr("restorer.convert.ddim.difference", lambda before, after: 1e-3)
    result = cli("convert-ddim", before, "wrong", model=False)
    assert result.exit_code == 1 and "largest difference in 5 steps: 1.0e-03" in result.stdout
    assert "wrong does not draw what" in result.stderr
