"""``models`` and ``doctor``: what they tell, and that damage shows."""

import json

import pytest
from toy import toy_model

from restorer import entry


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder of models that stands for those that come with restorer: one whole, one damaged."""
    for name in ("damaged", "whole"):
        toy_model(tmp_path / "models" / name, name=name)
    monkeypatch.setattr(entry, "models_folder", lambda: tmp_path / "models")
    return tmp_path / "models"


def damage(hub):
    with (hub / "damaged" / "model.safetensors").open("ab") as weights:
        weights.write(b"more")


def test_list(hub, cli):
    header, *rows = cli("models", "list").stdout.splitlines()
    assert header.split("\t") == ["name", "task", "method", "MB", "licence", "here", "pinned", "score"]
    assert [row.split("\t")[0] for row in rows] == ["damaged", "whole"]
    assert rows[1].split("\t")[1:3] == ["derain", "rddm"] and rows[1].endswith("\tyes\t20 psnr (toy)")


def test_list_json(hub, cli):
    (hub / "damaged" / "model.safetensors").unlink()
    lines = [json.loads(line) for line in cli("models", "list", "--json").stdout.splitlines()]
    assert [(line["name"], line["here"]) for line in lines] == [("damaged", False), ("whole", True)]
    assert lines[1]["scores"] == [{"set": "toy", "metric": "psnr", "value": 20.0, "steps": 3}]
    assert lines[1]["bytes"] == (hub / "whole" / "model.safetensors").stat().st_size


def test_info(hub, cli):
    told = cli("models", "info", "whole").stdout
    facts = dict(line.split(maxsplit=1) for line in told.splitlines())
    assert (facts["task"], facts["steps"], facts["licence"]) == ("derain", "3", "MIT")
    assert facts["measured"] == "20 psnr on toy, 3 steps, seed 0"
    assert facts["path"] == str(hub / "whole" / "model.safetensors")
    assert len(facts["sha256"]) == 64
    assert cli("models", "info", hub / "whole").stdout == told


def test_info_json(hub, cli):
    told = json.loads(cli("models", "info", "whole", "--json").stdout)
    assert told["name"] == "whole" and told["path"] == str(hub / "whole")


def test_info_of_a_folder_that_diffusers_wrote(hub, cli, tmp_path):
    config = {"_class_name": "UNet2DModel", "block_out_channels": [32], "sample_size": 32}
    config |= {"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
    for name, content in (
        ("model_index.json", {}),
        ("unet/config.json", config),
        ("unet/diffusion_pytorch_model.bin", {}),
        ("scheduler/scheduler_config.json", {"_class_name": "DDPMScheduler"}),
    ):
        file = tmp_path / "faces" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    told = cli("models", "info", tmp_path / "faces")
    assert told.exit_code == 0, told.stderr
    facts = dict(line.split(maxsplit=1) for line in told.stdout.splitlines())
    assert (facts["name"], facts["task"], facts["steps"]) == ("faces", "generate", "50")
    assert facts["method"] == "ddpm, sampler ddim, net ddpm_unet" and "crops of 32 pixels" in facts["trained"]
    assert json.loads(cli("models", "info", tmp_path / "faces", "--json").stdout)["sample"]["times"] == "leading"


def test_info_of_an_unknown_model(hub, cli):
    result = cli("models", "info", "whol")
    assert result.exit_code == 4 and "did you mean 'whole'" in result.stderr


def test_doctor(hub, cli, monkeypatch):
    monkeypatch.setenv("HF_HOME", "/somewhere/else")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    result = cli("doctor")
    assert result.exit_code == 0
    for words in (
        "python ",
        "torch ",
        "huggingface_hub ",
        "memory ",
        "auto takes ",
        "/somewhere/else/hub",
        "models are fetched when needed",
        "model whole",
    ):
        assert words in result.stdout


def test_doctor_json_and_a_damaged_model(hub, cli):
    damage(hub)
    result = cli("doctor", "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 4
    assert told["models"]["whole"] == "OK" and "sha256" in told["models"]["damaged"]
    assert set(told) == {"versions", "system", "cpu", "memory", "devices", "cache", "models"}
    assert told["devices"]["auto"]["device"] in {"cpu", "cuda", "mps", "xpu"} and "cpu" in told["devices"]["seen"]


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HOME": "/d"}, "/d/.cache/huggingface/hub"),
    ],
)
def test_where_the_hub_keeps_downloads(monkeypatch, environment, folder):
    from restorer.hub.home import hub_cache

    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert hub_cache().as_posix() == folder
