"""Charts: round numbers on the axes, and every series in its colour."""

import math

import pytest
from PIL import Image, ImageColor

from restorer.plot import COLOURS, line_chart, log_ticks, ticks

WORDS = {"title": "A title", "x": "Step", "y": "PSNR (dB)"}


def colours(chart, above=0):
    """The colours of series in the chart below its legend, by number."""
    inner = chart.crop((0, above, *chart.size))
    seen = {colour for _, colour in inner.getcolors(maxcolors=2**24)}
    return [i for i, colour in enumerate(COLOURS) if ImageColor.getrgb(colour) in seen]


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0, 5, [0, 1, 2, 3, 4, 5]),
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (14.2, 31.7, [10, 15, 20, 25, 30, 35]),
        (0.1, 0.3, [0.1, 0.15, 0.2, 0.25, 0.3]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (0.0012, 0.0019, [0.0012, 0.0014, 0.0016, 0.0018, 0.002]),
        (0, 80000, [0, 20000, 40000, 60000, 80000]),
        (7, 7, [6, 6.5, 7, 7.5, 8]),
        (0, 0, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round_and_hold_the_values(low, high, wanted):
    assert ticks(low, high) == wanted


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (1, 10000, [1, 10, 100, 1000, 10000]),
        (0.003, 40, [0.001, 0.01, 0.1, 1, 10, 100]),
        (1, 10, [1, 2, 5, 10]),
        (3, 40, [2, 5, 10, 20, 50]),
        (1e-9, 1e5, [1e-9, 1e-7, 1e-5, 1e-3, 0.1, 10, 1000, 1e5]),
        (5, 5, [5, 10]),
        (10, 10, [10, 20]),
        (1, 1, [1, 2]),
    ],
)
def test_logarithmic_ticks(low, high, wanted):
    assert log_ticks(low, high) == wanted


@pytest.mark.parametrize("log", [False, True])
def test_every_series_is_there_in_its_colour(log):
    series = {f"series {i}": [(x, (i + 1) * x**2) for x in range(1, 8)] for i in range(len(COLOURS))}
    chart = line_chart(series, **WORDS, log_x=log, log_y=log)
    assert (chart.size, chart.mode) == ((900, 560), "RGB")
    assert colours(chart, above=90) == list(range(len(COLOURS)))


@pytest.mark.parametrize(
    "points",
    [
        [(3, 4)],
        [(0, 20), (1, 20), (2, 20)],
        [(0, 1), (1, math.nan), (2, 3), (3, 4), (4, math.inf)],
        [(1, 1), (math.nan, 2), (2, 2)],
        [(i, math.sin(i / 30)) for i in range(500)],
        [(0, -1e6), (1, 1e6)],
    ],
    ids=["one", "constant", "not finite", "no place", "many", "large"],
)
def test_odd_points(points):
    assert colours(line_chart({"a": points}, **WORDS), above=90) == [0]


def test_what_is_left_out_leaves_a_gap():
    def middle(y):
        chart = line_chart({"a": [(0, 2), (2, 1), (5, y), (8, 1), (10, 2)]}, **WORDS)
        return colours(chart.crop((400, 90, 550, 560)))

    assert (middle(1), middle(math.nan)) == ([0], [])


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [(0, math.nan)]}])
def test_nothing_to_draw(series):
    with pytest.raises(ValueError, match="needs a point"):
        line_chart(series, **WORDS)


def test_logarithms_take_no_nought():
    assert colours(line_chart({"a": [(0, 0), (1, 1), (2, 10)]}, **WORDS, log_x=True, log_y=True), above=90) == [0]
    with pytest.raises(ValueError, match="above 0 on logarithmic axes"):
        line_chart({"a": [(1, 0), (2, -1)]}, **WORDS, log_y=True)


def test_sizes_and_many_long_names():
    series = {f"a rather long name of a series, number {i}": [(0, i), (1, 2 * i)] for i in range(9)}
    chart = line_chart(series, **WORDS, size=(640, 400))
    assert isinstance(chart, Image.Image) and chart.size == (640, 400)
    assert line_chart(series, **WORDS, size=(640, 400)).tobytes() == chart.tobytes()
