"""restorer score, the papers' protocols, and MS-SSIM beside another implementation."""

import csv
import json
from pathlib import Path

import pytest
import torch

from restorer import images
from restorer.errors import ImageError
from restorer.metrics import ms_ssim, psnr, psnr_y
from restorer.protocols import ALL, PLAIN, PROTOCOLS, imresize, lab_mae, measure


def noisy(height=180, width=200, sigma=0.1, seed=0):
    rng = torch.Generator().manual_seed(seed)
    clean = torch.nn.functional.interpolate(torch.rand(1, 3, 12, 12, generator=rng), (height, width), mode="bilinear")
    return (clean + sigma * torch.randn(clean.shape, generator=rng)).clamp(0, 1), clean


def test_ms_ssim_is_that_of_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.image")
    restored, clean = noisy()
    words = {"data_range": 1.0, "gaussian_kernel": True, "sigma": 1.5}
    theirs = functional.multiscale_structural_similarity_index_measure(restored.double(), clean.double(), **words)
    assert abs(ms_ssim(restored, clean) - float(theirs)) < 2e-3  # theirs crops the borders otherwise
    assert ms_ssim(clean, clean) == pytest.approx(1, abs=1e-12)
    assert ms_ssim(restored, clean) == pytest.approx(ms_ssim(clean, restored), rel=1e-12)
    assert ms_ssim(restored, clean, crop=2) == ms_ssim(restored[..., 2:-2, 2:-2], clean[..., 2:-2, 2:-2])
    assert ms_ssim(noisy(sigma=0.3)[0], clean) < ms_ssim(restored, clean) < 1
    with pytest.raises(ImageError, match="176 pixels"):
        ms_ssim(restored[..., :175, :], clean[..., :175, :])


def test_imresize_is_matlabs():
    """Its kernel by hand: a step made twice as long, and a ramp made half as long."""
    ramp = torch.arange(8.0).view(1, 1, 1, 8)
    half = imresize(ramp, (1, 4))[0, 0, 0]
    assert torch.allclose(half, torch.tensor([0.46, 2.5, 4.5, 6.54], dtype=torch.float64), atol=0.05)
    assert torch.allclose(half + half.flip(0), torch.full((4,), 7.0, dtype=torch.float64))
    step = torch.tensor([0.0, 0, 1, 1]).view(1, 1, 1, 4)
    double = imresize(step, (1, 8))[0, 0, 0]
    # Keys' cubic at 0.25, 0.75, 1.25, 1.75 is 0.8671875, 0.2265625, -0.0703125, -0.0234375.
    wanted = torch.tensor([0, -0.0234375, -0.0703125, 0.203125, 0.796875, 1.0703125, 1.0234375, 1.0])
    assert torch.allclose(double, wanted.double(), atol=1e-12)
    assert torch.equal(imresize(step, (1, 4)), step.double())


def test_lab_of_known_colours():
    def colour(*rgb):
        return torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1)

    black, white, red = colour(0, 0, 0), colour(1, 1, 1), colour(1, 0, 0)
    assert lab_mae(white, black) == pytest.approx(100, abs=1e-6)
    # L* a* b* of sRGB red: 53.24, 80.09, 67.20.
    assert lab_mae(red, black) == pytest.approx(53.24 + 80.09 + 67.20, abs=0.05)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_measures_equal_pictures_as_equal(name):
    _, clean = noisy(96, 90)
    scores = measure(clean, clean, PROTOCOLS[name].metrics, PROTOCOLS[name], 0)
    best = {"psnr": float("inf"), "psnr-y": float("inf"), "ssim": 1.0, "ssim-y": 1.0, "lab-mae": 0.0}
    assert scores == {metric: pytest.approx(best[metric]) for metric in PROTOCOLS[name].metrics}
    assert set(scores) <= set(ALL)


def test_what_protocols_differ_in():
    restored, clean = noisy(96, 90)
    levels = (255 * restored).round() / 255
    cropped = (..., slice(4, -4), slice(4, -4))
    got = measure(restored, clean, ("psnr-y",), PROTOCOLS["irsde-derain"], 0)["psnr-y"]
    assert got == pytest.approx(psnr_y(levels[cropped], ((255 * clean).round() / 255)[cropped]), abs=1e-6)
    assert measure(restored, clean, ("psnr",), PLAIN, 0)["psnr"] == psnr(restored, clean)
    assert measure(restored, clean, ("psnr",), PLAIN, 3)["psnr"] == psnr(restored, clean, crop=3)
    larger = imresize(clean, (192, 180)).float()
    scores = measure(restored, larger, ("psnr-y", "ssim-y"), PROTOCOLS["rddm-raindrop"], 0)
    assert scores["psnr-y"] > 15
    with pytest.raises(ImageError, match="cannot be compared"):
        measure(restored, larger, ("psnr",), PLAIN, 0)


def test_regions_of_a_mask():
    """[RDDM] evaluates the shadow and the rest: black elsewhere for PSNR, the mean of the region for LAB."""
    restored, clean = noisy(256, 256)
    mask = torch.zeros(1, 1, 256, 256)
    mask[..., :64] = 1
    told = PROTOCOLS["rddm-istd"]
    scores = measure(restored, clean, told.metrics, told, 0, mask)
    assert list(scores)[:3] == ["psnr", "psnr-marked", "psnr-rest"]
    errors = {end: 10 ** (-scores[f"psnr-{end}"] / 10) for end in ("marked", "rest")}
    assert errors["marked"] + errors["rest"] == pytest.approx(10 ** (-scores["psnr"] / 10), rel=1e-6)
    whole = (scores["lab-mae-marked"] + 3 * scores["lab-mae-rest"]) / 4
    assert whole == pytest.approx(scores["lab-mae"], rel=1e-9)
    with pytest.raises(ImageError, match="marks nothing"):
        measure(restored, clean, told.metrics, told, 0, torch.zeros_like(mask))


@pytest.fixture
def folders(here, draw):
    for name in ("a", "b", "c"):
        draw(f"truth/{name}.png", size=(40, 30))
        draw(f"made/{name}_derained.png", size=(40, 30), seed=ord(name))
    draw("made/lonely.png", size=(40, 30))
    draw("made/small.png", size=(20, 30)), draw("truth/small.png", size=(40, 30))
    Path("made/c_derained.png").write_bytes(b"no picture")


def test_the_command(folders, cli):
    result = cli("score", "made", "--gt", "truth", "--json", "--csv", "t.csv", model=False)
    assert result.exit_code == 1
    *lines, summary = map(json.loads, result.stdout.splitlines())
    scores = {line["input"]: line.get("psnr") for line in lines}
    a, clean = images.read("made/a_derained.png").pixels, images.read("truth/a.png").pixels
    assert scores["made/a_derained.png"] == round(psnr(a, clean), 4)
    assert [name for name, value in scores.items() if value is None] == [
        "made/lonely.png",
        "made/c_derained.png",
        "made/small.png",
    ]
    assert summary["summary"]["psnr"] == pytest.approx(
        (scores["made/a_derained.png"] + scores["made/b_derained.png"]) / 2, abs=1e-3
    )
    for words in ("no picture of its name", "is not a picture", "20x30 and 40x30 pixels cannot be compared"):
        assert result.stderr.count(words) == 1
    with open("t.csv") as file:  # noqa: PTH123
        table = list(csv.DictReader(file))
    assert [row["picture"] for row in table] == ["made/a_derained.png", "made/b_derained.png"]
    assert float(table[0]["psnr"]) == scores["made/a_derained.png"]


def test_metrics_and_protocols_by_name(folders, cli, draw):
    plain = cli("score", "made/a_derained.png", "--gt", "truth/a.png", "-M", "psnr-y", model=False)
    header, row = (line.split("\t") for line in plain.stdout.splitlines())
    assert header == ["picture", "psnr-y"] and float(row[1]) > 0
    named = cli("score", "made/a_derained.png", "--gt", "truth", "--protocol", "irsde-derain", model=False)
    assert named.stdout.split("\n")[0].split("\t") == ["picture", "psnr", "ssim", "psnr-y", "ssim-y"]
    draw("masks/a.png", size=(40, 30))
    words = ["--protocol", "rddm-istd", "--mask", "masks", "--json"]
    regions = cli("score", "made/a_derained.png", "--gt", "truth", *words, model=False)
    assert {"psnr-marked", "lab-mae-rest"} <= set(json.loads(regions.stdout.splitlines()[0])), regions.stderr
    assert "elsewhere" in regions.stderr


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["made"], 2, "There is no --gt"),
        (["made", "--gt", "truth", "-M", "lpips"], 2, "lpips needs a net of others and is not built in"),
        (["made", "--gt", "truth", "-M", "psnt"], 2, "'psnr'"),
        (["made", "--gt", "truth", "--protocol", "irsde-drain"], 2, "'irsde-derain'"),
        (["made", "--gt", "truth", "--mask", "truth"], 2, "measure regions: rddm-istd"),
        (["made", "--gt", "nowhere"], 3, "nowhere does not exist"),
        (["made/lonely.png", "--gt", "truth"], 3, "no picture of its name"),
    ],
)
def test_what_cannot_be_measured(folders, cli, words, code, sentence):
    result = cli("score", *words, model=False)
    assert (result.exit_code, sentence in result.stderr) == (code, True), result.stderr
