"""Models of the Hub: what is fetched, what is asked, and what is told when it cannot be had."""

import errno
import hashlib
import json
import logging
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from toy import toy_model

from restorer.entry import hash_file
from restorer.errors import ModelError
from restorer.hub import Address, address, fetch
from restorer.hub import folder as hub_module
from restorer.hub.layout import needed
from restorer.images.recipe import read_recipe
from restorer.load import Origin, find, load

ROOT = Path(__file__).parents[1]
WEIGHTS = "diffusion_pytorch_model.safetensors"
UNET = {"_class_name": "UNet2DModel"}
DIFFUSERS = {"config.json": UNET, "scheduler_config.json": {}, WEIGHTS: None}


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory):
    """A folder of diffusers: model_index.json, unet/ and scheduler/."""
    from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

    blocks = {"block_out_channels": (8,), "down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    torch.manual_seed(0)
    net = UNet2DModel(**blocks, layers_per_block=1, norm_num_groups=4, sample_size=8)
    folder = tmp_path_factory.mktemp("pipeline")
    DDIMPipeline(net, DDIMScheduler()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def flat(pipeline, tmp_path_factory):
    """The same with all files at the root, as old ones are, and with what is not to be fetched."""
    folder = tmp_path_factory.mktemp("flat")
    for file in [*pipeline.glob("unet/*"), *pipeline.glob("scheduler/*"), pipeline / "model_index.json"]:
        shutil.copy(file, folder)
    for name in ("modeling.py", "diffusion_pytorch_model.bin", "README.md"):
        (folder / name).write_text("not to be fetched")
    return folder


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def take(pauses):
    """``fetch`` that notes its pauses and makes none."""
    return lambda repo, revision=None: fetch(repo, revision, sleep=pauses.append).folder


def weights_of(stub, repo):
    (files,) = stub.commits[repo].values()
    return next(content for name, content in files.items() if name.endswith(".safetensors"))


def once(fault, times=1):
    """A fault that comes for the weights' bodies, so many times."""
    left = [times]

    def guarded(handler, request):
        if not (request.startswith("GET /acme") and request.endswith(".safetensors") and left[0]):
            return False
        left[0] -= 1
        fault(handler)
        return True

    return guarded


# names


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("acme/faces", Address("acme/faces")),
        ("acme/faces@v1.0", Address("acme/faces", "v1.0")),
        ("acme/faces@refs/pr/7", Address("acme/faces", "refs/pr/7")),
        ("google/ddpm-cifar10-32", Address("google/ddpm-cifar10-32")),
        *(
            (word, None)
            for word in ("faces", "a/b/c", "./a/b", "../b", "/a/b", "a/", "a/b@", "a/..", "a/b@../c", "a b/c")
        ),
        *((f"runs/model{ending}", None) for ending in (".safetensors", ".pt", ".pth", ".ckpt", ".bin")),
    ],
)
def test_what_names_a_repository(model, found):
    assert address(model) == found


# which files


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (DIFFUSERS, ["config.json", "scheduler_config.json", WEIGHTS]),
        ({**DIFFUSERS, "diffusion_pytorch_model.bin": None, "model.py": None}, [*DIFFUSERS]),
        (
            {
                "model_index.json": {},
                "unet/config.json": UNET,
                "scheduler/scheduler_config.json": {},
                "unet/diffusion_pytorch_model.bin": None,
            },
            ["unet/config.json", "scheduler/scheduler_config.json", "unet/diffusion_pytorch_model.bin"],
        ),
    ],
)
def test_only_what_the_model_needs(files, wanted):
    assert list(needed("acme/a", files, files.get)) == wanted


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"README.md": None, ".gitattributes": None}, "nor a UNet2DModel of diffusers. It has README.md."),
        ({"config.json": {"architectures": ["A"]}, "model.safetensors": None}, "neither a card of restorer"),
        ({**DIFFUSERS, "config.json": {"_class_name": "AutoencoderKL"}}, "config.json is for AutoencoderKL."),
        ({**DIFFUSERS, "unet/config.json": {"_class_name": "UNet2DConditionModel"}}, "unet/config.json is for UNet2DC"),
        ({"config.json": UNET, WEIGHTS: None}, "scheduler_config.json is missing"),
        ({"config.json": UNET, "scheduler_config.json": {}}, f"no {WEIGHTS} or diffusion_pytorch_model.bin"),
        ({f"{i}.pt": None for i in range(12)}, "0.pt, 1.pt, 10.pt, 11.pt, 2.pt, 3.pt, 4.pt, 5.pt and 4 more files"),
    ],
)  # fmt: skip
def test_no_model_that_can_be_used(files, words):
    with pytest.raises(ModelError) as error:
        needed("acme/a", files, files.get)
    assert "acme/a: no model that restorer can use: " in str(error.value) and words in str(error.value)


@pytest.mark.parametrize("file", ["../model.safetensors", "other.safetensors", "model.py", "model.bin"])
def test_a_card_names_weights_that_are_there_and_hold_no_code(toy, file):
    card = json.loads((toy / "config.json").read_text(encoding="utf-8"))
    card["weights"]["file"] = file
    with pytest.raises(ModelError, match=r"config\.json names no \.safetensors file that is there"):
        needed("acme/a", ["config.json", "model.safetensors", "model.py", "model.bin"], lambda name: card)


# fetching


def test_a_model_of_ours(hub, toy):
    commit = hub.publish("acme/rain", toy)
    found = find("acme/rain")
    assert found.origin == Origin("acme/rain", commit) and found.entry == find(str(toy)).entry
    assert found.sha256 == find(str(toy)).sha256 and hub.asked() == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("layout", ["flat", "pipeline"])
def test_a_model_of_diffusers(hub, request, layout):
    folder = request.getfixturevalue(layout)
    commit = hub.publish("acme/faces", folder)
    found = find("acme/faces")
    assert (found.entry.name, found.entry.task, found.origin.revision) == ("faces", "generate", commit)
    assert commit in found.entry.source
    own, got = (load(one, torch.device("cpu"), torch.float32).net for one in (find(str(folder)), found))
    assert all(torch.equal(value, got.state_dict()[key]) for key, value in own.state_dict().items())
    assert sorted({Path(name).name for name in hub.asked()}) == ["config.json", WEIGHTS, "scheduler_config.json"]


def test_pickled_weights_where_there_are_no_others(hub, pipeline, tmp_path):
    folder = shutil.copytree(pipeline, tmp_path / "old")
    state = load_file(folder / "unet" / WEIGHTS)
    torch.save(state, folder / "unet" / "diffusion_pytorch_model.bin")
    (folder / "unet" / WEIGHTS).unlink()
    hub.publish("acme/old", folder)
    with pytest.raises(
        ModelError, match=r"acme/old: its weights are in unet/.*\.bin, a kind of file that can hold code"
    ):
        find("acme/old")
    assert [name for name in hub.asked() if name.endswith(".bin")] == []
    found = find("acme/old", pickled=True)
    assert found.weights.suffix == ".bin" and found.read(found.weights, found.entry).keys()


def test_what_is_here_is_not_asked_for_again(hub, take, toy):
    commit = hub.publish("acme/rain", toy)
    folder = take("acme/rain")
    hub.requests.clear()
    assert take("acme/rain", commit) == folder and hub.requests == []
    assert take("acme/rain") == folder and hub.requests == ["GET /api/models/acme/rain/revision/main"]


def test_revisions(hub, take, tmp_path):
    first = hub.publish("acme/rain", toy_model(tmp_path / "a", name="first"))
    hub.publish("acme/rain", tmp_path / "a", revision="v1")
    assert take("acme/rain").name == first
    second = hub.publish("acme/rain", toy_model(tmp_path / "a", name="second"))
    assert take("acme/rain").name == second != first
    for revision, name in ((first, "first"), ("v1", "first"), (second, "second"), ("main", "second")):
        assert find(f"acme/rain@{revision}").entry.name == name


def test_an_update_cut_short_leaves_the_one_before(hub, take, tmp_path, monkeypatch):
    first = hub.publish("acme/rain", toy_model(tmp_path / "a", name="first"))
    take("acme/rain")
    hub.publish("acme/rain", toy_model(tmp_path / "a", name="second", state={"other": torch.ones(3)}))
    hub.fault = once(lambda handler: handler.refuse(404, "EntryNotFound"))
    with pytest.raises(ModelError):
        take("acme/rain")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert take("acme/rain").name == first


def test_a_folder_goes_before_a_repository(hub, here, toy):
    shutil.copytree(toy, here / "acme" / "rain")
    assert find("acme/rain").origin is None and hub.requests == []


def test_models_of_this_machine_ask_nobody(toy):
    """Nor do they load the client."""
    code = f"""
import socket, sys
from restorer.load import find
def closed(*words, **more): raise AssertionError("a socket")
socket.socket.__init__ = socket.create_connection = socket.getaddrinfo = closed
for name in ("rddm-derain-tiny", {str(toy)!r}, {str(toy / "model.safetensors")!r}):
    find(name)
assert "huggingface_hub" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


# what goes wrong


def test_offline(hub, take, toy, monkeypatch):
    commit = hub.publish("acme/rain", toy)
    folder = take("acme/rain")
    hub.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert take("acme/rain") == take("acme/rain", commit) == folder
    (folder / "model.safetensors").unlink()
    for repo, revision in (("acme/rain", None), ("acme/rain", "v2"), ("acme/snow", None)):
        with pytest.raises(
            ModelError, match=r"is not on this machine, .* --offline or HF_HUB_OFFLINE is set; run once"
        ):
            take(repo, revision)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("status", "code", "message", "words"),
    [
        (404, "RepoNotFound", "", "No model 'acme/rain': no such folder here, and no such repository on the Hub"),
        (401, "RepoNotFound", "", "for a private one set HF_TOKEN"),
        (404, "RevisionNotFound", "", "acme/rain has no revision 'main'"),
        (401, "GatedRepo", "", "acme/rain is gated: accept its terms on its page, then set HF_TOKEN"),
        (403, "GatedRepo", "", "acme/rain is gated"),
        (401, "", "Invalid credentials", "The Hub refuses acme/rain (401, Invalid credentials): set HF_TOKEN"),
        (403, "", "", "The Hub refuses acme/rain (403): set HF_TOKEN"),
        (418, "", "", "The Hub does not give acme/rain (418); try again later."),
    ],
)
@pytest.mark.parametrize("at", ["api", "resolve"])
def test_refusals(hub, cli, toy, status, code, message, words, at):
    def fault(handler, request):
        hit = f"/{at}/" in request
        if hit:
            handler.refuse(status, code, message)
        return hit

    hub.publish("acme/rain", toy)
    hub.fault = fault
    told = cli("models", "info", "acme/rain")
    assert told.exit_code == 4 and words in told.stderr and "Traceback" not in told.stderr


def test_a_token_opens_a_private_repository(hub, take, toy, monkeypatch):
    def fault(handler, request):
        stranger = handler.headers["Authorization"] != "Bearer hf_secret"
        if stranger:
            handler.refuse(401, "RepoNotFound")
        return stranger

    hub.publish("acme/rain", toy)
    hub.fault = fault
    with pytest.raises(ModelError, match="HF_TOKEN"):
        take("acme/rain")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert (take("acme/rain") / "model.safetensors").is_file()


def test_a_broken_answer_or_connection_is_tried_again(hub, take, pauses, toy):
    hub.publish("acme/rain", toy)
    content = weights_of(hub, "acme/rain")
    faults = [
        lambda handler: handler.refuse(500, ""),
        lambda handler: handler.cut(content, reset=True),
        lambda handler: handler.answer(200, content[:-5]),
    ]
    for fault in faults:
        hub.fault = once(fault)
        folder = take("acme/rain")
        assert (folder / "model.safetensors").read_bytes() == content
        shutil.rmtree(folder.parents[1])
    assert pauses == [hub_module.PAUSES[0]] * 3


def test_a_connection_that_is_closed_halfway_is_the_clients_to_mend(hub, take, pauses, toy, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub.publish("acme/rain", toy)
    content = weights_of(hub, "acme/rain")
    hub.fault = once(lambda handler: handler.cut(content, reset=False), times=2)
    assert (take("acme/rain") / "model.safetensors").read_bytes() == content and pauses == []


def test_patience_ends(hub, take, pauses, toy):
    hub.publish("acme/rain", toy)
    hub.fault = once(lambda handler: handler.refuse(503, "", "Too busy"), times=9)
    with pytest.raises(ModelError, match=r"The Hub does not give acme/rain \(503, Too busy\); try again later"):
        take("acme/rain")
    assert tuple(pauses) == hub_module.PAUSES


def test_damaged_weights_are_fetched_once_more(hub, take, toy):
    hub.publish("acme/rain", toy)
    content = weights_of(hub, "acme/rain")
    hub.fault = once(lambda handler: handler.damage(content))
    assert (take("acme/rain") / "model.safetensors").read_bytes() == content


def test_a_small_file_is_checked_by_the_checksum_that_git_has(hub, take, toy):
    hub.publish("acme/rain", toy)
    (files,) = hub.commits["acme/rain"].values()
    content, left = files["config.json"], [1]

    def fault(handler, request):
        hit = request.startswith("GET /acme") and request.endswith("config.json") and left[0] > 0
        if hit:
            left[0] -= 1
            handler.damage(content)
        return hit

    hub.fault = fault
    assert (take("acme/rain") / "config.json").read_bytes() == content
    shutil.rmtree(take("acme/rain").parents[1])
    left[0] = 2
    with pytest.raises(ModelError, match=r"config\.json arrived damaged, twice: git's checksum [0-9a-f]{40}, the Hub"):
        take("acme/rain")


def test_what_rots_in_the_cache_is_fetched_again(hub, take, toy):
    commit = hub.publish("acme/rain", toy)
    file = (take("acme/rain") / "model.safetensors").resolve()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    # In the test's Hub, as in the true one, a large file is kept under its sha256.
    assert (take("acme/rain", commit) / "model.safetensors").read_bytes() == content


def test_a_large_file_is_read_once(tmp_path, monkeypatch):
    import os

    from restorer.hub import checked

    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(checked, "LARGE", 1)
    file = tmp_path / "a.safetensors"
    reads = []
    monkeypatch.setattr(checked, "hash_file", lambda file: reads.append(file) or hash_file(file))
    file.write_bytes(b"one")
    os.utime(file, (1e9, 1e9))
    for content, changed, count in ((b"one", 1e9, 1), (b"one", 1e9, 1), (b"two", 1.1e9, 2), (b"three", 1.1e9, 3)):
        if file.read_bytes() != content:
            file.write_bytes(content)
            os.utime(file, (changed, changed))
        assert checked.sha256_of(file) == hashlib.sha256(content).hexdigest() and len(reads) == count
    file.write_bytes(b"newer")  # just now: it may change again within a tick
    assert [checked.sha256_of(file) for _ in "ab"] == [hashlib.sha256(b"newer").hexdigest()] * 2 and len(reads) == 5


def test_weights_damaged_twice_are_refused_and_not_kept(hub, take, toy, tmp_path):
    hub.publish("acme/rain", toy)
    content = weights_of(hub, "acme/rain")
    hub.fault = once(lambda handler: handler.damage(content), times=9)
    found = hashlib.sha256(bytes([content[0] ^ 1]) + content[1:]).hexdigest()
    wanted = hashlib.sha256(content).hexdigest()
    with pytest.raises(ModelError, match=f"arrived damaged, twice: sha256 {found}, the Hub states {wanted}"):
        take("acme/rain")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name in ("model.safetensors", wanted)]
    hub.fault = once(None, times=0)
    assert (take("acme/rain") / "model.safetensors").read_bytes() == content


def test_nobody_answers(hub, take, pauses, toy, monkeypatch, caplog):
    hub.publish("acme/rain", toy)
    folder = take("acme/rain")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with caplog.at_level(logging.WARNING, "restorer"):
            assert take("acme/rain") == folder
        assert "acme/rain is taken as it was last seen" in caplog.text
        with pytest.raises(
            ModelError, match=r"acme/snow is not on this machine, and http://127.0.0.1:\d+ cannot be reached"
        ):
            take("acme/snow")
    assert pauses == []


def test_silence_is_waited_for_so_long_only(hub, take, monkeypatch):
    monkeypatch.setattr(hub_module, "PATIENCE", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(ModelError, match=r"cannot be reached: .*timed out"):
            take("acme/rain")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full. Make room, or set HF_HOME"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "cannot be kept: .*/x.* Set HF_HOME"),
        (ImportError("Using SOCKS proxy, but"), "cannot be fetched: ImportError: Using SOCKS proxy"),
    ],
)
def test_a_cache_that_takes_nothing(hub, take, toy, monkeypatch, error, words):
    def fail(*words, **more):
        raise error

    hub.publish("acme/rain", toy)
    monkeypatch.setattr("huggingface_hub.HfApi.hf_hub_download", fail)
    with pytest.raises(ModelError, match=words):
        take("acme/rain")


def test_downloads_are_shown_to_whoever_asked(hub, take, toy):
    from restorer.hub import shown_by

    hub.publish("acme/rain", toy)
    rows = []

    def begin(total):
        rows.append([total])
        return rows[-1].append

    with shown_by(begin):
        folder = take("acme/rain")
    sizes = sorted((folder / name).stat().st_size for name in ("config.json", "model.safetensors"))
    assert sorted(row[0] for row in rows) == sizes and all(row[0] == row[-1] for row in rows)
    shutil.rmtree(folder.parents[1])
    take("acme/rain")
    assert len(rows) == 2


# the commands


def test_a_picture_says_which_commit_made_it(hub, cli, here, draw, toy):
    commit = hub.publish("acme/rain", toy)
    draw("a.png")
    words = ["derain", "a.png", "-m", "acme/rain", "-d", "cpu", "--dtype", "fp32", "--json"]
    told = cli(*words, model=False)
    line = json.loads(told.stdout.splitlines()[0])
    assert told.exit_code == 0, told.stderr
    assert (line["repo"], line["revision"]) == ("acme/rain", commit)
    recipe = read_recipe(here / "a_derained.png")
    assert (recipe["repo"], recipe["revision"], recipe["model"]) == ("acme/rain", commit, "toy")
    assert json.loads(cli(*words, model=False).stdout.splitlines()[0])["status"] == "skipped"


def test_info(hub, cli, pipeline, toy):
    for repo, folder in (("acme/rain", toy), ("acme/faces", pipeline)):
        commit = hub.publish(repo, folder)
        facts = dict(line.split(maxsplit=1) for line in cli("models", "info", repo).stdout.splitlines())
        assert (facts["repo"], facts["revision"]) == (repo, commit)
        told = json.loads(cli("models", "info", f"{repo}@{commit}", "--json").stdout)
        assert (told["repo"], told["revision"], "path" in told) == (repo, commit, False)
    assert {name.rpartition("/")[2] for name in hub.asked()} == {"config.json", "scheduler_config.json"}
    find("acme/rain")
    assert (
        Path(json.loads(cli("models", "info", "acme/rain", "--json").stdout)["path"]).name
        == hub.refs["acme/rain"]["main"]
    )


def test_convert_ddim(hub, cli, here, flat):
    commit = hub.publish("acme/faces", flat)
    told = cli("convert-ddim", "acme/faces", "out", "--check")
    assert told.exit_code == 0, told.stderr
    assert "rddm model, sampler rddm-ddim" in told.stdout and "largest difference" in told.stdout
    assert find("out").entry.source == f"acme/faces on the Hugging Face Hub, commit {commit}"


def test_the_word_offline(hub, process, toy):
    """In a process of its own, where the client reads its variables."""
    hub.publish("acme/rain", toy)
    started = process("--offline", "models", "info", "acme/rain")
    _, told = started.communicate(timeout=60)
    assert started.returncode == 4 and hub.requests == []
    assert told.startswith("Error: Model acme/rain is not on this machine") and "Traceback" not in told


def test_the_variable_offline(hub, cli, monkeypatch):
    assert not json.loads(cli("doctor", "--json").stdout)["cache"]["offline"]
    monkeypatch.setenv("RESTORER_OFFLINE", "1")
    assert json.loads(cli("doctor", "--json").stdout)["cache"]["offline"]
    assert "offline: only models on this machine" in cli("doctor").stdout
