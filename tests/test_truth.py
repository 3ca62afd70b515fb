"""--gt: what is written is measured against the clean picture of its name, and nothing stops for want of one."""

import json
import math
from pathlib import Path

import pytest
from PIL import Image

from restorer import images
from restorer.batch import Record, Work, plan, run
from restorer.cli.report import Report
from restorer.errors import UsageError
from restorer.metrics import psnr, ssim
from restorer.plan import Files
from restorer.restore import Made

BRIGHTER = Work(lambda pixels, told: [Made((pixels + 0.1003).clamp(0, 1))], {"restorer": "1", "seed": 0})
SIZE = (24, 20)


def do(inputs, output=None, work=BRIGHTER, **files):
    files = Files(**{key: Path(value) if key == "gt" else value for key, value in files.items()})
    return list(run(work, plan(inputs, output, files).jobs, files))


@pytest.fixture
def pair(here, draw):
    """in/a.png and clean/a.png."""
    return draw("in/a.png", size=SIZE), draw("clean/a.png", size=SIZE, seed=1)


@pytest.mark.parametrize("options", [{}, {"bits": 16}, {"format": "tiff"}])
@pytest.mark.parametrize("gt", ["clean", "clean/a.png"])
def test_what_is_measured_is_what_is_written(pair, gt, options):
    [record] = do(["in/a.png"], "out/", gt=gt, **options)
    written, clean = images.read(Path(record.output)).pixels, images.read(pair[1]).pixels
    assert record.scores == {"psnr": psnr(written, clean), "ssim": ssim(written, clean)}
    assert record.line()["psnr"] == round(psnr(written, clean), 4) and record.warnings == ()
    assert list(record.line())[-4:] == ["seconds", "psnr", "ssim", "warnings"]


def test_a_lossy_format_is_measured_before_its_losses(pair):
    [record] = do(["in"], "out", gt="clean", format="jpg", quality=5)
    [png] = do(["in"], "out", gt="clean")
    assert record.output.endswith(".jpg") and record.scores == png.scores


def test_grey_and_transparent_pictures(here, draw):
    for mode in ("L", "RGBA"):
        draw(f"{mode}.png", size=SIZE, mode=mode)
        [record] = do(
            [f"{mode}.png"], f"out/{mode}.png", Work(lambda pixels, told: [Made(pixels)], {}), gt=f"{mode}.png"
        )
        assert record.scores == {"psnr": math.inf, "ssim": 1.0}
        assert json.loads(json.dumps(record.line()))["psnr"] is None


def test_the_ending_may_differ_but_the_very_name_goes_first(pair, draw):
    draw("in/b.jpg", size=SIZE), draw("in/sub/c.png", size=SIZE)
    for name in ("b.png", "sub/c.webp", "a.tif"):
        draw(f"clean/{name}", size=SIZE)
    records = do(["in"], "out", gt="clean", recursive=True)
    assert [bool(record.scores) for record in records] == [True] * 3


def nothing(place):
    pass


def of_another_size(place):
    Image.new("RGB", (9, 9)).save(place / "b.png")


def no_picture(place):
    (place / "b.png").write_text("not a picture")


def several(place):
    for ending in ("bmp", "jpg"):
        Image.new("RGB", SIZE).save(place / f"b.{ending}")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (nothing, "in/b.png: no ground truth of its name in clean."),
        (of_another_size, "clean/b.png: a ground truth of 9x9 pixels, the picture has 24x20."),
        (no_picture, "clean/b.png is not a picture"),
        (several, "several pictures of its name in clean: b.bmp and b.jpg."),
    ],
)
def test_a_picture_without_a_usable_ground_truth_is_restored_all_the_same(pair, here, draw, make, words):
    draw("in/b.png", size=SIZE)
    make(here / "clean")
    first, second = do(["in"], "out", gt="clean")
    assert first.scores and not second.scores and second.status == "done" and Path(second.output).exists()
    [warning] = second.warnings
    assert words in warning and warning.endswith(". It is restored, but not measured.")


def test_a_picture_smaller_than_the_window_of_ssim_has_a_psnr(here, draw):
    draw("a.png", size=(8, 9)), draw("clean.png", size=(8, 9), seed=1)
    [record] = do(["a.png"], gt="clean.png")
    assert list(record.scores) == ["psnr"]
    assert record.warnings == ("a.png: SSIM needs 11 pixels on each side, not 8x9; measure PSNR alone.",)


@pytest.mark.parametrize(
    ("gt", "words"),
    [("nowhere", "nowhere: no such picture, nor a folder"), ("other", "other: no picture there has the name")],
)
def test_no_ground_truth_at_all_is_known_before_anything_is_written(pair, draw, cli, gt, words):
    draw("other/b.png")
    with pytest.raises(UsageError, match=words):
        do(["in"], "out", gt=gt)
    answer = cli("restore", "in", "--gt", gt)
    assert answer.exit_code == 2 and words in answer.stderr and not Path("in_restored").exists()


def test_inputs_that_are_not_there_are_told_first(pair, cli):
    assert cli("restore", "nothing.png", "--gt", "clean").exit_code == 3


def test_standard_input_has_no_name(pair, cli):
    data = pair[0].read_bytes()
    assert cli("restore", "-", "--gt", "clean", stdin=data).exit_code == 2
    answer = cli("restore", "-", "--gt", "clean/a.png", stdin=data)
    assert answer.exit_code == 0 and "PSNR" in answer.stderr


def test_the_ground_truth_is_not_written_over(pair):
    before = pair[1].read_bytes()
    [record] = do(["in/a.png"], "clean", gt="clean", exists="overwrite")
    assert record.status == "failed" and "onto clean/a.png" in str(record.error)
    assert pair[1].read_bytes() == before


def test_what_is_skipped_has_no_scores(pair):
    do(["in"], "out", gt="clean")
    [record] = do(["in"], "out", gt="clean")
    assert (record.status, record.scores) == ("skipped", {})
    assert "psnr" not in record.line()


def test_the_scores_change_no_byte(pair):
    do(["in"], "with", gt="clean"), do(["in"], "without")
    assert Path("with/a.png").read_bytes() == Path("without/a.png").read_bytes()


# what is told


def test_scores_and_their_means_are_told(pair, draw, cli):
    draw("in/b.png", size=SIZE), draw("clean/b.jpg", size=SIZE)
    answer = cli("derain", "in", "--gt", "clean", "--json")
    first, second, last = (json.loads(line) for line in answer.stdout.splitlines())
    for name in ("psnr", "ssim"):
        assert last["summary"][name] == pytest.approx((first[name] + second[name]) / 2, abs=1e-4)
    answer = cli("derain", "in", "--gt", "clean", "-y")
    told = answer.stderr
    assert answer.stdout.split() == ["in_derained/a.png", "in_derained/b.png"]
    assert f" s  PSNR {first['psnr']:.2f} dB, SSIM {first['ssim']:.4f}\n" in told
    means = last["summary"]
    assert f"\nPSNR {means['psnr']:.2f} dB, SSIM {means['ssim']:.4f} in the mean of 2.\n" in told


def test_a_mean_with_an_infinite_score_is_json_too():
    report = Report(2)
    for score in (30.0, math.inf):
        report.add(Record("a", "b", "done", scores={"psnr": score}))
    assert report.line()["summary"]["psnr"] is None
    assert report.sentences()[1] == "PSNR inf dB in the mean of 2."


def test_from_python(pair, toy_restorer):
    [record] = toy_restorer.run(["in"], output="out", gt="clean")
    assert record.scores["psnr"] > 0
    with pytest.raises(UsageError, match="no such picture"):
        list(toy_restorer.run(["in"], output="out", gt="nowhere"))
