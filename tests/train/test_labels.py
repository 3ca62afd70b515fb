"""A net of several tasks: each damage has a label, and the net is told which it is shown."""

import json
from dataclasses import replace

import pytest
import torch
from toy import toy_model

from restorer.entry import read_entry
from restorer.errors import UsageError
from restorer.restore import Restorer
from restorer.train.begin import take_over
from restorer.train.config import read_config
from restorer.train.data import crops_of, feed, validation_set
from restorer.train.learner import learner
from restorer.train.loop import train
from restorer.train.preflight import preflight
from restorer.train.team import Alone

CPU = torch.device("cpu")
SEVERAL = (
    'net={arch="plain_unet", widths=[8, 8], depths=[1, 1], classes=2}',
    'data.damage=[{recipe="lowlight", label=1, strength=[0.7, 0.9]}, {recipe="noise", label=0, strength=[0.1, 0.2]}]',
    'serves=[{task="denoise", label=0}, {task="enhance", label=1}]',
    'task="denoise"',
)


def recipe(root, *words):
    return read_config(root / "train.toml", [*SEVERAL, *words])


def test_each_crop_has_the_label_of_its_damage(root):
    config = recipe(root)
    crops = crops_of(root, config)
    labels = []
    for i in range(20):
        x0, y, _, label = crops[i]
        labels.append(int(label))
        assert bool(y.mean() < 0.7 * x0.mean()) == bool(label), "only low light is dark"
    assert set(labels) == {0, 1}
    shown = [int(label) for *_, label in validation_set(root, config.data)]
    assert shown == [1, 0]  # each in turn


def test_the_loss_hears_the_labels(root):
    pupil = learner(recipe(root), Alone(CPU))
    with torch.no_grad():
        pupil.net.exit.weight.normal_(generator=torch.Generator().manual_seed(0))
        for block in pupil.net.middle:
            block.film.weight.normal_(generator=torch.Generator().manual_seed(1))
        pupil.net.classes.weight[1] = 3.0
    crops = crops_of(root, pupil.config)
    [batch] = next(feed(crops, pupil.config.train, 0, 1, pupil.team))
    assert batch.label.shape == (len(batch.x0),)
    told = [pupil.descent.loss(batch._replace(label=torch.full_like(batch.label, i))) for i in (0, 1)]
    assert not torch.isclose(*told)


def test_a_run_gives_a_model_of_both_tasks(root):
    config = recipe(root, "train.steps=4", "train.val_every=2")
    *_, last = train(config, root, root / "run", CPU)
    assert last.psnr is not None
    entry = read_entry(root / "run" / "model" / "config.json")
    assert entry.tasks == ("denoise", "enhance")
    model = str(root / "run" / "model")
    for task in entry.tasks:
        made = Restorer.from_pretrained(model, task=task, device="cpu", dtype="fp32")
        assert made(torch.rand(3, 20, 16)).shape == (3, 20, 16)
    assert read_config(root / "run" / "train.toml", []) == config
    alone = replace(config, data=replace(config.data, validation=None))  # which are the same pictures
    assert preflight(alone, root, root / "looked", CPU).ready


def test_a_net_that_was_told_nothing_may_be_the_beginning(root, tmp_path):
    folder = toy_model(tmp_path / "start", net={"arch": "plain_unet", "widths": [8, 12], "depths": [1, 1]})
    words = 'net={arch="plain_unet", widths=[8, 12], depths=[1, 1], classes=2}'
    net = learner(recipe(root, words, f"init={json.dumps(str(folder))}"), Alone(CPU)).net
    plain = Restorer.from_pretrained(str(folder), device="cpu", dtype="fp32").denoiser.net
    x, time = torch.rand(2, 6, 16, 16), torch.tensor([100.0, 900.0])
    assert torch.equal(net(x, time, torch.tensor([0, 1])), plain(x, time))
    with pytest.raises(UsageError, match="of another shape"):
        take_over(learner(recipe(root), Alone(CPU)).net, str(folder))


@pytest.mark.parametrize(
    "words",
    [
        ('data.damage=[{recipe="rain", label=0}, {recipe="noise"}]',),
        ('data.damage=[{recipe="rain"}]',),
        ('net={arch="plain_unet", widths=[8, 8], depths=[1, 1]}', "serves=[]"),
    ],
)
def test_labels_belong_to_nets_of_classes(root, words):
    with pytest.raises(UsageError, match="either every damage has a label and the net has classes, or none has"):
        recipe(root, *words)
