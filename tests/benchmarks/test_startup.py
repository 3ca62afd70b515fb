"""benchmarks/startup.py: its rows at toy sizes, and its arithmetic."""

import pytest
import torch
from speed_pages import QUICK
from toy import toy_net

TOLD = """\
import time: self [us] | cumulative | imported package
import time:      1000 |       1000 |   json
import time:      2000 |       2000 |     torch.nn
import time:      3000 |       5000 |   torch
import time:      4000 |       4000 |   restorer.images
import time:       500 |        500 |   torch.later
import time:      6000 |      16000 | restorer
A line of the command's own.
"""


@pytest.fixture
def startup(scripts, alone):
    import startup

    return startup


def rows(section):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]


def test_the_parts_of_the_whole_and_the_dearest_imports(startup, page, toy):
    startup.main([*QUICK, "-m", str(toy), "--write", str(page)])
    _, first, second = page.read_text().split("### ")
    assert "one picture of 32 x 32, toy, fp32, " in first and "1 thread, torch" in first
    head, _, whole, by_torch, net, rest = rows(first)
    assert [whole[0], net[0], rest[0]] == ["the whole command", "the net", "the rest"] and len(head) == 3
    assert 0 < float(net[1]) < float(whole[1]) and float(by_torch[1]) > 0
    _, _, *packages, together = rows(second)
    assert len(packages) == 5 and "restorer" in [name for name, _ in packages] and together[0].startswith("all that")
    assert not {"torch", "numpy"} & {name for name, _ in packages}  # which torch imports by itself


def test_a_command_that_fails_is_told(startup):
    with pytest.raises(SystemExit, match="No model 'no-such'"):
        startup.main([*QUICK, "-m", "no-such"])


def test_the_parts_add_up(startup):
    assert startup.rest(5.0, 2.5, 1.5) == 1.0
    cells = rows(startup.parts(5.0, 2.5, 1.5))[2:]
    assert [row[1] for row in cells] == ["5.000", "2.500", "1.500", "1.000"]
    assert [row[2] for row in cells] == ["100 %", "50 %", "30 %", "20 %"]


def test_what_torch_loads_is_torchs(startup):
    loaded = startup.modules(TOLD)
    assert loaded["torch"] == 0.003 and len(loaded) == 6
    found = startup.packages(loaded, startup.modules("import time:  700 |  700 | json\n"))
    assert found == {"restorer": pytest.approx(0.01)}
    assert startup.packages(loaded, {})["json"] == 0.001


def test_five_packages_are_told_and_the_sum_of_all(startup):
    made = rows(startup.dearest({name: float(seconds) for seconds, name in enumerate("abcdefg")}))
    assert [name for name, _ in made[2:]] == [*"gfedc", "all that is not torch's"]
    assert made[2][1] == "6000" and made[-1][1] == "21000"


def test_a_net_is_watched_while_it_runs(startup):
    from net_seconds import Watch

    watch, net = Watch(), toy_net()
    watch.see(net, torch.device("cpu"))
    net(torch.zeros(1, 6, 8, 8), torch.ones(1))
    once = watch.seconds
    assert once > 0
    net(torch.zeros(1, 6, 8, 8), torch.ones(1))
    assert watch.seconds > once
