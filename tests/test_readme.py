"""Every command that README shows is run, as it stands, on small pictures."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pytest
import torch
from conftest import ROOT
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from official_irsde import random_state, unet
from official_trainer import LAYOUTS, trainer
from PIL import Image
from typer.testing import CliRunner

from restorer import Restorer

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition("#")[0].removeprefix("$ ").strip()
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
BLOCKS = {"down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",), "layers_per_block": 1}
SMALL = ["--max-steps", "1", "-b", "1", "--patch-size", "16", "--workers", "0"]
"""Training to the end would take days; a step shows that the command is right."""


def picture(path, size=(40, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]] / 40
    Image.fromarray((np.stack([rows, columns, rows * columns], -1) * 200).astype("uint8")).save(path)


@pytest.fixture
def desk(tmp_path, monkeypatch, toy, hub):
    """A folder with everything that README's commands name, and a Hub with the repositories."""
    for name in ("photo.jpg", "in.png", "photos/a.jpg", "photos/sub/b.png", "clean/a.png", "photo.png", "clean.png"):
        picture(tmp_path / name)
    for name in ("small.png", "grey.jpg", "old.jpg"):
        picture(tmp_path / name, (12, 8))
    for name, size in (("mask.png", (40, 32)), ("scratches.png", (12, 8))):
        Image.new("L", size).save(tmp_path / name)
    for name in ("pairs/LQ/a.png", "pairs/GT/a.png", "data/val_clean/a.png", "data/train_clean/a.png"):
        picture(tmp_path / name)
    for name in ("budgie/roman-colosseum.jpg", "gb82/dog-lossless.jpg"):
        picture(tmp_path / "data" / "train_clean" / name)
    torch.save(trainer(LAYOUTS["raindrop"]), tmp_path / "model-120.pt")
    torch.save(random_state(unet(8, 4)), tmp_path / "ir-sde-derainH100.pth")
    net = UNet2DModel(sample_size=8, block_out_channels=(8,), norm_num_groups=4, **BLOCKS)
    DDIMPipeline(net, DDIMScheduler()).save_pretrained(tmp_path / "my-ddpm")
    hub.publish("owner/faces", tmp_path / "my-ddpm")
    hub.publish("owner/repo", toy)
    (tmp_path / "my-model").symlink_to(toy)
    (tmp_path / "models").symlink_to(ROOT / "models")
    (tmp_path / "runs" / "rain").mkdir(parents=True)
    (tmp_path / "runs" / "rain" / "model").symlink_to(toy)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_readme_shows_commands():
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_readme_runs(command, desk):
    from restorer.cli.app import app

    words = shlex.split(command.partition("<")[0])
    assert words[0] == "restorer"
    stdin = (desk / "in.png").read_bytes() if "<" in command else None
    if "derained" in command:
        derain = Restorer.from_pretrained("rddm-derain-tiny", device="cpu")
        for place, made in (("photo.jpg", "photo_derained.jpg"), ("photos", "photos_derained")):
            assert all(record.status == "done" for record in derain.run([place], output=made))
    if words[1] == "train":
        (desk / "runs" / "rain" / "model").unlink()  # a run makes its own
        words += SMALL
    if words[1] in ("upscale", "inpaint", "colorize", "deblur") or "--operator" in words:
        words += ["--steps", "2"]
    answer = CliRunner().invoke(app, words[1:], input=stdin, prog_name="restorer")
    assert answer.exit_code == 0, answer.output
    if ">" in command:
        assert answer.stdout_bytes.startswith(b"\x89PNG")


def test_the_exit_codes_of_readme_are_those_of_the_program():
    from restorer.cli import errors

    table = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
    assert table == {answer.code for answer in errors.ANSWERS.values()} | {errors.DONE}
