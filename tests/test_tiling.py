"""Windows: they cover the canvas, and blending changes nothing where windows agree."""

from itertools import pairwise

import pytest
import torch

from restorer.diffusion.predict import Prediction
from restorer.tiling import blended, windows

SIZES = [(64, 64), (64, 256), (65, 130), (200, 72), (8, 300), (9, 9)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("side", "overlap"), [(64, 16), (32, 0), (16, 15), (None, 0)])
def test_windows_cover_the_canvas_and_overlap(size, side, overlap):
    over = windows(size, side, overlap)
    seen = torch.zeros(size)
    for part in over.cut(seen):
        assert tuple(part.shape) == over.size
        part += 1
    assert seen.min() >= 1
    for axis in (0, 1):
        starts = sorted({corner[axis] for corner in over.corners})
        assert all(a + over.size[axis] - b >= overlap for a, b in pairwise(starts))
    assert (over.weights() > 0).all() and over.weights().max() <= 1


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_what_depends_on_the_pixel_alone_is_blended_into_itself(batch):
    x = torch.randn(1, 3, 50, 70, generator=torch.Generator().manual_seed(0))

    def predict(x, t):
        return Prediction(x + t, -x, x.square())

    got = blended(predict, windows((50, 70), 16, 5), batch)(x, 7)
    for value, wanted in zip(got, predict(x, 7), strict=True):
        assert torch.allclose(value, wanted, atol=1e-5)


def test_between_windows_that_disagree_nothing_jumps():
    """Each window says another number; across the canvas the blend goes from one to the next by small steps."""
    over = windows((16, 52), 16, 8)
    said = iter(range(len(over.corners)))

    def predict(x, t):
        v = torch.stack([torch.full_like(window, float(next(said))) for window in x])
        return Prediction(v, v, v)

    row = blended(predict, over)(torch.zeros(1, 1, 16, 52), 1).x0[0, 0, 3]
    assert (row[0], row[-1]) == (0, len(over.corners) - 1)
    assert (row.diff() >= -1e-6).all() and row.diff().max() < 0.25


@pytest.mark.parametrize(
    ("side", "overlap", "sentence"), [(30, 4, "multiple of 4, not 30"), (32, 32, "0 to 31, not 32"), (0, 0, "not 0")]
)
def test_what_cannot_be(side, overlap, sentence):
    with pytest.raises(ValueError, match=sentence):
        windows((64, 64), side, overlap, 4)
