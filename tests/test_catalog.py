"""The catalogue: what it lists, what it proves, and what it makes of weights that are pickles."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from restorer import entry
from restorer.errors import ModelError
from restorer.hub import catalog, listed
from restorer.hub.home import kept, recall
from restorer.load import find, load

WEIGHTS = "diffusion_pytorch_model.safetensors"
PICKLE = "diffusion_pytorch_model.bin"
COMMIT = "0" * 40


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """A repository as the Hub's old ones are: a DDPM net with all files at the root, safe and pickled."""
    from diffusers import DDPMScheduler, UNet2DModel

    blocks = {"block_out_channels": (8,), "down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("flat")
    UNet2DModel(**blocks, layers_per_block=1, norm_num_groups=4, sample_size=8).save_pretrained(folder)
    DDPMScheduler().save_pretrained(folder)
    torch.save(load_file(folder / WEIGHTS), folder / PICKLE)
    return folder


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """Write a listing of acme/faces into a catalogue of one's own."""
    folder = tmp_path / "models" / "catalog"
    folder.mkdir(parents=True)
    monkeypatch.setattr(entry, "models_folder", lambda: folder.parent)

    def write(name="faces", **changes):
        data = {"name": name, "repo": "acme/faces", "file": WEIGHTS, "beside": ["config.json", "scheduler_config.json"]}
        data |= {"license": "apache-2.0", "data": "faces", "good_for": "Faces.", "trained": 8, "megabytes": 0.1}
        (folder / f"{name}.json").write_text(json.dumps(data | changes), encoding="utf-8")

    return write


def sha256(folder, name=WEIGHTS):
    return entry.hash_file(folder / name)


def same(net, other):
    state = other.state_dict()
    return all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def net_of(found):
    return load(found, torch.device("cpu"), torch.float32).net


# what is listed


def test_every_listing_that_comes_with_restorer():
    known = catalog()
    assert {"ddpm-cifar10-32", "ddpm-celebahq-256", "ddpm-ema-celebahq-256", "adm-imagenet256-uncond"} <= set(known)
    assert not set(known) & set(entry.embedded())
    for name, listing in known.items():
        assert listed(name) == listing and listing.file not in listing.beside
        assert listing.good_for.endswith(".") and listing.license and listing.data
        assert (listing.source is None) == (listing.beside != ())
    pinned = {name for name, listing in known.items() if listing.is_pinned}
    assert pinned == {"ddpm-cifar10-32", "ddpm-celebahq-256", "ddpm-ema-celebahq-256", "adm-imagenet256-uncond"}


def test_presets_and_sources_of_listings_are_known():
    from restorer.convert.ddim_presets import PRESETS
    from restorer.convert.kept import SOURCES

    for listing in catalog().values():
        assert listing.source in (None, *SOURCES)
        assert listing.preset is None or (PRESETS[listing.preset].trained, listing.source) == (listing.trained, "ddim")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("faces", "faces"),
        ("acme/faces", "faces"),
        (f"acme/faces@{COMMIT}", "faces"),
        ("acme/faces@main", None),
        ("acme/faces@" + "1" * 40, None),
        ("acme/other", None),
        ("other", None),
    ],
)
def test_what_names_a_listing(lists, model, name):
    lists(revision=COMMIT)
    found = listed(model)
    assert (found and found.name) == name


def test_a_repository_of_several_models_is_no_name(lists):
    lists("faces", repo="acme/many")
    lists("cats", repo="acme/many")
    assert listed("cats").name == "cats"
    with pytest.raises(ModelError, match=r"acme/many holds several models; name .* meant: cats or faces\."):
        listed("acme/many")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"repo": "https://acme/faces"}, "repo must be OWNER/REPO"),
        ({"revision": "main"}, "revision must be a commit of 40 hex digits, not 'main'"),
        ({"sha256": "12"}, "sha256 must be 64 hex digits"),
        ({"licence": "MIT"}, "did you mean 'license'"),
        ({"name": "other"}, "lists 'other'; the file's name must be the same"),
    ],
)
def test_a_listing_that_says_nonsense_is_named(lists, changes, words):
    lists(**{"name": "faces"} | {key: value for key, value in changes.items() if key != "name"})
    if "name" in changes:
        file = entry.models_folder() / "catalog" / "faces.json"
        file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    with pytest.raises(ModelError, match=r"faces\.json: ") as error:
        catalog()
    assert words in str(error.value)


# what is fetched


def test_a_pinned_model_is_proven_and_then_asks_nobody(hub, lists, flat):
    commit = hub.publish("acme/faces", flat)
    lists(revision=commit, sha256=sha256(flat))
    hub.publish("acme/faces", shutil.copytree(flat, entry.models_folder().parent / "newer"), revision="moved")
    found = find("faces")
    assert (found.entry.name, found.entry.license, found.entry.data) == ("faces", "apache-2.0", "faces")
    assert found.origin == ("acme/faces", commit) and commit in found.entry.source
    assert sorted(hub.asked()) == ["config.json", WEIGHTS, "scheduler_config.json"]
    hub.requests.clear()
    assert same(net_of(find("acme/faces")), net_of(found)) and hub.requests == []


def test_other_weights_than_the_pinned_ones_are_refused(hub, lists, flat):
    commit = hub.publish("acme/faces", flat)
    lists(revision=commit, sha256="a" * 64)
    with pytest.raises(ModelError, match=f"the Hub states sha256 {sha256(flat)} for {WEIGHTS}, the catalogue a+; what"):
        find("faces")
    assert hub.asked() == []


def test_weights_that_rot_in_the_cache_are_fetched_again(hub, lists, flat):
    lists(revision=hub.publish("acme/faces", flat), sha256=sha256(flat))
    weights = find("faces").weights.resolve()
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert find("faces").weights.read_bytes() == content


def test_what_is_not_pinned_is_noted_at_the_first_use_and_meant_from_then_on(hub, lists, flat, tmp_path):
    commit = hub.publish("acme/faces", flat)
    lists()
    assert not listed("faces").is_pinned and find("faces").origin.revision == commit
    assert recall("pins", "faces.json") == {"repo": "acme/faces", "revision": commit, "sha256": sha256(flat)}
    other = shutil.copytree(flat, tmp_path / "other")
    (other / "config.json").write_text("{}", encoding="utf-8")
    assert hub.publish("acme/faces", other) != commit
    hub.requests.clear()
    assert find("faces").origin.revision == commit and hub.requests == []


def test_pickled_weights_are_converted_once_and_kept_as_safetensors(hub, lists, flat):
    commit = hub.publish("acme/faces", flat)
    lists(file=PICKLE, revision=commit, sha256=sha256(flat, PICKLE))
    found = find("faces")
    assert found.weights == kept("models", "faces", commit) / "model.safetensors" and found.read is None
    assert (found.entry.name, found.entry.license, found.origin) == ("faces", "apache-2.0", ("acme/faces", commit))
    assert same(net_of(found), net_of(find(str(flat))))
    written = found.weights.stat().st_mtime_ns
    hub.requests.clear()
    assert find("faces").weights.stat().st_mtime_ns == written and hub.requests == []


def test_a_pickle_that_holds_code_is_refused_and_leaves_nothing(hub, lists, flat, tmp_path):
    bad = shutil.copytree(flat, tmp_path / "bad")
    torch.save({"a": print}, bad / PICKLE)
    lists(file=PICKLE, revision=hub.publish("acme/faces", bad), sha256=sha256(bad, PICKLE))
    with pytest.raises(ModelError, match=r"faces of acme/faces cannot be converted: .*print"):
        find("faces")
    assert not list(kept("models").glob("**/config.json"))


def test_a_checkpoint_of_another_program_goes_to_its_converter(hub, lists, tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    torch.save({"not": "a net"}, folder / "net.pt")
    lists(file="net.pt", beside=[], source="ddim", revision=hub.publish("acme/faces", folder))
    with pytest.raises(ModelError, match=r"faces of acme/faces cannot be converted: .*found the keys not"):
        find("faces")


def test_offline(hub, lists, flat, monkeypatch):
    commit = hub.publish("acme/faces", flat)
    lists(revision=commit, sha256=sha256(flat))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"Model faces is not on this machine, .*restorer models download faces\."):
        find("faces")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    find("faces")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert find("faces").origin.revision == commit


def test_a_listing_whose_files_are_gone_says_so(hub, lists, flat, tmp_path):
    less = shutil.copytree(flat, tmp_path / "less")
    (less / "scheduler_config.json").unlink()
    lists(revision=hub.publish("acme/faces", less))
    with pytest.raises(ModelError, match=r"scheduler_config\.json is missing, which the catalogue names"):
        find("faces")
