"""The README.md of converted models: what the Hub and people read."""

import json
from dataclasses import replace

import pytest
import torch
from official_trainer import LAYOUTS, trainer
from toy import card_data

from restorer.convert.card import MARK, NO_LICENCE, readme, write_readme
from restorer.convert.official import Wishes, convert
from restorer.entry import parse_entry

ENTRY = replace(parse_entry(card_data(), "test"), license="unknown")


def front(text):
    """The YAML as a table; each value is one word or JSON."""
    before, yaml, rest = text.split("---\n", 2)
    assert before == "" and rest
    return dict(line.split(": ", 1) for line in yaml.splitlines())


@pytest.mark.parametrize(
    ("task", "pipeline"), [("derain", "image-to-image"), ("generate", "unconditional-image-generation")]
)
def test_the_hub_is_told_what_it_asks(task, pipeline):
    said = front(readme(replace(ENTRY, task=task)))
    assert (said["library_name"], said["pipeline_tag"], said["license"]) == ("restorer", pipeline, "unknown")
    assert task in json.loads(said["tags"]) and "rddm" in json.loads(said["tags"])


@pytest.mark.parametrize(
    ("license", "told"),
    [("MIT", {"license": "mit"}), ("my: own", {"license": "other", "license_name": '"my: own"'})],
)
def test_licences_that_the_hub_knows_and_others(license, told):
    text = readme(replace(ENTRY, license=license))
    assert told.items() <= front(text).items() and NO_LICENCE not in text


def test_an_unknown_licence_is_told_at_length_and_notes_once():
    text = readme(ENTRY, ["Mind this.", "Mind this."])
    assert NO_LICENCE in text and text.count("Mind this.") == 1


def test_a_card_of_others_stays(tmp_path):
    assert write_readme(tmp_path, ENTRY) and write_readme(tmp_path, replace(ENTRY, name="again"))
    assert "# again" in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("Mine.")
    assert not write_readme(tmp_path, ENTRY) and (tmp_path / "README.md").read_text() == "Mine."


def test_a_conversion_leaves_its_card(tmp_path):
    torch.save(trainer(LAYOUTS["lol"]), tmp_path / "model-80.pt")
    made = convert("rddm", tmp_path / "model-80.pt", tmp_path / "m", Wishes(preset="lol"))
    text = (tmp_path / "m" / "README.md").read_text()
    for words in (MARK, "preset lol", "`official`", "`rddm`, 2 steps", "equalize", "LOL", "model-80.pt", *made.notes):
        assert words in text
    (tmp_path / "m" / "README.md").write_text("Mine.")
    again = convert("rddm", tmp_path / "model-80.pt", tmp_path / "m", Wishes(preset="lol"), overwrite=True)
    assert "stays as it is" in again.notes[-1] and (tmp_path / "m" / "README.md").read_text() == "Mine."
