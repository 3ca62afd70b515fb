"""Publishing a model: what may go up, what does, and that another machine has the same model then."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file
from toy import card_data, toy_model

from restorer import Restorer
from restorer import publish as publishing
from restorer.card import MARK, readme
from restorer.convert.ddim import opened, to_ddim
from restorer.entry import parse_entry, read_entry
from restorer.errors import ModelError, UsageError
from restorer.load import find
from restorer.publish import offer, publish

REPO = "acme/rain"

# What the client does to a client of its own.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw:DeprecationWarning")


@pytest.fixture
def folder(tmp_path):
    return toy_model(tmp_path / "toy")


def change(folder, **keys):
    """Lay ``keys`` over the card on the disk."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))


def put(folder, **files):
    for name, content in files.items():
        file = folder / name.replace("__", "/").replace("_dot_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode())


def names(offered):
    return [file.name for file in offered.files]


def everything(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# what goes up


def test_what_goes_up_and_what_stays(folder):
    put(folder, train_dot_toml="a", credits__README_dot_md="b", test__in_dot_png="c", before_after_dot_jpg="d")
    put(folder, model_index_dot_json="{}", scheduler__scheduler_config_dot_json="{}", credits__sub__LICENSE="e")
    put(folder, last_dot_pt="pickle", unet__net_dot_bin="pickle", test__a_dot_pkl="pickle", notes_dot_txt="mine")
    put(folder, SHA256SUMS="of another time", README_dot_md=readme(parse_entry(card_data(), "test")))
    put(folder, _dot_git__config="x", credits___dot_env="secret", unet__code_dot_py="x", runs__credits__a_dot_txt="x")
    before = everything(folder)
    offered = offer(folder, REPO)
    assert names(offered) == sorted(
        [
            *("README.md", "SHA256SUMS", "before_after.jpg", "config.json", "credits/README.md", "credits/sub/LICENSE"),
            *("model.safetensors", "model_index.json", "scheduler/scheduler_config.json", "test/in.png", "train.toml"),
        ]
    )
    assert offered.left == (
        *("last.pt", "notes.txt", "runs/credits/a.txt", "test/a.pkl", "unet/code.py", "unet/net.bin"),
    )
    assert everything(folder) == before


def test_the_sums_are_of_all_that_goes_up(folder, tmp_path):
    files = {file.name: file for file in offer(folder, REPO).files}
    lines = files.pop("SHA256SUMS").content.decode().splitlines()
    assert lines == [f"{file.sha256}  {name}" for name, file in sorted(files.items())]
    for file in files.values():
        content = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def readme_of(folder):
    (file,) = (file for file in offer(folder, REPO).files if file.name == "README.md")
    return (file.content if isinstance(file.content, bytes) else file.content.read_bytes()).decode()


def test_a_card_is_made_where_there_is_none(folder):
    text = readme_of(folder)
    assert MARK in text and f"restorer restore photo.jpg -m {REPO}" in text and "| toy | psnr | 20 |" in text


def test_a_card_of_ours_is_renewed_and_keeps_its_notes(folder):
    old = parse_entry(card_data(license="unknown", expect=[]), "test")
    (folder / "README.md").write_text(readme(old, ["Mind the gap."]))
    text = readme_of(folder)
    assert "license: mit" in text and "* Mind the gap." in text and "Nobody has said" not in text
    assert "No score was measured" not in text


def test_a_card_that_is_made_shows_the_picture(folder):
    assert "before_after.jpg" not in readme_of(folder)
    put(folder, before_after_dot_jpg="a picture")
    assert "](before_after.jpg)" in readme_of(folder)


def test_a_card_of_others_goes_up_as_it_is(folder):
    card = "---\nlibrary_name: restorer\nlicense: MIT\n---\nMine."
    (folder / "README.md").write_text(card)
    assert readme_of(folder) == card


# what is refused


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"license": "unknown"}, "does not say license."),
        ({"license": " "}, "does not say license."),
        ({"data": "Unknown"}, "does not say data."),
        ({"source": ""}, "does not say source."),
        ({"expect": []}, "does not say expect, a measured score."),
        (
            {"license": "", "source": "", "data": "", "expect": []},
            "does not say license; source; data; expect, a measured score.",
        ),
    ],
)
def test_a_card_that_says_too_little(folder, keys, told):
    change(folder, **keys)
    with pytest.raises(ModelError) as error:
        offer(folder, REPO)
    assert str(error.value) == f"{folder} is not published: config.json {told}"


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ("Mine.", "library_name: restorer, license: mit"),
        ("---\nlibrary_name: restorer\nlicense: apache-2.0\n---\n", "say license: mit between"),
        ("---\nlibrary_name: diffusers\nlicense: mit\n---\n", "say library_name: restorer between"),
        ("---\nlicense: [mit\n---\n", "library_name: restorer, license: mit"),
        ("---\n- a list\n---\n", "library_name: restorer, license: mit"),
    ],
)
def test_a_card_of_others_that_disagrees(folder, card, told):
    (folder / "README.md").write_text(card)
    with pytest.raises(ModelError, match="or remove it, and one is written") as error:
        offer(folder, REPO)
    assert told in str(error.value)


def test_all_that_is_wrong_is_told_at_once(folder):
    (folder / "README.md").write_text("Mine.")
    change(folder, data="unknown")
    with pytest.raises(ModelError, match=r"does not say data\. README\.md must say"):
        offer(folder, REPO)


def test_no_whole_model_of_ours(folder, tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        offer(tmp_path / "nothing" / "there", REPO)
    state = {key: value for key, value in load_file(folder / "model.safetensors").items() if "bias" not in key}
    with pytest.raises(ModelError, match="cannot be loaded"):
        offer(toy_model(tmp_path / "part", state=state), REPO)
    with (folder / "model.safetensors").open("ab") as weights:
        weights.write(b"more")
    with pytest.raises(ModelError, match="not the weights"):
        offer(folder, REPO)


def test_weights_that_are_no_safetensors(folder):
    (folder / "model.safetensors").rename(folder / "model.pt")
    change(folder, weights=json.loads((folder / "config.json").read_text())["weights"] | {"file": "model.pt"})
    with pytest.raises(ModelError, match=r"in model\.pt; only \.safetensors"):
        offer(folder, REPO)


def test_the_name_of_a_model_that_comes_with_restorer_does_not_stand_for_the_folder(folder, monkeypatch):
    """A folder here called as an embedded model is what goes up."""
    monkeypatch.chdir(folder.parent)
    here = folder.rename(folder.parent / "rddm-derain-tiny")
    assert (
        offer(here.relative_to(folder.parent), REPO).files[2].sha256
        == hashlib.sha256((here / "config.json").read_bytes()).hexdigest()
    )


def test_a_folder_of_diffusers(tmp_path):
    to_ddim(opened("ddpm-natural-tiny"), tmp_path / "theirs")
    with pytest.raises(ModelError, match=r"convert-ddim .* OUT first"):
        offer(tmp_path / "theirs", REPO)


@pytest.mark.parametrize("name", ["credits/passwords.txt", "credits", "README.md", "model.safetensors"])
def test_links_out_of_the_folder(folder, tmp_path, name):
    aside = tmp_path / "aside"
    if (folder / name).exists():
        (folder / name).rename(aside)
    elif name == "credits":
        aside.mkdir()
    else:
        aside.write_text("secret")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(aside)
    with pytest.raises(ModelError, match=r"links? out of the model's folder"):
        offer(folder, REPO)


def test_a_link_to_the_folder_is_followed(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert "model.safetensors" in names(offer(tmp_path / "link", REPO))


@pytest.mark.parametrize("repo", ["rain", "acme/rain@main", "acme/rain/more", "acme/a--b", "../x", "acme/x.git"])
def test_what_is_no_repository(folder, repo):
    with pytest.raises(UsageError, match="no OWNER/REPO"):
        offer(folder, repo)


# to the Hub and back


def test_round_trip(hub, cli, folder, tmp_path, monkeypatch):
    """Published here, fetched by the real client there: the same files, tensors and pictures."""
    put(folder, credits__LICENSE="free", last_dot_pt="pickle")
    told = cli("models", "publish", folder, REPO, "--commit-message", "First")
    assert told.exit_code == 0, told.stderr
    commit = hub.refs[REPO]["main"]
    assert told.stdout == f"{REPO}@{commit}\n" and "Stays here: last.pt." in told.stderr
    assert hub.messages == ["First"]
    assert set(hub.commits[REPO][commit]) == set(names(offer(folder, REPO)))
    found = find(f"{REPO}@{commit}")
    assert found.origin == (REPO, commit) and found.entry == read_entry(folder / "config.json")
    ours, theirs = load_file(folder / "model.safetensors"), load_file(found.weights)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    picture = torch.rand(3, 21, 17, generator=torch.Generator().manual_seed(1))
    here, there = (
        Restorer.from_pretrained(model, device="cpu", dtype="fp32")(picture, seed=5) for model in (str(folder), REPO)
    )
    assert here.numpy().tobytes() == there.numpy().tobytes()


def test_again_is_a_second_commit_and_sends_the_weights_once(hub, folder):
    first = publish(offer(folder, REPO))
    (folder / "train.toml").write_text("new")
    second = publish(offer(folder, REPO))
    assert hub.refs[REPO] == {"main": second.commit} and first.commit != second.commit
    assert hub.commits[REPO][second.commit]["train.toml"] == b"new"
    assert sum(request.startswith("PUT") for request in hub.requests) == 1


def test_a_pull_request(hub, folder):
    publish(offer(folder, REPO))
    main = hub.refs[REPO]["main"]
    (folder / "train.toml").write_text("better")
    done = publish(offer(folder, REPO), create_pr=True)
    assert done.pull_request.endswith(f"{REPO}/discussions/1")
    assert hub.refs[REPO] == {"main": main, "refs/pr/1": done.commit}


def test_private(hub, folder):
    publish(offer(folder, REPO), private=True)
    publish(offer(folder, "acme/open"))
    assert hub.private == {REPO}
    main = hub.refs["acme/open"]["main"]
    (folder / "train.toml").write_text("secret")
    with pytest.raises(ModelError, match="there already, for everybody"):
        publish(offer(folder, "acme/open"), private=True)
    assert hub.refs["acme/open"]["main"] == main


def test_a_dry_run_asks_nobody(hub, cli, folder):
    told = cli("models", "publish", folder, REPO, "--dry-run")
    assert told.exit_code == 0 and hub.requests == [] and hub.refs == {}
    header, *rows, total = (line.split("\t") for line in told.stdout.splitlines())
    assert header == ["name", "bytes", "sha256"] and [row[0] for row in rows] == names(offer(folder, REPO))
    assert total[:2] == ["total", str(sum(int(row[1]) for row in rows))]
    said = json.loads(cli("models", "publish", folder, REPO, "-n", "--json").stdout)
    assert [[file["name"], str(file["bytes"]), file["sha256"]] for file in said["files"]] == rows
    assert (said["v"], said["repo"], said["left"], said["bytes"]) == (1, REPO, [], int(total[1]))


def test_json(hub, cli, folder):
    said = json.loads(cli("models", "publish", folder, REPO, "--json", "-q").stdout)
    assert said["commit"] == hub.refs[REPO]["main"] and said["url"].endswith(f"/{REPO}/commit/{said['commit']}")
    assert said["pull_request"] is None


def test_the_token(hub, cli, folder, monkeypatch):
    hub.writers["acme"] = "hf_right"
    for words in ((), ("--token", "hf_wrong")):
        refused = cli("models", "publish", folder, REPO, *words)
        assert refused.exit_code == 4 and "may write there" in refused.stderr and hub.refs == {}
    assert cli("models", "publish", folder, REPO, "--token", "hf_right").exit_code == 0
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert cli("models", "publish", folder, "acme/other").exit_code == 0


def fail(status, code="", message=""):
    return lambda handler: handler.refuse(status, code, message)


def hang_up(handler):
    handler.close_connection = True


@pytest.mark.parametrize(
    ("request_", "answer", "told"),
    [
        (
            "/create",
            fail(401, message="Invalid user token"),
            "(401, Invalid user token): set HF_TOKEN to",
        ),
        ("/create", fail(403, message="No rights"), "does not let you write to acme/rain (403, No rights)"),
        ("/create", fail(500), "did not take acme/rain (500); run this again"),
        ("/preupload/main", fail(403), "does not let you write to acme/rain (403)"),
        ("/batch", fail(403), "does not let you write to acme/rain (403)"),
        ("PUT /large/", fail(403, message="Quota"), "does not let you write to acme/rain (403, Quota)"),
        ("/commit/main", fail(401, "RepoNotFound"), "does not let you write to acme/rain (401)"),
        ("/commit/main", fail(403, message="No rights"), "does not let you write to acme/rain (403, No rights)"),
        ("/commit/main", fail(404, "RepoNotFound"), "does not let you write to acme/rain (404)"),
        ("/commit/main", fail(409, message="Conflict"), "did not take acme/rain (409, Conflict); run this again"),
        ("/commit/main", fail(500), "did not take acme/rain (500); run this again"),
        ("/commit/main", hang_up, "cannot be reached"),
    ],
)
def test_a_failure_is_one_sentence_and_no_half_model(hub, cli, folder, request_, answer, told):
    def fault(handler, request):
        if request_ not in request:
            return False
        answer(handler)
        return True

    hub.fault = fault
    result = cli("models", "publish", folder, REPO)
    assert result.exit_code == 4 and result.stdout == ""
    sentence = result.stderr.removeprefix("Error: ")
    assert told in sentence and sentence.count("\n") == 1 and "Traceback" not in sentence
    assert all(files == {} for files in hub.commits.get(REPO, {}).values())


def test_no_network(hub, cli, folder, monkeypatch):
    hub.server.server_close()
    refused = cli("models", "publish", folder, REPO)
    assert refused.exit_code == 4 and f"{hub.endpoint} cannot be reached" in refused.stderr
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    offline = cli("models", "publish", folder, REPO)
    assert offline.exit_code == 2 and "--offline or HF_HUB_OFFLINE is set" in offline.stderr


def test_a_model_that_changes_meanwhile_is_not_published(hub, folder):
    offered = offer(folder, REPO)
    change(folder, name="later")
    with pytest.raises(ModelError, match=r"config\.json changes"):
        publish(offered)
    assert hub.requests == []


def test_a_file_that_cannot_be_read(folder, monkeypatch):
    def refuse(file):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(publishing, "hash_file", refuse)
    with pytest.raises(ModelError, match="cannot be read: Permission denied"):
        offer(folder, REPO)
