"""Cards and weights to nets: every table's names are usable, and what does not fit is told in a sentence."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from toy import MULTIPLE, NET, card_data, toy_model, toy_net

from restorer import entry as entry_module
from restorer.diffusion.predict import OUTPUTS, TIMES
from restorer.diffusion.samplers import SAMPLERS
from restorer.diffusion.schedule import SCHEDULES
from restorer.entry import hash_file, parse_entry
from restorer.errors import ModelError, UsageError
from restorer.load import build_net, build_schedule, card_inside, check_names, denoiser, find, load
from restorer.nets import NETS

CPU = torch.device("cpu")


def load_toy(folder, dtype=torch.float32):
    return load(find(str(folder)), CPU, dtype)


def rewrite_card(folder, **changes):
    file = folder / "config.json"
    data = json.loads(file.read_text(encoding="utf-8"))
    data["weights"].update(changes)
    file.write_text(json.dumps(data), encoding="utf-8")


def pictures(size=4 * MULTIPLE):
    return 2 * torch.rand(2, 1, 3, size, size, generator=torch.Generator().manual_seed(0)) - 1


# finding


def test_a_folder_is_found_and_its_weights_are_proven(tmp_path):
    found = find(str(toy_model(tmp_path / "toy")))
    assert found.entry.name == "toy"
    assert found.weights == tmp_path / "toy" / "model.safetensors"
    assert found.sha256 == hash_file(found.weights) == found.entry.weights.sha256
    assert found.sha256 == hashlib.sha256(found.weights.read_bytes()).hexdigest()


def test_a_file_with_its_card_inside_runs_alone(tmp_path):
    folder = toy_model(tmp_path / "toy")
    alone = shutil.copy(folder / "model.safetensors", tmp_path / "ema.safetensors")
    assert card_inside(alone).name == "toy"
    x, y = pictures()
    assert torch.equal(load_toy(alone)(x, 5, y).x0, load_toy(folder)(x, 5, y).x0)


def test_a_model_that_comes_with_restorer_is_found_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(entry_module, "models_folder", lambda: tmp_path)
    toy_model(tmp_path / "toy")
    assert find("toy").weights == tmp_path / "toy" / "model.safetensors"
    with pytest.raises(ModelError, match=r"No model 'tyo': .* restorer comes with: toy"):
        find("tyo")


def test_weights_that_are_a_link_are_followed(tmp_path):
    """The Hub's client keeps its files so: a folder of links to blobs elsewhere."""
    folder = toy_model(tmp_path / "hub" / "models--acme--rain" / "snapshots" / "abc")
    for blobs in (folder.parents[1] / "blobs", folder.parents[2] / "blobs"):
        blobs.mkdir()
        blob = (folder / "model.safetensors").resolve().rename(blobs / "abc")
        (folder / "model.safetensors").unlink(missing_ok=True)
        (folder / "model.safetensors").symlink_to(blob)
        assert find(str(folder)).entry.name == "toy"


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    folder = toy_model(tmp_path / "toy")
    (tmp_path / "blobs").mkdir()
    (folder / "model.safetensors").rename(tmp_path / "blobs" / "abc")
    (folder / "model.safetensors").symlink_to(tmp_path / "blobs" / "abc")
    with pytest.raises(ModelError, match=r"model\.safetensors: a link out of the model's folder, to .*abc; put"):
        find(str(folder))
    (folder / "own").mkdir()
    (tmp_path / "blobs" / "abc").rename(folder / "own" / "abc")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("own/abc")
    assert find(str(folder)).entry.name == "toy"


@pytest.mark.parametrize("file", ["../model.safetensors", "a/../../model.safetensors", "/model.safetensors", ".."])
def test_weights_outside_the_folder_are_refused(tmp_path, file):
    folder = toy_model(tmp_path / "toy")
    shutil.copy(folder / "model.safetensors", tmp_path)
    rewrite_card(folder, file=file)
    with pytest.raises(ModelError, match="leaves the model's folder"):
        find(str(folder))


def test_weights_that_changed_are_refused(tmp_path):
    folder = toy_model(tmp_path / "toy")
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(ModelError, match=r"not the weights of toy: sha256 [0-9a-f]{64}, the card says .* Get the file"):
        find(str(folder))


def test_missing_weights_are_named(tmp_path):
    folder = toy_model(tmp_path / "toy")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors: cannot read the model's weights: No such file"):
        find(str(folder))


def test_a_card_without_weights_names_none(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(card_data()), encoding="utf-8")
    with pytest.raises(ModelError, match="names no weights"):
        find(str(tmp_path))


def test_a_folder_without_a_card_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"a folder without config\.json, so no model"):
        find(str(tmp_path))


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, "carries no card, so how to use it is unknown"),
        ({"format": "pt"}, "carries no card"),
        ({"config.json": "{"}, "the model's card is no JSON"),
        ({"config.json": "[]"}, "expected a table of keys, found list"),
        ({"config.json": json.dumps(card_data(names="toy"))}, "Unknown key 'names'; did you mean 'name'?"),
    ],
)
def test_a_file_without_a_good_card_cannot_run_alone(tmp_path, metadata, words):
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, file, metadata)
    with pytest.raises(ModelError) as error:
        find(str(file))
    assert str(file) in str(error.value)
    assert words in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"no safetensors file at all", b"\x10\0\0\0\0\0\0\0{}"])
def test_a_file_that_is_no_safetensors_is_named(tmp_path, content):
    file = tmp_path / "model.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelError, match="no such model file" if content is None else "no safetensors file"):
        find(str(file))


def test_weights_cut_short_are_refused(tmp_path):
    """Alone, where no card holds their sha256; and in a folder whose card was made of the cut file."""
    folder = toy_model(tmp_path / "toy")
    file = folder / "model.safetensors"
    cut = file.read_bytes()[:-100]
    file.write_bytes(cut)
    with pytest.raises(ModelError, match="no safetensors file"):
        find(str(file))
    rewrite_card(folder, sha256=hashlib.sha256(cut).hexdigest())
    with pytest.raises(ModelError, match="no safetensors file"):
        load_toy(folder)


# loading


def test_the_net_is_the_saved_one_ready_to_run(tmp_path):
    loaded = load_toy(toy_model(tmp_path / "toy"))
    x, y = pictures()
    assert torch.allclose(loaded(x, 5, y).x0, denoiser_of(toy_net())(x, 5, y).x0, atol=1e-6)
    assert not loaded.net.training
    assert not any(weight.requires_grad or weight.is_meta for weight in loaded.net.parameters())
    assert loaded.net.entry.weight.is_contiguous(memory_format=torch.channels_last)


def denoiser_of(net, **changes):
    entry = parse_entry(card_data(**changes), "here")
    return denoiser(net, build_schedule(entry.schedule), entry)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_take_the_precision_asked_for(tmp_path, dtype):
    folder = toy_model(tmp_path / "toy", state={k: v.to(torch.float16) for k, v in toy_net().state_dict().items()})
    loaded = load_toy(folder, dtype)
    assert {weight.dtype for weight in loaded.net.parameters()} == {dtype}
    x, y = pictures()
    got = loaded(x, 5, y).x0
    assert got.dtype == torch.float32
    assert (got - denoiser_of(toy_net())(x, 5, y).x0).abs().max() < 0.05


def test_the_card_says_how_the_net_is_used():
    predict = {"output": "x0_sum", "input": ["y", "x"], "clip": "official", "range": [0.0, 1.0]}
    used = denoiser_of(toy_net(), predict=predict, schedule={"T": 7, "sum_scale": 0.25})
    assert (used.output, used.inputs, used.time, used.clip) == ("x0_sum", ("y", "x"), "index", "official")
    assert (used.bounds, used.dtype, used.schedule.T) == ((0.0, 1.0), torch.float32, 7)
    assert float(used.schedule.sigma[-1]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("entry.bias"), "1 missing: entry.bias."),
        (lambda state: state.update(extra=torch.zeros(1)), "1 unexpected: extra."),
        (lambda state: state.update({"exit.bias": torch.zeros(5)}), "1 of another shape: exit.bias 5 for 12."),
    ],
)
def test_tensors_that_do_not_fit_the_net_are_named(tmp_path, change, words):
    state = dict(toy_net().state_dict())
    change(state)
    with pytest.raises(ModelError) as error:
        load_toy(toy_model(tmp_path / "toy", state=state))
    assert "Model 'toy' cannot be loaded: " in str(error.value)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"net": {"arch": "plain_unett"}}, "Unknown net arch 'plain_unett'; did you mean 'plain_unet'?"),
        ({"net": {"arch": ["plain_unet"]}}, "Unknown net arch"),
        ({"net": {"width": [8]}}, "net: Unknown key 'width'; did you mean 'widths'?"),
        ({"net": {"self": 1}}, "net: Unknown key 'self'"),
        ({"net": {"widths": [8], "depths": [1, 1]}}, "net 'plain_unet': widths [8] and depths [1, 1] must be of equal"),
        ({"net": {"widths": [], "depths": []}}, "net 'plain_unet': "),
        ({"net": {"widths": "wide"}}, "net 'plain_unet': "),
        ({"schedule": {"kind": "rdmd"}}, "Unknown schedule kind 'rdmd'; did you mean 'rddm'?"),
        ({"schedule": {"kind": "vp", "sum_scale": 1.0}}, "schedule: Unknown key 'sum_scale'"),
        ({"schedule": {"alpha": "linear"}}, "schedule 'rddm': Unknown mode 'linear'; known: increased"),
        ({"schedule": {"T": 0}}, "schedule 'rddm': "),
        ({"schedule": {"T": -1}}, "schedule 'rddm': "),
        ({"schedule": {"T": "many"}}, "schedule 'rddm': "),
        ({"schedule": {"sum_scale": 0}}, "schedule 'rddm': sum_scale must be above 0, not 0."),
        ({"predict": {"output": "ress"}}, "Unknown output 'ress'; did you mean 'res'?"),
        ({"predict": {"time": "indx"}}, "Unknown time 'indx'; did you mean 'index'?"),
        ({"predict": {"clip": "offical"}}, "Unknown clip 'offical'; did you mean 'official'?"),
        (
            {"predict": {"input": ["x", "z"]}},
            "Unknown input 'z'; known: deconvolved, deconvolved-light, deconvolved-light-wide, deconvolved-wide, "
            "mask, x, x-y, y.",
        ),
        ({"sample": {"sampler": "rdm"}}, "Unknown sampler 'rdm'; did you mean 'rddm'?"),
        ({"sample": {"times": "leadin"}}, "Unknown times 'leadin'; did you mean 'leading'?"),
    ],
)
def test_a_card_whose_words_are_in_no_table_cannot_be_loaded(tmp_path, changes, words):
    with pytest.raises(ModelError) as error:
        load_toy(toy_model(tmp_path / "toy", **changes))
    assert "Model 'toy' cannot be loaded: " in str(error.value)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("net", "changes", "words"),
    [
        ({}, {"size": {"multiple": 2, "minimum": 6}}, "the net must make (3, 6, 6) of (6, 6, 6), but fails: "),
        ({"out_channels": 1}, {}, "the net must make (3, 4, 4) of (6, 4, 4), but makes (1, 4, 4)."),
        ({}, {"predict": {"output": "res_eps"}}, "the net must make (6, 4, 4) of (6, 4, 4), but makes (3, 4, 4)."),
        ({"in_channels": 3}, {}, "the net must make (3, 4, 4) of (6, 4, 4), but fails: "),
        ({}, {"predict": {"input": ["x"]}}, "the net must make (3, 4, 4) of (3, 4, 4), but fails: "),
    ],
)
def test_a_card_whose_sizes_are_not_those_of_the_net_cannot_be_loaded(tmp_path, net, changes, words):
    folder = toy_model(tmp_path / "toy", state=toy_net(**net).state_dict(), net=net, **changes)
    with pytest.raises(ModelError) as error:
        load_toy(folder)
    assert f"Model 'toy' cannot be loaded: {words}" in str(error.value)


def test_what_a_builder_is_not_told_is_named():
    with pytest.raises(UsageError, match="Unknown net arch 'None'; known: adm_unet, ddpm_unet, irsde_unet, nafnet"):
        build_net({})
    with pytest.raises(UsageError, match="Unknown schedule kind 'None'; known: "):
        build_schedule({})


# every name of every table


@pytest.mark.parametrize("kind", [kind for kind in SCHEDULES if kind not in ("tables", "betas")])
def test_every_schedule_is_built_from_its_name(kind):
    longest = 1000 if kind in ("rddm", "vp") else 100
    short = 1 if kind == "goub" else 0  # a bridge has no noise at its far end, from which nothing could be told
    for T, wanted in (({}, longest), ({"T": 10}, 10)):
        assert build_schedule({"kind": kind, **T}).T + short == wanted


def test_an_output_that_means_nothing_with_its_schedule_is_refused(tmp_path):
    folder = toy_model(tmp_path / "toy", predict={"output": "euler_eps"})
    with pytest.raises(ModelError, match="says euler_eps, which means nothing at t = 100"):
        load_toy(folder)


def test_a_schedule_is_built_from_its_betas():
    schedule = build_schedule({"kind": "betas", "betas": [0.5, 0.75]})
    assert schedule.sigma.square().tolist() == pytest.approx([0, 0.5, 0.875])
    assert schedule.shift.tolist() == pytest.approx([0, 1 - 0.5**0.5, 1 - 0.125**0.5])


def test_a_schedule_is_built_from_its_tables():
    table = {"kind": "tables", "shift": [0.0, 0.25, 1.0], "sigma": [0.0, 0.5, 0.5]}
    schedule = build_schedule(table)
    assert (schedule.shift.tolist(), schedule.sigma.tolist()) == (table["shift"], table["sigma"])
    for wrong in ([0.0, 0.5], [0.1, 0.5, 0.5], [0.0, -0.5, 0.4], [0.0, 0.5, float("nan")], ["a"], 3):
        with pytest.raises(UsageError, match="schedule 'tables': "):
            build_schedule({**table, "sigma": wrong})


@pytest.mark.parametrize("arch", NETS)
def test_every_net_is_built_from_its_name_and_leaves_the_table_alone(arch):
    table = {"arch": arch}
    with torch.device("meta"):
        build_net(table)
    assert table == {"arch": arch}


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("time", [time for time in TIMES if time != "shift_sigma"])  # that one is for two nets
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_output_time_and_sampler_runs_from_a_card(tmp_path, output, time, sampler):
    channels = 3 * OUTPUTS[output].count
    folder = toy_model(
        tmp_path / "toy",
        state=toy_net(out_channels=channels).state_dict(),
        net={**NET, "out_channels": channels},
        predict={"output": output, "time": time},
        # What is said for Euler steps means nothing where nothing of the clean picture is left, as in RDDM.
        schedule={"kind": "vp", "T": 100} if output == "euler_eps" else {"kind": "rddm", "T": 100},
        sample={"sampler": sampler},
    )
    loaded = load_toy(folder)
    check_names(find(str(folder)).entry)
    x, y = pictures()
    states = SAMPLERS[sampler](lambda x, t: loaded(x, t, y), loaded.schedule, x, [100, 40, 0])
    assert all(state.x.isfinite().all() for state in states)
