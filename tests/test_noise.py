"""The guess of a picture's noise: right on noise, near on pictures, and never misled by what hides noise."""

import pytest
import torch
import torch.nn.functional as F

from restorer.noise import estimate_sigma


def noise(height, width, seed=0):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def scene(height=256, width=320):
    """Smooth ground with texture on half of it and an edge, (1, 3, height, width), within 0.1 to 0.9."""
    rng = torch.Generator().manual_seed(1)
    ground = F.interpolate(torch.rand(1, 3, 6, 6, generator=rng), (height, width), mode="bicubic").clamp(0, 1)
    texture = F.avg_pool2d(torch.rand(1, 3, height + 2, width + 2, generator=rng), 3, 1) - 0.5
    texture[..., width // 2 :] = 0
    ground[..., height // 3 :, :] *= 0.7
    return (0.15 + 0.6 * ground + 0.4 * texture).clamp(0.1, 0.9)


@pytest.mark.parametrize("level", [2, 10, 25, 50])
def test_noise_alone_is_measured(level):
    assert estimate_sigma(0.5 + level / 255 * noise(256, 256)) == pytest.approx(level, rel=0.03)


@pytest.mark.parametrize("level", [5, 15, 25, 50])
def test_texture_on_half_of_a_picture_hardly_matters(level):
    y = scene() + level / 255 * noise(256, 320)
    assert estimate_sigma(y) == pytest.approx(level, rel=0.1)
    # 8-bit files round, and cut off at black and white.
    assert estimate_sigma((y.clamp(0, 1) * 255).round() / 255) == pytest.approx(level, rel=0.1)


def test_a_black_border_hides_its_noise_and_is_not_asked():
    y = scene() + 20 / 255 * noise(256, 320)
    y[..., :60, :] = 0
    y[..., -60:, :] = 1
    assert estimate_sigma(y) == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize("level", [3, 6, 12])
def test_noise_that_neighbours_share_counts_by_what_is_seen_of_it(level):
    # As between a sensor and a JPEG: a little smoothing, and colours kept at half the size.
    shared = F.avg_pool2d(noise(258, 322), 3, 1)
    luma = shared.mean(1, keepdim=True)
    chroma = F.interpolate(F.avg_pool2d(shared - luma, 2), scale_factor=2, mode="bilinear")
    shared = level / 255 * 3 * (luma + chroma)
    seen = 4 * 255 * float(F.avg_pool2d(shared, 4).std())
    assert 0.5 * seen < estimate_sigma(scene() + shared) < 1.2 * seen


def test_a_flat_picture_has_none_and_a_grey_one_as_much_as_a_coloured_one():
    assert estimate_sigma(torch.full((1, 3, 64, 64), 0.5)) == pytest.approx(0, abs=1e-3)
    grey = (0.5 + 0.1 * noise(128, 128)).mean(1, keepdim=True)
    assert estimate_sigma(grey) == pytest.approx(estimate_sigma(grey.expand(1, 3, 128, 128)))


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (3, 3), (9, 13), (13, 300)])
def test_every_size_has_an_answer(size):
    guess = estimate_sigma(0.5 + 0.1 * noise(*size))
    assert 0 <= guess < 80


def test_the_same_picture_always_has_the_same_guess_and_is_left_alone():
    y = scene() + 0.1 * noise(256, 320)
    before = y.clone()
    assert estimate_sigma(y) == estimate_sigma(y.to(memory_format=torch.channels_last))
    assert torch.equal(y, before)
