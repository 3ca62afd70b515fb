"""Our side of benchmarks/trainer.py; the official one is in test_official_rddm_side_by_side.py, for who has it."""

import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from official_rddm import official_state


@pytest.fixture
def benchmark(scripts):
    import trainer

    return trainer


def test_our_steps_learn_a_batch_and_average_every_tenth(benchmark):
    cpu = torch.device("cpu")
    ours = benchmark.Ours(official_state("two", dim=8), cpu)
    batch = benchmark.pictures(2, 16, cpu)
    rng = torch.Generator().manual_seed(0)
    eps, t = benchmark.draw(batch[0], rng)
    before = ours.loss(batch, eps, t)
    for i in range(benchmark.EVERY):
        assert int(ours.average.model.n_averaged) == 0
        ours.step(batch, half=i == 0)
    assert int(ours.average.model.n_averaged) == 1
    assert ours.loss(batch, eps, t) < before


def test_a_folder_that_is_no_clone_is_told(tmp_path):
    words = [sys.executable, ROOT / "benchmarks" / "trainer.py", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 1 and "no clone of nachifur/RDDM" in done.stderr
