"""Scores against values that can be computed by hand, and against SSIM written out as nested loops."""

import math

import pytest
import torch

from restorer.errors import ImageError
from restorer.metrics import METRICS, luma, psnr, psnr_y, ssim, ssim_y

ANY_SIZE = [name for name in METRICS if name != "ms-ssim"]


def pictures(height=24, width=20, seed=0):
    """A smooth picture and a noisy copy."""
    rng = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    clean = torch.stack([rows, columns, rows * columns])[None]
    return (clean + 0.1 * torch.randn(clean.shape, generator=rng)).clamp(0, 1), clean


def constant(value):
    return torch.full((1, 3, 16, 16), value)


def ssim_in_loops(restored, clean):
    """Equation 13 of Wang et al., one window after the other."""
    window = [[math.exp(-((i - 5) ** 2 + (j - 5) ** 2) / (2 * 1.5**2)) for j in range(11)] for i in range(11)]
    total = sum(map(sum, window))
    values = []
    for channel in range(3):
        x, y = restored[0, channel].tolist(), clean[0, channel].tolist()
        for top in range(len(x) - 10):
            for left in range(len(x[0]) - 10):
                places = [(i, j, window[i][j] / total) for i in range(11) for j in range(11)]
                seen = [(x[top + i][left + j], y[top + i][left + j], w) for i, j, w in places]
                mean_x, mean_y = sum(w * a for a, _, w in seen), sum(w * b for _, b, w in seen)
                var_x = sum(w * (a - mean_x) ** 2 for a, _, w in seen)
                var_y = sum(w * (b - mean_y) ** 2 for _, b, w in seen)
                both = sum(w * (a - mean_x) * (b - mean_y) for a, b, w in seen)
                top_line = (2 * mean_x * mean_y + 1e-4) * (2 * both + 9e-4)
                values.append(top_line / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4)))
    return sum(values) / len(values)


@pytest.mark.parametrize("name", ANY_SIZE)
def test_equal_pictures_are_as_good_as_can_be(name):
    _, clean = pictures()
    assert METRICS[name](clean, clean) == pytest.approx(math.inf if name.startswith("psnr") else 1.0)


@pytest.mark.parametrize("name", ANY_SIZE)
def test_it_does_not_matter_which_is_which(name):
    restored, clean = pictures()
    assert METRICS[name](restored, clean) == pytest.approx(METRICS[name](clean, restored), rel=1e-12)


@pytest.mark.parametrize("name", ANY_SIZE)
def test_more_noise_is_a_lower_score(name):
    _, clean = pictures(64, 64)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    scores = [METRICS[name](clean + size * noise, clean) for size in (0.01, 0.03, 0.1, 0.3)]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 4


@pytest.mark.parametrize("name", ANY_SIZE)
def test_a_crop_leaves_the_border_out(name):
    restored, clean = pictures()
    inner = METRICS[name](restored[..., 3:-3, 3:-3], clean[..., 3:-3, 3:-3])
    restored[..., :3, :] = restored[..., -3:, :] = restored[..., :3] = restored[..., -3:] = 0
    assert METRICS[name](restored, clean, crop=3) == inner != METRICS[name](restored, clean)


def test_ssim_is_the_formula_written_out():
    restored, clean = pictures(14, 13)
    assert ssim(restored, clean) == pytest.approx(ssim_in_loops(restored, clean), abs=1e-12)


# On constant pictures a and b nothing varies: PSNR is -20 log10|a - b|, SSIM (2ab + c1) / (a^2 + b^2 + c1).
# Luma of grey g is (16 + 219 g) / 255.
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("psnr", -20 * math.log10(0.25)),
        ("ssim", (2 * 0.5 * 0.75 + 1e-4) / (0.5**2 + 0.75**2 + 1e-4)),
        ("psnr-y", -20 * math.log10(0.25 * 219 / 255)),
        ("ssim-y", (2 * 125.5 * 180.25 + 2.55**2) / (125.5**2 + 180.25**2 + 2.55**2)),
    ],
)
def test_constant_pictures(name, wanted):
    assert METRICS[name](constant(0.5), constant(0.75)) == pytest.approx(wanted, abs=1e-9)


def test_luma_runs_from_16_to_235():
    colours = torch.tensor([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]).float().T.reshape(1, 3, 1, 5)
    assert (255 * luma(colours)).flatten().tolist() == pytest.approx([16, 235, 81.481, 144.553, 40.966])


def test_colour_alone_leaves_luma_as_it_was():
    restored = constant(0.5)
    restored[:, 0] += 0.1
    restored[:, 1] -= 0.1 * 65.481 / 128.553
    assert psnr(restored, constant(0.5)) < 25 < 100 < psnr_y(restored, constant(0.5))
    assert ssim(restored, constant(0.5)) < 0.995 < 0.9999 < ssim_y(restored, constant(0.5))


@pytest.mark.parametrize(
    ("name", "sizes", "crop", "words"),
    [
        ("ssim", [(10, 30), (10, 30)], 0, "SSIM needs 11 pixels on each side, not 30x10; measure PSNR alone."),
        ("ssim-y", [(20, 20), (20, 20)], 5, "SSIM needs 11 pixels on each side, not 10x10"),
        ("psnr", [(8, 9), (9, 8)], 0, "Pictures of 9x8 and 8x9 pixels cannot be compared"),
        ("psnr", [(8, 9), (8, 9)], 4, "Nothing is left of 9x8 pixels without 4 at each side"),
        ("psnr", [(8, 9), (8, 9)], -1, "without -1 at each side"),
    ],
)
def test_what_cannot_be_measured_is_a_sentence(name, sizes, crop, words):
    with pytest.raises(ImageError, match=words):
        METRICS[name](*(torch.rand(1, 3, *size) for size in sizes), crop=crop)
