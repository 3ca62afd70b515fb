"""The README.md of models: what the Hub and people read."""

from dataclasses import replace

import pytest
import torch
import yaml
from official_trainer import LAYOUTS, trainer
from toy import card_data

from restorer.card import INVENTS, MARK, NO_LICENCE, PICTURE, notes_of, readme, write_readme
from restorer.convert.official import Wishes, convert
from restorer.entry import parse_entry

KNOWN = parse_entry(card_data(), "test")
ENTRY = replace(KNOWN, license="unknown")


def front(text):
    before, words, rest = text.split("---\n", 2)
    assert before == "" and rest
    return yaml.safe_load(words)


@pytest.mark.parametrize(
    ("task", "pipeline"), [("derain", "image-to-image"), ("generate", "unconditional-image-generation")]
)
def test_the_hub_is_told_what_it_asks(task, pipeline):
    said = front(readme(replace(ENTRY, task=task)))
    assert (said["library_name"], said["pipeline_tag"], said["license"]) == ("restorer", pipeline, "unknown")
    assert task in said["tags"] and "rddm" in said["tags"]


@pytest.mark.parametrize(
    ("license", "told"),
    [("MIT", {"license": "mit"}), ("my: own\n---\n", {"license": "other", "license_name": "my: own ---"})],
)
def test_licences_that_the_hub_knows_and_others(license, told):
    text = readme(replace(ENTRY, license=license))
    assert told.items() <= front(text).items() and NO_LICENCE not in text


def test_an_unknown_licence_is_told_at_length_and_notes_once():
    text = readme(ENTRY, ["Mind this.", "Mind this."])
    assert NO_LICENCE in text and text.count("Mind this.") == 1
    assert notes_of(text) == ("Mind this.",) and notes_of(readme(KNOWN)) == ()


def test_scores_are_told_with_how_they_were_measured():
    score = KNOWN.expect[0]
    scores = (score, replace(score, metric="ssim", value=0.8764), replace(score, set="other | set", steps=5, seed=7))
    text = readme(replace(KNOWN, expect=scores))
    said = front(text)
    assert said["metrics"] == ["psnr", "ssim"] and said["model-index"][0]["name"] == "toy"
    toy, other = said["model-index"][0]["results"]
    assert (toy["dataset"]["name"], other["dataset"]["name"]) == ("toy", "other | set")
    assert [(m["type"], m["value"]) for m in toy["metrics"]] == [("psnr", 20.0), ("ssim", 0.8764)]
    assert other["metrics"][0]["args"] == {"steps": 5, "seed": 7, "eta": 0.0}
    assert "| toy | ssim | 0.8764 | 3 | 0 | 0 |" in text and "| other \\| set | psnr | 20 | 5 | 0 | 7 |" in text
    assert "8-bit pictures" in text and "No score" not in text


def test_how_fast_it_was_is_in_the_table_where_it_is_known():
    score = KNOWN.expect[0]
    timed = replace(score, seconds_per_megapixel=1.5, machine="a CPU, fp32")
    text = readme(replace(KNOWN, expect=(timed, score)))
    assert "| set | metric | score | steps | eta | seed | s/MP |\n|---|---|---|---|---|---|---|\n" in text
    assert "| 0 | 1.5 |\n" in text and "| 0 |  |\n" in text and "megapixel of the result (a CPU, fp32)." in text
    assert "s/MP" not in readme(KNOWN)


def test_without_a_score_none_is_claimed():
    text = readme(replace(KNOWN, expect=()))
    assert "No score was measured." in text and not {"metrics", "model-index"} & front(text).keys()


def test_people_are_told_of_limits():
    text = readme(replace(KNOWN, data="rain | drops"), model="acme/rain")
    for words in (
        INVENTS,
        "restorer restore photo.jpg -m acme/rain",
        "## Trained on\n\nrain | drops\n",
        "below 4 pixels",
    ):
        assert words in text
    assert PICTURE not in text and f"]({PICTURE})" in readme(KNOWN, picture=True)


def test_a_card_of_others_stays(tmp_path):
    assert write_readme(tmp_path, ENTRY) and write_readme(tmp_path, replace(ENTRY, name="again"))
    assert "# again" in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("Mine.")
    assert not write_readme(tmp_path, ENTRY) and (tmp_path / "README.md").read_text() == "Mine."


def test_a_picture_beside_it_is_shown(tmp_path):
    (tmp_path / PICTURE).write_bytes(b"a picture")
    write_readme(tmp_path, KNOWN)
    assert f"]({PICTURE})" in (tmp_path / "README.md").read_text()


def test_a_conversion_leaves_its_card(tmp_path):
    torch.save(trainer(LAYOUTS["lol"]), tmp_path / "model-80.pt")
    made = convert("rddm", tmp_path / "model-80.pt", tmp_path / "m", Wishes(preset="lol"))
    text = (tmp_path / "m" / "README.md").read_text()
    for words in (MARK, "preset lol", "`official`", "`rddm`, 2 steps", "equalize", "LOL", "model-80.pt", *made.notes):
        assert words in text
    (tmp_path / "m" / "README.md").write_text("Mine.")
    again = convert("rddm", tmp_path / "model-80.pt", tmp_path / "m", Wishes(preset="lol"), overwrite=True)
    assert "stays as it is" in again.notes[-1] and (tmp_path / "m" / "README.md").read_text() == "Mine."
