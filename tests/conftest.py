"""What many tests need: a toy model, pictures, and the command line."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_stub import Stub
from PIL import Image
from speed_pages import alone, page, scripts  # noqa: F401  fixtures
from toy import toy_model
from toy_training import go, root  # noqa: F401  fixtures
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(config, items):
    """Leave out what needs an accelerator where there is none."""
    if torch.accelerator.is_available():
        return
    left_out = [item for item in items if item.get_closest_marker("gpu")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_network(request, monkeypatch):
    """No test talks to another machine; one with the fixture ``hub`` or ``browser`` talks to this one."""
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def check(host):
        own = host in ("127.0.0.1", "localhost", "::1") and {"hub", "browser"} & {*request.fixturenames}
        assert own, f"a test asks the network for {host}"

    def guarded(self, place):
        if isinstance(place, tuple):  # a path belongs to this machine
            check(place[0])
        return connect(self, place)

    def resolved(host, *words, **more):
        check(host)
        return resolve(host, *words, **more)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub on this machine, to which the client is turned, with an empty cache: here and in processes begun here."""
    from huggingface_hub import close_session, constants

    stub = Stub()
    cache = tmp_path / "cache" / "hub"
    variables = {"HF_ENDPOINT": stub.endpoint, "HF_HOME": str(cache.parent), "HF_HUB_DISABLE_XET": "1"}
    variables |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "TRANSFORMERS_OFFLINE", "RESTORER_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "")  # set, so that what --offline leaves is taken back
    # The client reads them once, when it is imported.
    for name, value in {
        "ENDPOINT": stub.endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": stub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(cache),
        "HF_TOKEN_PATH": str(cache.parent / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    close_session()
    yield stub
    close_session()
    stub.close()


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """The folder of a model that restores small pictures at once."""
    return toy_model(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture(scope="session")
def toy_restorer(toy):
    from restorer import Restorer

    return Restorer.from_pretrained(str(toy), device="cpu", dtype="fp32")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, and the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def draw():
    return draw_picture


@pytest.fixture
def cli(toy):
    """Run ``restorer`` with words; those that take a model get the toy."""

    def run(*words, stdin=None, model=True):
        from restorer.cli.app import app

        words = [str(word) for word in words]
        if model and words[0] in ("restore", "derain"):
            words += ["-m", str(toy), "--device", "cpu", "--dtype", "fp32"]
        return CliRunner().invoke(app, words, input=stdin, prog_name="restorer")

    return run


@pytest.fixture
def process():
    """Start ``python -m restorer`` for what only a process of its own can show."""

    def start(*words, options=(), **more):
        command = [sys.executable, *options, "-m", "restorer", *map(str, words)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=env, **pipes, **more)

    return start


def draw_picture(path, size=(12, 10), mode="RGB", seed=0, **options):
    """Write a picture of noise; ``options`` are Pillow's."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = len(mode) if mode in ("RGB", "RGBA", "L") else 3
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    Image.fromarray(values[:, :, 0] if bands == 1 else values).save(path, **options)
    return path
