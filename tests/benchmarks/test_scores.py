"""``just scores``: what fits, two pictures from end to end, and tables that are put where they belong.

With the folder of pictures in RESTORER_DATA its sets are looked for, too.
"""

import json
import os
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from toy import toy_model, toy_net

from restorer.degrade import parse_recipe
from restorer.entry import GENERATE, TASKS, read_entry
from restorer.hub.layout import leaves
from restorer.sums import SUMS, read_sums, sums_text

DATA = os.environ.get("RESTORER_DATA")
CARD_TEXT = "# toy\n\n## Measured\n\nBy hand.\n\n## Limits\n\nNone.\n"
PAGE_TEXT = "# Scores\n\n<!-- scores -->\n<!-- /scores -->\n\nThe end.\n"
README_TEXT = "# x\n\n## Models\n\n| a |\n|---|\n\n<!-- scores -->\nold\n<!-- /scores -->\n\nmore\n\n## Train\n"


@pytest.fixture(scope="module", autouse=True)
def beside():
    """The scripts find each other, as they do where Python is given one of them."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture
def data(tmp_path, draw):
    for name in ("a", "b"):
        draw(tmp_path / f"data/eval_clean/Set5/{name}.png", size=(22, 18), seed=ord(name))
    for side in ("input", "target", "mask"):
        draw(tmp_path / f"data/eval_pairs/shadow_ISTD_pseudoGT/{side}/x.png", size=(20, 16), seed=len(side))
    return tmp_path / "data"


def scores(*words):
    import scores

    scores.main([str(word) for word in words])


def test_the_table_names_tasks_recipes_and_sets_that_are():
    from score_sets import ALL_SETS, CLEAN_SETS, FITTING, PRIOR

    assert {*FITTING, *PRIOR} <= set(TASKS) - {GENERATE}
    for test in (test for table in (FITTING, PRIOR) for tests in table.values() for test in tests):
        assert (test.recipe is not None) + (test.pairs is not None) + (test.scale > 1) == 1, test
        assert test.recipe is None or parse_recipe(test.recipe)
        assert test.pairs is None or not leaves(test.pairs)
    assert max(Counter(ALL_SETS).values()) == 1 and len(CLEAN_SETS) == 5 and len(ALL_SETS) == 5 + 13
    for tests in FITTING.values():
        assert len({test.name for test in tests}) == len(tests)


if DATA:

    def test_every_set_of_the_table_is_there():
        from score_sets import ALL_SETS, FITTING, files_of, sets_of

        for test in (test for tests in FITTING.values() for test in tests):
            for name in sets_of(test, ALL_SETS):
                assert files_of(Path(DATA), test, name), name


def test_what_fits_which_card(toy):
    from score_sets import fitting, served

    entry = read_entry(toy / "config.json")
    assert [test.name for test in fitting("derain", entry)] == ["rain 0.5", "Rain100L", "Rain100H", "Rain1400"]
    assert all(test.sigma is None for test in fitting("denoise", entry))
    told = replace(entry, sample=replace(entry.sample, begin="picture"))
    assert sum(test.sigma is not None for test in fitting("denoise", told)) == 2
    larger = replace(entry, task="upscale", prepare="enlarge-bicubic:4")
    assert [test.name.partition(",")[0] for test in fitting("upscale", larger)] == [
        *("4 times", "City100 Nikon", "City100 iPhone X"),
    ]
    assert [task for task, _ in served(replace(entry, task=GENERATE))] == ["inpaint"]
    assert fitting("translate", entry) == ()


def test_the_best_place_undoes_a_shift_and_an_enlargement_is_what_an_input_is_compared_by(data):
    from score_sets import Pair, Test, made, score

    clean = torch.rand(1, 3, 40, 44, generator=torch.Generator().manual_seed(0))
    pair = Pair("x", (clean * 255).round() / 255, clean.roll((3, -2), (2, 3)))
    assert score(pair.damaged, pair, Test("x")).psnr < 10
    assert score(pair.damaged, pair, Test("x", shift=5)).psnr == float("inf")
    small = made("x", clean[..., :39, :43], Test("x", scale=2), 0)
    assert small.damaged.shape[-2:] == (19, 21) and small.clean.shape[-2:] == (38, 42)
    assert 5 < score(small.damaged, small, Test("x", scale=2)).psnr < 30
    holes = made("x", clean, Test("x", recipe="mask:0.5", holes=True), 3)
    assert set(holes.mask.unique().tolist()) == {0, 1}
    assert torch.equal((holes.damaged == 0).all(1, keepdim=True), (holes.mask == 1).all(1, keepdim=True))


def test_two_pictures_from_end_to_end(data, toy, tmp_path, capsys):
    out = tmp_path / "scores.json"
    words = (data, "--models", toy, "--sets", "Set5", "derain_Rain100L", "--dtype", "fp32", "--out", out)
    scores(*words, "--steps", 1, 2)
    told = capsys.readouterr()
    assert told.out.count("| derain | rain 0.5 | Set5 | 2 |") == 2
    assert "derain_Rain100L: no such set" in told.err
    rows = json.loads(out.read_text())
    assert [(row["steps"], row["n"], row["set"], row["scale"]) for row in rows] == [
        (1, 2, "Set5", 1),
        (2, 2, "Set5", 1),
    ]
    assert [picture["name"] for picture in rows[0]["pictures"]] == ["a.png", "b.png"]
    assert rows[0]["input"] == rows[1]["input"] and rows[0]["restored"] != rows[1]["restored"]
    assert rows[0]["megapixels"] == 2 * 22 * 18 / 1e6
    mean = sum(picture["restored"]["psnr"] for picture in rows[0]["pictures"]) / 2
    assert rows[0]["restored"]["psnr"] == pytest.approx(mean, abs=1e-3)
    # What is measured again takes the place of what was there.
    scores(*words, "--limit", 1, "--steps", 2, 3)
    assert [(row["steps"], row["n"]) for row in json.loads(out.read_text())] == [(1, 2), (2, 1), (3, 1)]


def test_a_net_of_several_tasks_that_leaves_pictures_as_they_are_gains_nothing(data, tmp_path):
    net = {"classes": 3}
    state = toy_net(scale=0.0, **net).state_dict()
    serves = [{"task": "deshadow", "label": 0}, {"task": "upscale", "label": 1, "prepare": "enlarge-bicubic:2"}]
    serves += [{"task": "upscale", "label": 2, "prepare": "enlarge-bicubic:4"}]
    model = toy_model(tmp_path / "several", state=state, net=net, task="deshadow", serves=serves)
    for side in ("input", "target"):
        shutil.copytree(data / "eval_pairs/shadow_ISTD_pseudoGT" / side, data / "eval_pairs/sr_City100_Nikon" / side)
    scores(data, "--models", model, "--dtype", "fp32", "--out", tmp_path / "out.json")
    rows = json.loads((tmp_path / "out.json").read_text())
    assert all(row["input"] == pytest.approx(row["restored"], abs=1e-3) for row in rows)
    assert [(row["task"], row["scale"], row["set"]) for row in rows] == [
        ("deshadow", 1, "Set5"),
        ("deshadow", 1, "shadow_ISTD_pseudoGT"),
        ("upscale", 2, "Set5"),
        ("upscale", 2, "sr_City100_Nikon"),
        ("upscale", 4, "Set5"),
        ("upscale", 4, "sr_City100_Nikon"),
    ]


def test_a_prior_is_told_the_mask(data, tmp_path):
    net = {"arch": "ddpm_unet", "widths": [8, 8], "layers": 1, "attention": [False, False]}
    net |= {"attention_middle": False, "groups": 4}
    from restorer.nets import NETS

    torch.manual_seed(0)
    options = dict(net)
    state = NETS[options.pop("arch")](**options).state_dict()
    words = {"input": ["x"], "output": "eps"}
    prior = toy_model(tmp_path / "prior", state=state, net=net, task=GENERATE, schedule={"kind": "vp"}, predict=words)
    card = json.loads((prior / "config.json").read_text())
    card["net"] = net  # the toy's own is not that of this kind
    (prior / "config.json").write_text(json.dumps(card))
    scores(
        data, "--models", prior, "--dtype", "fp32", "--steps", 2, "--prior-pictures", 1, "--out", tmp_path / "o.json"
    )
    [row] = json.loads((tmp_path / "o.json").read_text())
    assert (row["task"], row["n"], row["set"]) == ("inpaint", 1, "centres of 1 of 2: Set5")
    assert row["restored"]["psnr"] > row["input"]["psnr"]  # half of it is known


def row(**changes):
    from score_pages import Row

    told = {"model": "toy", "task": "derain", "scale": 1, "test": "rain 0.5", "set": "Set5", "made": True, "steps": 3}
    told |= {"dtype": "fp32", "cpu": "a CPU", "n": 2, "seconds": 1.0, "megapixels": 0.5}
    told |= {"input": {"psnr": 20.0, "ssim": 0.5}, "restored": {"psnr": 26.0, "ssim": 0.75}}
    return Row(**told | changes)


@pytest.fixture
def root(tmp_path, toy):
    place = tmp_path / "root"
    for name, text in (("README.md", README_TEXT), ("docs/scores.md", PAGE_TEXT)):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    shutil.copytree(toy, place / "models/toy")
    (place / "models/toy/README.md").write_text(CARD_TEXT)
    (place / "models/toy/SHA256SUMS").write_text(sums_text(place / "models/toy"))
    return place


def test_tables_are_put_between_the_marks_and_nowhere_else(root, tmp_path, capsys):
    from scores import keep

    better = {"psnr": 30.0, "ssim": 0.9}
    rows = [row(), row(set="Kodak24", n=6, restored={"psnr": 22.0, "ssim": 0.55}), row(steps=9, restored=better)]
    rows += [row(test="Rain100L", set="derain_Rain100L", made=False), row(model="another", set="Set14")]
    keep(tmp_path / "s.json", rows)
    scores("--write", tmp_path / "s.json", "--root", root)
    assert len(capsys.readouterr().out.splitlines()) == 4
    page, card, readme = ((root / name).read_text() for name in ("docs/scores.md", "models/toy/README.md", "README.md"))
    assert page.startswith("# Scores\n\n<!-- scores -->\n\n") and page.endswith("\n\n<!-- /scores -->\n\nThe end.\n")
    assert "| another |" in page and "| toy | rain 0.5 | Kodak24 | 6 |" in page and "+10.00" in page
    # A card shows what its model does by itself, and one line for what was damaged alike: (2 * 26 + 6 * 22) / 8.
    assert (
        "| derain | rain 0.5 | Set5, Kodak24 | 8 | 20.00 / 0.5000 | 23.00 / 0.6000 | +3.00 | 3, fp32 | 2.00 |" in card
    )
    assert card.startswith("# toy\n\n## Measured\n\nBy hand.\n\n<!-- scores -->") and "+10.00" not in card
    assert card.endswith("<!-- /scores -->\n\n## Limits\n\nNone.\n")
    assert "| derain | [toy](models/toy/README.md) | rain 0.5: +3.00 | Rain100L: +6.00 | 2.00 |" in readme
    assert "old" not in readme and readme.endswith("\n\nmore\n\n## Train\n") and "another" not in readme
    assert (root / "models/toy" / SUMS).read_text() == sums_text(root / "models/toy")


def test_writing_twice_changes_nothing(root, tmp_path, capsys):
    from scores import keep

    keep(tmp_path / "s.json", [row()])
    scores("--write", tmp_path / "s.json", "--root", root)
    files = {file: file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}
    capsys.readouterr()
    scores("--write", tmp_path / "s.json", "--root", root)
    assert capsys.readouterr().out == ""
    assert {file: file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()} == files


def test_the_sums_of_other_files_are_not_renewed(root, tmp_path):
    from scores import keep

    sums = read_sums(root / "models/toy" / SUMS)
    (root / "models/toy/config.json").write_text((root / "models/toy/config.json").read_text() + "\n")
    keep(tmp_path / "s.json", [row()])
    scores("--write", tmp_path / "s.json", "--root", root)
    now = read_sums(root / "models/toy" / SUMS)
    assert [name for name in sums if now[name] != sums[name]] == ["README.md"]


@pytest.mark.parametrize("marks", ["<!-- scores -->", "<!-- /scores -->\n<!-- scores -->", "<!-- /scores -->"])
def test_marks_that_are_no_pair_are_told(root, tmp_path, marks):
    from scores import keep

    keep(tmp_path / "s.json", [row()])
    (root / "README.md").write_text(f"# x\n{marks}\n")
    with pytest.raises(SystemExit, match=r"README.md: the scores cannot be put there: .* must stand in it once"):
        scores("--write", tmp_path / "s.json", "--root", root)
    assert (root / "docs/scores.md").read_text() == PAGE_TEXT  # nothing is written where one cannot be


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("data", "--sets", "Set6"), "did you mean 'Set5'"),
        (("data", "--models", "nothing"), "No model 'nothing'"),
        (("--write", "missing.json"), "no scores that --out has written"),
    ],
)
def test_words_that_are_off(here, words, sentence):
    with pytest.raises(SystemExit, match=sentence):
        scores(*words)


def test_readme_has_a_place_for_the_summary():
    from score_pages import BEGIN, END

    for name in ("README.md", "docs/scores.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert text.count(BEGIN) == text.count(END) == 1


def test_what_a_card_expects_is_told_how_long_it_took(root, tmp_path, cli):
    from scores import keep

    expect = {"metric": "psnr", "value": 26.0, "steps": 3, "seed": 0}
    sets = ("Set5, Kodak24; rain 0.5", "Set5, Set14; rain 0.5", "derain_Rain100L", "Set5; rain 0.7", "Set5; haze")
    card = root / "models/toy/config.json"
    data = json.loads(card.read_text()) | {"expect": [expect | {"set": name} for name in sets]}
    card.write_text(json.dumps(data, indent=2) + "\n")
    rows = [row(), row(set="Kodak24", seconds=5.0), row(steps=9, seconds=90.0), row(test="haze", scale=2)]
    rows += [row(test="Rain100L", set="derain_Rain100L", made=False, seconds=4.0)]
    rows += [row(test=f"rain 0.7{more}", seconds=s, restored={"psnr": p, "ssim": 0.5}) for more, s, p in SEVERAL]
    keep(tmp_path / "s.json", rows)
    with pytest.raises(SystemExit, match=r"config.json: not as SHA256SUMS says; run benchmarks/embed.py"):
        scores("--write", tmp_path / "s.json", "--root", root)
    (root / "models/toy" / SUMS).write_text(sums_text(root / "models/toy"))
    scores("--write", tmp_path / "s.json", "--root", root)
    told = [one.seconds_per_megapixel for one in read_entry(card).expect]
    assert told == [6.0, None, 8.0, 14.0, None]
    assert {one.machine for one in read_entry(card).expect} == {"a CPU, fp32", None}
    assert (root / "models/toy" / SUMS).read_text() == sums_text(root / "models/toy")
    shown = cli("models", "info", root / "models/toy", model=False).stdout
    assert "how fast" in shown and "6 s a megapixel (a CPU, fp32)" in shown


SEVERAL = (("", 1.0, 30.0), (", told", 7.0, 26.1))
"""The rest of a test's name, its seconds and its PSNR."""
