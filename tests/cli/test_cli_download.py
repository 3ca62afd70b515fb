"""``models download`` and ``rm``: what comes, what goes, and what they say."""

import json
import shutil

import pytest
from safetensors.torch import load_file


@pytest.fixture
def published(hub, toy, tmp_path):
    """acme/rain on the Hub, with what tells of it and what must not come."""
    folder = shutil.copytree(toy, tmp_path / "published")
    (folder / "test").mkdir()
    for name in ("README.md", "SHA256SUMS", "test/clean.png", "code.py", "optimizer.pt", ".hidden.md"):
        (folder / name).write_text(name, encoding="utf-8")
    return hub.publish("acme/rain", folder)


def test_download(hub, cli, published, toy):
    told = cli("models", "download", "acme/rain")
    assert told.exit_code == 0, told.stderr
    (folder,) = told.stdout.splitlines()
    assert folder.endswith(published) and told.stderr == ""
    wanted = {"README.md", "SHA256SUMS", "config.json", "model.safetensors", "test/clean.png"}
    assert set(hub.asked()) == wanted
    assert hub.requests[-1] == "HEAD /acme/rain/resolve/main/config.json"  # to note which commit that is
    hub.requests.clear()
    assert cli("restore", "--help").exit_code == 0
    assert load_file(f"{folder}/model.safetensors").keys() == load_file(toy / "model.safetensors").keys()


def test_download_of_what_is_here_already(hub, cli, published):
    first = cli("models", "download", "acme/rain").stdout
    hub.requests.clear()
    assert cli("models", "download", f"acme/rain@{published}").stdout == first
    assert hub.asked() == []


def test_download_with_a_revision_and_copies(hub, cli, here, published):
    told = cli("models", "download", "acme/rain", "--revision", published, "--local-dir", "mine")
    assert told.exit_code == 0, told.stderr
    assert told.stdout.splitlines() == ["mine/rain"]
    copy = here / "mine" / "rain"
    assert (copy / "model.safetensors").is_file() and not any(path.is_symlink() for path in copy.rglob("*"))
    again = cli("models", "download", "acme/rain", "--local-dir", "mine")
    assert again.exit_code == 2 and "mine/rain is there already" in again.stderr
    assert [path.name for path in (here / "mine").iterdir()] == ["rain"]


def test_a_dry_run_keeps_nothing(hub, cli, tmp_path, published):
    told = cli("models", "download", "acme/rain", "--dry-run")
    assert told.exit_code == 0, told.stderr
    assert "acme/rain  model.safetensors  0." in told.stdout and f"commit {published}" in told.stderr
    assert set(hub.asked()) <= {"config.json"}
    assert not list((tmp_path / "cache").rglob("snapshots"))
    cli("models", "download", "acme/rain")
    assert "here already" in cli("models", "download", "acme/rain", "-n").stdout


def test_embedded_models_are_here(hub, cli):
    told = cli("models", "download", "rddm-derain-tiny")
    assert told.exit_code == 0 and told.stdout.strip().endswith("rddm-derain-tiny") and hub.requests == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "Name the models to fetch, or say --all"),
        (["--all", "acme/rain"], 2, "Name the models to fetch, or say --all"),
        (["a/b", "c/d", "--revision", "v1"], 2, "--revision is for one model"),
        (["nonsense"], 4, "No model 'nonsense': no name of the catalogue"),
        (["acme/none"], 4, "No model 'acme/none'"),
    ],
)
def test_what_cannot_be_downloaded(hub, cli, words, code, said):
    told = cli("models", "download", *words)
    assert told.exit_code == code and said in told.stderr and told.stdout == ""


def test_list_shows_what_was_fetched(hub, cli, published):
    assert "acme/rain" not in cli("models", "list", "-q").stdout
    cli("models", "download", "acme/rain")
    rows = {row["name"]: row for row in map(json.loads, cli("models", "list", "--local", "--json").stdout.splitlines())}
    assert (rows["acme/rain"]["revision"], rows["acme/rain"]["task"]) == (published, "derain")
    assert rows["rddm-derain-tiny"]["here"] and "ddpm-cifar10-32" not in rows
    names = cli("models", "list", "-q").stdout.splitlines()
    assert "ddpm-cifar10-32" in names and "acme/rain" in names
    assert "rddm-derain-tiny" not in cli("models", "list", "-q", "--task", "generate").stdout.splitlines()


def test_info_of_the_catalogue_asks_nobody(hub, cli):
    for name in ("ddpm-cifar10-32", "google/ddpm-cifar10-32"):
        facts = dict(line.split("  ", 1) for line in cli("models", "info", name).stdout.splitlines())
        assert facts["licence"].strip() == "apache-2.0" and facts["here"].strip() == "no"
    told = json.loads(cli("models", "info", "ddpm-church-256", "--json").stdout)
    assert (told["pinned"], told["revision"], told["repo"]) == (False, None, "google/ddpm-church-256")
    assert "noted" in cli("models", "info", "ddpm-church-256").stdout and hub.requests == []


def test_rm(hub, cli, tmp_path, published):
    cli("models", "download", "acme/rain")
    told = cli("models", "rm", "acme/rain", "--dry-run")
    assert told.exit_code == 0 and "would be freed" in told.stderr and published in told.stdout
    assert list((tmp_path / "cache").rglob("model.safetensors"))
    told = cli("models", "rm", "acme/rain")
    assert told.exit_code == 0 and "freed" in told.stderr
    assert not list((tmp_path / "cache").rglob("model.safetensors"))
    told = cli("models", "rm", "acme/rain")
    assert told.exit_code == 4 and "acme/rain is not on this machine" in told.stderr


def test_rm_of_one_revision(hub, cli, tmp_path, toy, published):
    other = shutil.copytree(toy, tmp_path / "other")
    (other / "README.md").write_text("newer", encoding="utf-8")
    cli("models", "download", "acme/rain")
    newer = hub.publish("acme/rain", other)
    cli("models", "download", "acme/rain")
    assert cli("models", "rm", f"acme/rain@{published}").exit_code == 0
    assert [path.name for path in (tmp_path / "cache").rglob("snapshots/*")] == [newer]


def test_rm_leaves_what_is_not_of_the_hub(hub, cli, here, toy):
    shutil.copytree(toy, here / "mine")
    for name, words in (("rddm-derain-tiny", "comes with restorer"), ("mine", "of yours; delete it yourself")):
        told = cli("models", "rm", name)
        assert told.exit_code == 2 and words in told.stderr
    assert (here / "mine" / "model.safetensors").is_file()
    assert cli("models", "rm", "nonsense").exit_code == 4
