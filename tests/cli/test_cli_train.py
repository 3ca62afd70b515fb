"""``restorer train`` as typed: from a folder of pictures to a model that restores, or a sentence."""

import json

import pytest

QUICK = [
    *("--set", 'net={arch="plain_unet", widths=[8, 8], depths=[1, 1]}'),
    *("--patch-size", 16, "--max-steps", 4, "--batch-size", 2, "--workers", 0, "--save-every", 2, "-d", "cpu"),
]


@pytest.fixture
def photos(here, draw):
    for name in ("a.png", "b.png"):
        draw(here / "photos" / name, size=(40, 32))
    return here


@pytest.mark.parametrize("method", ["rddm", "irsde"])
def test_clean_pictures_become_a_model_that_restores(photos, cli, draw, method):
    result = cli("train", "photos", "--degrade", "rain", "--method", method, *QUICK, model=False)
    assert result.exit_code == 0, result.output
    assert result.stdout == "runs/my-model/model\n"
    card = json.loads((photos / "runs/my-model/model/config.json").read_text())
    assert (card["method"], card["schedule"]["kind"]) == (method, method)
    assert len((photos / "runs/my-model/log.csv").read_text().splitlines()) == 1 + 4
    draw("rainy.png", size=(20, 17))
    words = ["-m", "runs/my-model/model", "-d", "cpu", "--steps", 2]
    assert cli("derain", "rainy.png", *words, model=False).stdout == "rainy_derained.png\n"


def test_damage_comes_from_a_file_too(photos, cli):
    (photos / "damage.toml").write_text(
        '[[damage]]\nrecipe = "blur:0.3+noise:0.02"\nweight = 2\n[[damage]]\nrecipe = "haze"\nstrength = [0.1, 0.4]\n'
    )
    result = cli("train", "photos", "--degrade", "damage.toml", *QUICK, model=False)
    assert result.exit_code == 0, result.output
    missing = cli("train", "photos", "--degrade", "none.toml", *QUICK, model=False)
    assert missing.exit_code == 3 and "none.toml: cannot read the recipe" in missing.stderr


def test_a_recipe_in_a_file_goes_on_where_it_stopped(photos, cli):
    recipe = photos / "train.toml"
    recipe.write_text(
        'name = "mine"\ntask = "derain"\nmethod = "irsde"\n'
        'net = { arch = "plain_unet", widths = [8, 8], depths = [1, 1] }\nschedule = { kind = "irsde" }\n'
        'predict = { output = "eps", input = ["x-y", "y"], time = "t", range = [0.0, 1.0], clip = "none" }\n'
        'sample = { sampler = "posterior", steps = 3, eta = 1.0 }\n'
        '[data]\nclean = ["."]\ndamage = [{ recipe = "rain" }]\n[train]\nobjective = "matching"\n'
    )
    assert cli("train", "photos", "-c", recipe, *QUICK[2:], model=False).exit_code == 0
    again = cli("train", "photos", "-c", recipe, "--method", "irsde", *QUICK[2:], "--max-steps", 6, model=False)
    assert again.exit_code == 0, again.output
    steps = [line.split(",")[0] for line in (photos / "runs/mine/log.csv").read_text().splitlines()[1:]]
    assert steps == ["1", "2", "3", "4", "5", "6"]
    other = cli("train", "photos", "-c", recipe, "--method", "rddm", *QUICK[2:], model=False)
    assert other.exit_code == 2
    assert "a recipe of the method irsde, not rddm; leave out --method." in other.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "nowhere: no such folder of training data"),
        (["photos"], "give either clean folders with a damage, or both lq and gt"),
        (["photos", "--degrade", "rian"], "Unknown degradation 'rian'; did you mean 'rain'?"),
        (["photos", "--degrade", "rain", "--set", "train.objective=matchign"], "did you mean 'matching'"),
        (["photos", "--degrade", "rain", "--set", "train.objective=noise"], "for nets that say eps, not res"),
        (["photos", "--lq", "photos"], "--lq and --gt go together"),
    ],
)
def test_what_cannot_be_trained_is_a_sentence(photos, cli, words, sentence):
    result = cli("train", *words, *QUICK, model=False)
    assert result.exit_code == 2, result.output
    assert sentence in result.stderr
    assert not (photos / "runs").exists()


def test_a_run_that_cannot_be_kept_is_a_sentence(photos, cli):
    (photos / "taken").write_text("a file")
    result = cli("train", "photos", "--degrade", "rain", "-o", "taken/run", *QUICK, model=False)
    assert result.exit_code == 2, result.output
    assert "taken/run: cannot be made: " in result.stderr and "choose another --output." in result.stderr


def test_a_model_is_trained_on_with_the_net_of_its_card(photos, cli):
    assert cli("train", "photos", "--degrade", "rain", *QUICK, model=False).exit_code == 0
    words = ["--init", "runs/my-model/model", "-o", "tuned", *QUICK[2:]]
    result = cli("train", "photos", "--degrade", "rain", *words, model=False)
    assert result.exit_code == 0, result.output
    cards = [json.loads((photos / name / "config.json").read_text()) for name in ("runs/my-model/model", "tuned/model")]
    assert cards[0]["net"] == cards[1]["net"] and cards[0]["predict"] == cards[1]["predict"]
    other = cli("train", "photos", "--degrade", "rain", "--init", "nowhere", *QUICK, model=False)
    assert other.exit_code == 4 and "No model 'nowhere'" in other.stderr


def pairs(photos, draw):
    for name in ("a.png", "b.png"):
        for folder in ("data/input", "data/target", "data/val/LQ", "data/val/GT"):
            draw(photos / folder / name, size=(40, 32))


SMALL = ("--set", 'net={arch="plain_unet", widths=[8, 8], depths=[1, 1]}')


def test_a_papers_recipe_is_taken_by_name_with_the_pictures_of_the_folder(photos, cli, draw):
    pairs(photos, draw)
    more = ["--set", 'predict={output="res"}', *QUICK[2:], "--set", "data.validation_crop=16"]
    result = cli("train", "data", "-c", "rddm-raindrop", *SMALL, *more, model=False)
    assert result.exit_code == 0, result.output
    assert result.stdout == "runs/rddm-raindrop/model\n" and "psnr" in result.stderr
    recipe = (photos / "runs/rddm-raindrop/train.toml").read_text()
    for line in ('lq = "input"', 'gt = "target"', 'validation = "val"', 'optimiser = "adam"', "lr = 8e-05"):
        assert line in recipe
    again = cli("train", "data", "-c", "runs/rddm-raindrop/train.toml", "-d", "cpu", model=False)
    assert again.exit_code == 0 and len((photos / "runs/rddm-raindrop/log.csv").read_text().splitlines()) == 1 + 4
    wrong = cli("train", "data", "-c", "rddm-raindrp", *QUICK, model=False)
    assert wrong.exit_code == 2 and "did you mean 'rddm-raindrop'" in wrong.stderr


def test_a_run_goes_on_from_a_checkpoint_that_is_named(photos, cli):
    assert cli("train", "photos", "--degrade", "rain", *QUICK, model=False).exit_code == 0
    older = "runs/my-model/checkpoints/step-00000002.pt"
    result = cli("train", "photos", "--degrade", "rain", *QUICK, "-o", "two", "--resume", older, model=False)
    assert result.exit_code == 0, result.output
    assert [line[:2] for line in (photos / "two/log.csv").read_text().splitlines()[1:]] == ["3,", "4,"]
    wrong = cli("train", "photos", "--degrade", "rain", *QUICK, "--resume", "maybe", model=False)
    assert wrong.exit_code == 2 and "maybe: no such checkpoint" in wrong.stderr


def test_flags_stand_for_keys_of_the_recipe(photos, cli):
    flags = {"--grad-accum": 2, "--keep": 1, "--max-hours": 5, "--mixed-precision": "bf16", "--ema-decay": 0.5}
    words = [word for pair in flags.items() for word in pair]
    result = cli("train", "photos", "--degrade", "rain", *QUICK, *words, "--log", "csv", model=False)
    assert result.exit_code == 0, result.output
    recipe = (photos / "runs/my-model/train.toml").read_text()
    for line in ("grad_accum = 2", "keep = 1", "max_hours = 5.0", 'mixed_precision = "bf16"', 'log = ["csv"]'):
        assert line in recipe


def test_hours_that_are_over_leave_a_run_to_go_on_with(photos, cli):
    words = ["train", "photos", "--degrade", "rain", *QUICK]
    result = cli(*words, "--max-hours", 1e-9, model=False)
    assert result.exit_code == 0 and "The hours are over after step 1 of 4" in result.stderr
    assert cli(*words, model=False).exit_code == 0
    assert len((photos / "runs/my-model/log.csv").read_text().splitlines()) == 1 + 4


TOLD = [*("--set", "license=CC0-1.0", "--set", "source=test"), *("--set", "data_note=drawn")]


@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw:DeprecationWarning")
def test_a_model_is_published_at_the_end(photos, cli, draw, hub):
    pairs(photos, draw)
    words = ["train", "data", *QUICK, "--set", "data.validation_crop=16", "--push-to-hub", "acme/mine"]
    result = cli(*words, *TOLD, model=False)
    assert result.exit_code == 0, result.output
    assert "Published: " in result.stderr and len(hub.messages) == 1


def test_what_cannot_be_published_is_told_before_training(photos, cli, draw, hub):
    pairs(photos, draw)
    result = cli("train", "data", *QUICK, "--push-to-hub", "acme/mine", model=False)
    assert result.exit_code == 2 and "--set license=... --set source=... --set data_note=..." in result.stderr
    result = cli("train", "photos", "--degrade", "rain", *QUICK, *TOLD, "--push-to-hub", "acme/mine", model=False)
    assert result.exit_code == 2 and "give validation pictures" in result.stderr
    result = cli("train", "data", *QUICK, *TOLD, "--push-to-hub", "mine", model=False)
    assert result.exit_code == 2 and "no OWNER/REPO" in result.stderr
    assert not (photos / "runs").exists() and hub.messages == []
