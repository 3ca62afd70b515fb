"""``restorer tasks``: every task and every sampler has its line."""

import json

from restorer.diffusion.samplers import SAMPLERS
from restorer.entry import TASKS


def test_every_task_is_listed_with_the_model_that_serves_it(cli):
    lines = [json.loads(line) for line in cli("tasks", "--json", model=False).stdout.splitlines()]
    assert [line["task"] for line in lines] == list(TASKS)
    served = {line["task"]: line["model"] for line in lines if line["model"]}
    assert served == {
        "derain": "rddm-derain-tiny",
        "denoise": "irsde-denoise-tiny",
        "generate": "ddpm-natural-tiny",
    }
    assert all(line["measured"] for line in lines if line["model"])
    assert "denoise" in cli("tasks", model=False).stdout


def test_every_sampler_is_listed_with_a_sentence_and_its_eta(cli):
    lines = [json.loads(line) for line in cli("tasks", "--samplers", "--json", model=False).stdout.splitlines()]
    assert [line["sampler"] for line in lines] == list(SAMPLERS)
    assert all(len(line["what it does"]) > 20 for line in lines)
    assert {line["sampler"]: line["eta"] for line in lines}["sde-2"] == "1"
