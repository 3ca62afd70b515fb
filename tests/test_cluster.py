"""--engine ray: the same files as on one machine, whatever becomes of a worker."""

import os
import signal
from pathlib import Path

import pytest
from toy import toy_model

from restorer.batch import plan, restoring, run
from restorer.plan import Files
from restorer.restore import Restorer
from restorer.settings import Settings

ray = pytest.importorskip("ray")
from restorer import cluster  # noqa: E402 - it is worth nothing without Ray


def workers():
    """The processes of actors."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if words.startswith(b"ray::") and b"Worker" in words:
            found.append(int(folder.name))
    return found


@pytest.mark.filterwarnings("default")  # Ray's own
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="workers are found in /proc")
def test_the_same_bytes_and_a_killed_worker_loses_nothing(here, draw, monkeypatch):
    model = toy_model(here / "toy")
    for i in range(8):
        draw(f"in/{i}.png", size=(40 + i, 30), seed=i)
    Path("in/broken.png").write_bytes(b"no picture")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    settings, files = Settings(steps=50, eta=1.0, seed=3), Files()
    restorer = Restorer.from_pretrained(str(model), device="cpu", dtype="fp32")
    alone = list(run(restoring(restorer, settings), plan(["in"], "alone", files).jobs, files))
    assignment = cluster.Assignment(str(model), "cpu", "fp32", settings)
    records, killed = [], None
    for record in cluster.run(assignment, plan(["in"], "spread", files).jobs, files):
        records.append(record)
        if killed is None and record.status == "done":
            [killed, *_] = workers()
            os.kill(killed, signal.SIGKILL)
    assert (killed and not Path(f"/proc/{killed}/cmdline").exists()) or killed not in workers()
    assert [record.input for record in records] == [record.input for record in alone]
    assert [str(r.error) for r in records if r.error] == [str(r.error) for r in alone if r.error] != []
    assert {record.status for record in records} <= {"done", "skipped", "failed"}
    names = sorted(path.name for path in (here / "alone").iterdir())
    assert sorted(path.name for path in (here / "spread").iterdir()) == names and len(names) == 8
    for name in names:
        assert (here / "spread" / name).read_bytes() == (here / "alone" / name).read_bytes()


def test_what_ray_is_needed_for(here, draw, cli, monkeypatch):
    draw("a.png")
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    result = cli("restore", "a.png", "--engine", "ray")
    assert result.exit_code == 2 and "pip install 'restorer[ray]'" in result.stderr
