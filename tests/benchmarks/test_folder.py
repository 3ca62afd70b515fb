"""benchmarks/folder.py: its rows at toy sizes, and its arithmetic."""

from pathlib import Path

import pytest
from speed_pages import QUICK


@pytest.fixture
def folder(scripts, alone):
    import folder

    return folder


@pytest.fixture
def data(draw, tmp_path):
    """One picture that is large enough for crops of 16 x 16, and what is not."""
    draw(tmp_path / "data" / "large.png", size=(24, 20))
    draw(tmp_path / "data" / "sub" / "small.png", size=(24, 12))
    (tmp_path / "data" / "list.txt").write_text("large.png")
    return tmp_path / "data"


def test_one_table_of_the_command_and_the_bare_net(folder, data, page, toy):
    folder.main([str(data), *QUICK, "-m", str(toy), "--write", str(page)])
    _, section = page.read_text().split("### ")
    assert section.startswith("A folder of 3 pictures of 16 x 16, toy, 3 steps, fp32, ")
    _, _, run, net = [line for line in section.splitlines() if line.startswith("|")]
    assert run.startswith("| restorer restore |") and net.startswith("| the bare net |") and net.endswith("| 100.0 % |")


def test_an_older_version_takes_its_turn(folder, data, page, toy):
    checkout = Path(folder.__file__).parents[1]
    folder.main([str(data), *QUICK, "-m", str(toy), "--before", str(checkout), "--write", str(page)])
    _, section = page.read_text().split("### ")
    _, _, before, run, net = [line for line in section.splitlines() if line.startswith("|")]
    assert before.startswith("| restorer before |") and run.startswith("| restorer restore |")
    assert net.startswith("| the bare net |")


def test_crops_are_of_one_side_or_of_many(folder, data, tmp_path):
    (tmp_path / "same").mkdir(), (tmp_path / "many").mkdir()
    same = folder.fill(data, tmp_path / "same", 4, 16)
    assert {folder.size_of(file) for file in same} == {(16, 16)} and len(same) == 4
    many = folder.fill(data, tmp_path / "many", 4)
    assert {folder.size_of(file) for file in many} == {(24, 20), (24, 12)}


def test_pictures_that_are_too_small_are_told(folder, data, tmp_path):
    with pytest.raises(SystemExit, match="no pictures of 512 x 512 pixels or more"):
        folder.fill(data, tmp_path, 1, 512)
    with pytest.raises(SystemExit, match=r"sub: no pictures\.$"):
        folder.fill(tmp_path / "sub", tmp_path, 1)


def test_pictures_a_minute_and_the_part_of_the_bare_nets(folder):
    _, _, run, net = folder.table(4, 1_000_000, {"restorer restore": 8.0, "the bare net": 6.0}).splitlines()
    assert run == "| restorer restore | 30.0 | 0.125 | 75.0 % |"
    assert net == "| the bare net | 40.0 | 0.167 | 100.0 % |"
