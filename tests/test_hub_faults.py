"""The real command, in processes of its own, against a Hub that fails: one sentence, exit code 4, nothing half done."""

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

import pytest
import torch
from toy import toy_model

ROOT = Path(__file__).parents[1]
WEIGHTS = "model.safetensors"


@pytest.fixture
def begin(hub):
    """Start ``restorer`` with words, the Hub's variables around it; all that still runs at the end is killed."""
    running = []

    def start(*words, **more):
        words = [sys.executable, "-m", "restorer", *map(str, words)]
        started = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=more.pop("cwd", ROOT), **more
        )
        running.append(started)
        return started

    yield start
    for started in running:
        started.kill()
        started.communicate()


@pytest.fixture
def command(begin):
    def run(*words, **more):
        started = begin(*words, **more)
        out, told = started.communicate(timeout=60)
        return started.returncode, out.split(), told

    return run


@pytest.fixture
def download(command):
    return lambda repo="acme/rain", **more: command("models", "download", repo, **more)


def refused(answer, words):
    code, out, told = answer
    assert (code, out) == (4, []), told
    assert re.fullmatch(r"Error: [^\n]+\n", told) and words in told, told


def fetched(answer):
    code, out, told = answer
    assert code == 0 and told == "", told
    return Path(out[0])


def nothing_half(cache):
    return not [path for path in cache.rglob("*") if path.suffix in (".incomplete", ".tmp", ".safetensors")]


def weights_only(act, times):
    """A fault that comes for the weights' bodies, so many times."""
    left = [times]

    def fault(handler, request):
        hit = request.startswith("GET /acme") and request.endswith(WEIGHTS) and left[0] > 0
        left[0] -= hit
        return bool(hit and act(handler) is None)

    return fault


def content_of(hub):
    (files,) = hub.commits["acme/rain"].values()
    return files[WEIGHTS]


def test_a_large_body_cut_twice_goes_on_where_it_was(hub, download, tmp_path):
    folder = toy_model(tmp_path / "large", state={"a": torch.arange(9_000_000, dtype=torch.float32)})
    hub.publish("acme/rain", folder)
    content, ranges = content_of(hub), []

    def act(handler):
        asked = handler.headers["Range"]
        ranges.append(asked)
        begin = int(asked[6:-1]) if asked else 0
        handler.send_response(206 if asked else 200)
        handler.send_header("Content-Length", str(len(content) - begin))
        if asked:
            handler.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        end = {1: 15_000_000, 2: 27_000_000}.get(len(ranges), len(content))
        handler.wfile.write(content[begin:end])
        handler.wfile.flush()
        if end < len(content):
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True

    hub.fault = weights_only(act, 9)
    assert (fetched(download()) / WEIGHTS).read_bytes() == content
    assert ranges == [None, "bytes=10485760-", "bytes=20971520-"]


CASES = {
    "gone": (404, "RepoNotFound", "", "No model 'acme/rain'"),
    "private": (401, "RepoNotFound", "", "for a private one set HF_TOKEN"),
    "gated": (403, "GatedRepo", "", "acme/rain is gated: accept its terms"),
    "disabled": (403, "", "Access to this resource is disabled.", "acme/rain was disabled by the Hub"),
    "forbidden": (403, "", "", "The Hub refuses acme/rain (403)"),
    "no code": (404, "", "", "The Hub does not give acme/rain (404)"),
    "teapot": (418, "", "", "The Hub does not give acme/rain (418)"),
}


@pytest.mark.parametrize("name", CASES)
def test_refusals(hub, download, toy, tmp_path, name):
    status, code, message, words = CASES[name]
    hub.publish("acme/rain", toy)
    hub.fault = lambda handler, request: handler.refuse(status, code, message) or True
    refused(download(), words)
    assert nothing_half(tmp_path / "cache")
    hub.fault = lambda handler, request: False
    assert (fetched(download()) / WEIGHTS).is_file()


@pytest.mark.parametrize(
    "act",
    [
        lambda handler: handler.answer(429, Retry_After="1"),
        lambda handler: handler.refuse(500, ""),
        lambda handler: handler.cut(b"0" * 5000, reset=True),
        lambda handler: handler.cut(b"0" * 5000, reset=False),
    ],
    ids=["429", "500", "reset", "cut"],
)
def test_what_passes_is_waited_for(hub, download, toy, act):
    hub.publish("acme/rain", toy)
    hub.fault = weights_only(act, 1)
    assert (fetched(download()) / WEIGHTS).read_bytes() == content_of(hub)


def test_a_head_that_fails_at_first(hub, download, toy):
    hub.publish("acme/rain", toy)
    left = [2]

    def fault(handler, request):
        hit = request.startswith("HEAD") and left[0] > 0
        left[0] -= hit
        return bool(hit and handler.refuse(503, "") is None)

    hub.fault = fault
    assert (fetched(download()) / WEIGHTS).is_file()


def test_damage_twice_is_told_with_both_checksums(hub, download, toy, tmp_path):
    hub.publish("acme/rain", toy)
    hub.fault = weights_only(lambda handler: handler.damage(content_of(hub)), 2)
    answer = download()
    refused(answer, "model.safetensors arrived damaged, twice: sha256 ")
    assert len(re.findall(r"\b[0-9a-f]{64}\b", answer[2])) == 2 and nothing_half(tmp_path / "cache")
    assert (fetched(download()) / WEIGHTS).read_bytes() == content_of(hub)


def test_a_refused_port_and_a_black_hole_are_told_in_seconds(hub, begin, monkeypatch, tmp_path):
    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began, started = time.monotonic(), []
        for place in (closed, silent):
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{place.getsockname()[1]}")
            started.append(begin("models", "download", "acme/rain"))
        for one, words in zip(started, ("Connection refused", "timed out"), strict=True):
            out, told = one.communicate(timeout=60)
            refused((one.returncode, out.split(), told), "cannot be reached: ")
            assert words in told
        assert time.monotonic() - began < 15
    assert nothing_half(tmp_path / "cache")


def test_offline_with_and_without_a_cache(hub, command, download, toy):
    hub.publish("acme/rain", toy)
    refused(
        command("--offline", "models", "download", "acme/rain"), "run once without: restorer models download acme/r"
    )
    folder = fetched(download())
    hub.requests.clear()
    assert command("--offline", "models", "info", "acme/rain", "--json")[0] == 0
    assert fetched(download(f"acme/rain@{folder.name}")) == folder
    assert [request for request in hub.requests if "/resolve/" in request] == []


def test_a_moved_main(hub, download, toy, tmp_path):
    first = hub.publish("acme/rain", toy)
    assert fetched(download()).name == first
    second = hub.publish("acme/rain", toy_model(tmp_path / "second", name="second"))
    assert fetched(download()).name == second != first
    hub.fault = lambda handler, request: handler.refuse(503, "") or True
    code, out, told = download()
    assert code == 0 and out[0].endswith(second) and "is taken as it was last seen" in told


def without_override():
    """Folders' modes bind this process too, if it is root's."""
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, 1, 0, 0, 0):
        raise OSError("root's rights stay")


@pytest.mark.skipif(sys.platform != "linux", reason="drops rights as Linux does")
def test_a_cache_that_takes_nothing(hub, command, download, toy, tmp_path):
    hub.publish("acme/rain", toy)
    cache = tmp_path / "cache"
    cache.mkdir(exist_ok=True)
    cache.chmod(0o555)
    try:
        answer = download(preexec_fn=without_override)
    except subprocess.SubprocessError:
        pytest.skip("root's rights cannot be dropped here")
    refused(answer, "Set HF_HOME to a folder that may be written to.")
    cache.chmod(0o755)
    folder = fetched(download())
    folders = [cache, *(path for path in cache.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    try:
        for name in (f"acme/rain@{folder.name}", "acme/rain"):
            code, out, told = command("models", "info", name, "--json", preexec_fn=without_override)
            assert code == 0 and folder.name in "".join(out), told
    finally:
        for path in folders:
            path.chmod(0o755)


def test_four_processes_at_once_fetch_once(hub, begin, toy):
    hub.publish("acme/rain", toy)
    started = [begin("models", "download", "acme/rain") for _ in range(4)]
    answers = [(one.communicate(timeout=60), one.returncode) for one in started]
    assert {code for _, code in answers} == {0} and len({out for (out, _), _ in answers}) == 1
    assert hub.asked().count(WEIGHTS) == 1


def test_killed_in_the_middle_and_begun_again(hub, begin, download, toy, tmp_path):
    hub.publish("acme/rain", toy)
    content, sent, go_on = content_of(hub), Event(), Event()

    def act(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2])
        handler.wfile.flush()
        sent.set()
        go_on.wait(30)
        handler.close_connection = True

    hub.fault = weights_only(act, 1)
    started = begin("models", "download", "acme/rain")
    assert sent.wait(30)
    started.send_signal(signal.SIGKILL)
    started.wait(30)
    go_on.set()
    assert not [path for path in (tmp_path / "cache").rglob(WEIGHTS)]
    assert (fetched(download()) / WEIGHTS).read_bytes() == content


def test_a_redirect_to_another_place_takes_no_token_there(hub, download, toy, monkeypatch):
    from hub_stub import Stub

    hub.publish("acme/rain", toy)
    content, other, seen = content_of(hub), Stub(), []

    def elsewhere(handler, request):
        seen.append(handler.headers["Authorization"])
        handler.answer(200, content)
        return True

    def fault(handler, request):
        hit = request.endswith(WEIGHTS)
        if hit:
            commit = next(iter(hub.commits["acme/rain"]))
            place = other.endpoint.replace("127.0.0.1", "localhost") + "/blob"
            told = {"X_Repo_Commit": commit, "X_Linked_Etag": '"abc"', "X_Linked_Size": str(len(content))}
            handler.answer(302, Location=place, **told)
        return hit

    hub.fault, other.fault = fault, elsewhere
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    assert (fetched(download()) / WEIGHTS).read_bytes() == content
    assert seen == [None]
    other.close()


def test_pickles_are_not_fetched(hub, download, command, tmp_path):
    from diffusers import DDPMScheduler, UNet2DModel

    blocks = {"block_out_channels": (8,), "down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    folder = tmp_path / "old"
    UNet2DModel(**blocks, layers_per_block=1, norm_num_groups=4, sample_size=8).save_pretrained(
        folder, safe_serialization=False
    )
    DDPMScheduler().save_pretrained(folder)
    hub.publish("acme/old", folder)
    refused(download("acme/old"), "a kind of file that can hold code; it runs once it is converted")
    assert not [name for name in hub.asked() if name.endswith(".bin")]
    code, _, told = command("models", "convert", "acme/old", "--from", "diffusers", "-o", tmp_path / "new", "-q")
    assert code == 0, told
    assert (tmp_path / "new" / WEIGHTS).is_file()
