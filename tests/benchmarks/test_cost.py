"""benchmarks/cost.py: its rows at toy sizes, and its arithmetic."""

import re

import pytest
import torch
from speed_pages import QUICK


@pytest.fixture
def cost(scripts):
    import cost

    return cost


def firsts(section):
    """The first cell of every row below the head."""
    return re.findall(r"^\| ([\d.]+) \|", section, re.MULTILINE)


def test_three_tables_of_growing_work(cost, page, toy, capsys):
    cost.main([*QUICK, "-m", str(toy), "--write", str(page)])
    _, *sections = page.read_text().split("### ")
    heads = ["Cost of megapixels, 1 step, toy", "Cost of steps, 32 x 32, toy", "Cost of a batch, 1 step, pictures"]
    assert all(section.startswith(head) for section, head in zip(sections, heads, strict=True))
    assert [firsts(section) for section in sections] == [["0.002", "0.004"], ["1", "2"], ["1", "2"]]
    assert all(", fp32, " in section and "1 thread, torch" in section for section in sections)
    assert ["MP up, the time a pixel" in section for section in sections] == [True, False, False]
    out = capsys.readouterr().out
    assert all(line in out for line in page.read_text().splitlines()[4:-3])


def test_an_unknown_model_is_told(cost):
    with pytest.raises(SystemExit, match="No model 'no-such'"):
        cost.main([*QUICK, "-m", "no-such"])


def test_pictures_of_a_batch_are_made_at_once(cost, toy_restorer):
    options = cost._options(QUICK)
    shapes = []
    with pytest.MonkeyPatch.context() as patches:
        make = toy_restorer.make
        patches.setattr(toy_restorer, "make", lambda y, *rest: [shapes.append(y.shape), *make(y, *rest)])
        for row in cost.by_batch(toy_restorer, options).rows:
            row.call()
    assert shapes == [(1, 3, 32, 32), (2, 3, 32, 32)]


def test_work_is_measured_by_that_of_one_or_by_the_first(cost):
    assert cost.base([0.5, 1, 2]) == 1 and cost.base([3.0, 12.0]) == 3
    assert cost.relative([0.5, 1, 2], [3.0, 2.0, 1.0]) == [1.5, 1, 0.5]
    assert cost.relative([3, 12], [4.0, 5.0]) == [1, 1.25]


def test_the_furthest_of_those_that_are_not_smaller_is_told(cost):
    works, times = [0.25, 1, 2, 48], [9.0, 1.0, 1.1, 0.875]
    assert cost.deviation(works, times) == (48, -0.125)
    assert cost.sentence(works, times).endswith("by -12.5 % at most, at 48 MP: within 15 %.")
    assert cost.sentence([1, 12], [1.0, 1.2]).endswith("by +20.0 % at most, at 12 MP: beyond 15 %.")
    assert cost.deviation([0.5, 1], [4.0, 1.0]) == (1, 0)


def test_a_pixel_is_paid_in_every_picture_and_step(cost):
    series = cost.Series("x", "steps", [cost.Row(1, list, 1000), cost.Row(2, list, 1000, 2), cost.Row(4, list, 4000)])
    _, _, *rows = cost.table(series, [1e-3, 3e-3, 2e-3]).splitlines()
    assert rows[0] == "| 1 | 0.0010 | 1.0000 | 1.00 |"
    assert rows[1] == "| 2 | 0.0030 | 1.5000 | 1.50 |"
    assert rows[2] == "| 4 | 0.0020 | 0.5000 | 0.50 |"


def test_pictures_have_the_size_that_was_asked_for(cost):
    assert cost.sides(12) == (3000, 4000)
    one, other = (cost.drawn(20, 12, seed) for seed in (0, 1))
    assert one.shape == (1, 3, 20, 12) and not torch.equal(one, other)
    assert one.min() >= 0 and one.max() <= 1
