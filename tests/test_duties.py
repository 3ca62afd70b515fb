"""A net of several tasks: told which by its label, with a card that says what it serves."""

import json
from pathlib import Path

import pytest
import torch
from toy import toy_model, toy_net

from restorer import images
from restorer.entry import Duty, parse_entry, read_entry
from restorer.errors import ModelError, UsageError
from restorer.restore import Restorer

SERVES = [
    {"task": "deblur", "label": 0},
    {"task": "upscale", "label": 1, "prepare": "enlarge-bicubic:2"},
    {"task": "upscale", "label": 2, "prepare": "enlarge-bicubic:4", "sample": {"sampler": "rddm", "steps": 2}},
]


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A toy whose answers depend on what it is told."""
    net = {"classes": 3}
    state = toy_net(**net).state_dict()
    state["classes.weight"] = torch.randn(3, 128, generator=torch.Generator().manual_seed(1))
    return toy_model(tmp_path_factory.mktemp("several") / "toy", state=state, net=net, task="deblur", serves=SERVES)


def test_a_card_says_what_its_model_serves(several):
    entry = read_entry(several / "config.json")
    assert entry.tasks == ("deblur", "upscale") and entry.serves[1] == Duty("upscale", 1, "enlarge-bicubic:2")
    four = entry.serving("upscale", 4)
    assert (four.task, four.net["label"], four.prepare, four.sample.steps) == ("upscale", 2, "enlarge-bicubic:4", 2)
    assert entry.serving("upscale").net["label"] == 1 and entry.serving("deblur").sample == entry.sample
    with pytest.raises(UsageError, match="enlarges by 2 or 4, not 3"):
        entry.serving("upscale", 3.0)
    with pytest.raises(UsageError, match="is for deblur, upscale, not derain"):
        entry.serving("derain")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"serves": [{"task": "deblur", "label": 3}]}, "labels are those of a net of classes"),
        ({"serves": [{"task": "deblurr", "label": 0}]}, "did you mean 'deblur'"),
        ({"serves": [{"task": "generate", "label": 0}]}, "task"),
        ({"serves": [{"task": "deblur"}]}, "'label' is missing"),
        ({"net": {"arch": "plain_unet"}}, "labels are those of a net of classes"),
    ],
)
def test_cards_that_cannot_be(several, change, sentence):
    data = json.loads((several / "config.json").read_text())
    with pytest.raises(ModelError, match=sentence):
        parse_entry(data | change, "config.json")


def test_each_task_is_another_picture(several):
    y = torch.rand(3, 16, 20, generator=torch.Generator().manual_seed(0))
    words = {"device": "cpu", "dtype": "fp32"}
    made = [
        Restorer.from_pretrained(str(several), task=task, scale=scale, **words)(y)
        for task, scale in (("deblur", None), ("upscale", 2), ("upscale", 4))
    ]
    assert [tuple(v.shape[1:]) for v in made] == [(16, 20), (32, 40), (64, 80)]
    own = Restorer.from_pretrained(str(several), **words)
    assert torch.equal(own(y), made[0])
    # The label is heard: the same net told another one says another thing.
    net = own.denoiser.net
    x, time = torch.rand(2, 6, 16, 16), torch.tensor([500.0, 500.0])
    both = net(x, time, torch.tensor([0, 2]))
    assert torch.equal(net(x, time), net(x, time, torch.tensor([0, 0])))
    assert torch.allclose(both[0], net(x, time)[0]) and not torch.allclose(both[1], net(x, time)[1])


def test_commands_know_their_task(here, draw, cli, several):
    draw("a.png", size=(20, 16))
    words = ["-m", several, "-d", "cpu", "--dtype", "fp32"]
    for name, size in (("deblur", (20, 16)), ("upscale", (40, 32))):
        assert cli(name, "a.png", "-o", f"{name}.png", *words, model=False).exit_code == 0
        assert images.read(Path(f"{name}.png")).size == size
        recipe = images.read_recipe(Path(f"{name}.png"))
        assert recipe["task"] == name
        again = cli("redo", f"{name}.png", "-m", several, "-o", "again.png", "-y", model=False)
        assert again.exit_code == 0 and "the same pixels" in again.stderr, again.stderr
    four = cli("upscale", "a.png", "-o", "four.png", "--scale", "4", *words, model=False)
    assert four.exit_code == 0 and images.read_recipe(Path("four.png"))["steps"] == 2
    assert cli("redo", "four.png", "-m", several, "-o", "b.png", model=False).exit_code == 0
    assert cli("restore", "a.png", "-T", "deblur", "-o", "c.png", *words, model=False).exit_code == 0
    assert images.read(Path("c.png")).pixels.equal(images.read(Path("deblur.png")).pixels)
    wrong = cli("derain", "a.png", *words, model=False)
    assert wrong.exit_code == 2 and "is for deblur, upscale, not derain" in wrong.stderr
    three = cli("upscale", "a.png", "--scale", "3", *words, model=False)
    assert three.exit_code == 2 and "enlarges by 2 or 4, not 3" in three.stderr
