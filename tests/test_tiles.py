"""Any size: windows of a trained model, memory that runs out, and batches."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from toy import MULTIPLE, toy_model

from restorer import memory, restore
from restorer.degrade import degrade
from restorer.device import is_out_of_memory
from restorer.errors import UsageError
from restorer.memory import auto_side, window_bytes, within_memory
from restorer.metrics import psnr
from restorer.restore import Restorer
from restorer.sampling import sample
from restorer.settings import Settings
from restorer.tiling import Tiling, snug_windows

CPU = torch.device("cpu")
WHOLE = Settings(tiling=Tiling(0))


def picture(height, width, seed=0, count=1):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("multiple", [1, 4, 8])
@pytest.mark.parametrize("overlap", [0, 8, 20])
@pytest.mark.parametrize("side", [32, 40, 64])
@pytest.mark.parametrize("size", [(64, 64), (64, 256), (200, 72), (8, 304), (1000, 8)])
def test_snug_windows_cover_the_canvas_on_the_grid(size, side, overlap, multiple):
    over = snug_windows(size, side, overlap, multiple)
    seen = torch.zeros(size)
    for part in over.cut(seen):
        assert tuple(part.shape) == over.size
        part += 1
    assert (seen.min() >= 1 and max(over.size) <= max(side, 0)) or len(over.corners) == 1
    assert all(value % multiple == 0 for corner in over.corners for value in (*corner, *over.size))
    for axis in (0, 1):
        starts = sorted({corner[axis] for corner in over.corners})
        gaps = [over.size[axis] - (b - a) for a, b in pairwise(starts)]
        assert all(shared >= overlap // multiple * multiple for shared in gaps)
    assert (over.weights() > 0).all()


def test_windows_are_no_larger_than_they_must_be():
    over = snug_windows((3000, 4000), 1536, 128, 8)
    assert len(over.corners) == 9 and over.size[0] * over.size[1] * 9 < 1.2 * 3000 * 4000


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A model whose net looks at its neighbours' neighbours: what it says does not depend on where a window ends."""
    return Restorer.from_pretrained(str(toy_model(tmp_path_factory.mktemp("m") / "toy")), device="cpu", dtype="fp32")


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_tiled_is_whole(local, eta):
    """Its net sees less than a fourth of the overlap, so every pixel is decided by windows that show all it needs."""
    y = picture(230, 200)
    whole = local.make(y, Settings(eta=eta, tiling=Tiling(0)))[0]
    tiled = local.make(y, Settings(eta=eta, tiling=Tiling(120, 96, batch=3)))[0]
    assert whole.how == {} and tiled.how == {"tile": 120, "overlap": 96}
    assert (whole.pixels - tiled.pixels).abs().max() < 2e-4
    coarse = local.make(y, Settings(eta=eta, tiling=Tiling(80, 0)))[0]
    assert (whole.pixels - coarse.pixels).abs().max() > 1e-3, "without overlap the edges are seen"


def test_the_derain_model_in_windows():
    """PSNR and steps across window borders, on a picture of 384 x 384 in windows of 256."""
    derain = Restorer.from_pretrained("rddm-derain-tiny", device="cpu", dtype="fp32")
    rows, columns = torch.meshgrid(torch.linspace(0, 6, 384), torch.linspace(0, 6, 384), indexing="ij")
    clean = torch.stack([rows.sin() * columns.cos(), (rows * columns / 3).sin(), columns.sin()])[None] / 2 + 0.5
    rainy = degrade(clean, "rain", strength=0.4, rng=torch.Generator().manual_seed(1)).clamp(0, 1)
    whole = derain.make(rainy, Settings(2, tiling=Tiling(0)))[0].pixels
    settings = Settings(2, tiling=Tiling(256))
    tiled = derain.make(rainy, settings)[0].pixels
    assert abs(psnr(tiled, clean) - psnr(whole, clean)) < 0.05
    over = snug_windows((384, 384), 256, 96, 8)
    edges = {left + end for _, left in over.corners for end in (0, over.size[1])} - {0, 384}
    step = (tiled[..., 1:] - tiled[..., :-1]).abs().mean(dim=(0, 1, 2))
    at = torch.tensor([edge - 1 for edge in edges])
    across, elsewhere = step[at].mean(), step.mean()
    same = (whole[..., 1:] - whole[..., :-1]).abs().mean(dim=(0, 1, 2))
    assert across / elsewhere < 1.05 * same[at].mean() / same.mean()


def test_tiles_asked_for_are_in_the_recipe_and_automatic_ones_are_not(local):
    assert "tile" not in local.recipe(Settings())
    assert local.recipe(Settings(tiling=Tiling(64, 16))).items() >= {"tile": 64, "overlap": 16}.items()
    assert local.make(picture(20, 20), Settings(tiling=Tiling(64)))[0].how == {}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [((-1,), "a side and an overlap of 0 or more"), ((64, 64), "cannot overlap by 64"), ((64, 8, 0), "1 or more")],
)
def test_tilings_that_cannot_be(words, sentence):
    with pytest.raises(UsageError, match=sentence):
        Tiling(*words)


# ------------------------------------------------------------------------------------------------ memory


def test_memory_that_runs_out_halves_the_windows(local, monkeypatch):
    """A device that holds windows of 40 x 40: the picture is begun anew, and comes out as with those windows."""
    y, asked, told = picture(100, 90), [], []

    def greedy(*words, over, **more):
        asked.append(over.size)
        yield from sample(*words, over=over, **more)
        if max(over.size) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(restore, "sample", greedy)
    monkeypatch.setattr(memory, "LEAST", 16)
    made = local.make(y, Settings(tiling=Tiling(None, 16)), lambda done, state: told.append(done))[0]
    assert asked[0] == (100, 92) and len(asked) == 3 and max(asked[-1]) <= 40
    assert made.how["tile"] == 24 or made.how["tile"] <= 40
    assert made.remarks[0] == "There is not enough memory for the whole picture; made with windows of 48."
    assert told == [1, 2, 3] * 3
    monkeypatch.undo()
    again = local.make(y, Settings(tiling=Tiling(made.how["tile"], 16)))[0]
    assert torch.equal(again.pixels, made.pixels) and again.remarks == ()


def test_memory_that_is_never_enough(local, monkeypatch, here, draw, cli):
    def never(*words, **more):
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    monkeypatch.setattr(restore, "sample", never)
    with pytest.raises(torch.OutOfMemoryError):
        local.make(picture(300, 20), Settings())
    draw("a.png")
    result = cli("restore", "a.png")
    assert result.exit_code == 5 and "a.png: not enough memory on cpu; try a smaller --tile" in result.stderr


def test_other_faults_are_not_taken_for_want_of_memory():
    def broken(side):
        raise RuntimeError("shape")

    with pytest.raises(RuntimeError, match="shape"):
        within_memory(broken, 512, (512, 512), 8)
    assert is_out_of_memory(MemoryError())


def test_the_window_is_chosen_from_free_memory(local, monkeypatch):
    monkeypatch.setattr(memory, "SMALL", 100)
    wanted = window_bytes(local.denoiser, MULTIPLE, CPU)
    assert 50 < wanted < 5000
    for free, side in ((1e12, None), (wanted * 3 * 200**2, 200), (0, 64)):
        monkeypatch.setattr(memory, "free_bytes", lambda device, free=free: int(free))
        assert auto_side(local.denoiser, (1000, 900), MULTIPLE, CPU) in (side, side and side - MULTIPLE)
    monkeypatch.setattr(memory, "free_bytes", lambda device: None)
    assert auto_side(local.denoiser, (4000, 3000), MULTIPLE, CPU) == 1024
    assert auto_side(local.denoiser, (8, 8), MULTIPLE, CPU) is None


def test_a_container_has_less_than_the_machine(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    assert memory._left_in_container(tmp_path) == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._left_in_container(tmp_path) is None
    assert memory.available() > 0


# ------------------------------------------------------------------------------------------------ batches, retries


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_picture_in_a_batch_is_the_picture_alone(local, eta):
    pictures = [picture(24, 20, seed=i) for i in range(3)]
    together = local.make(torch.cat(pictures), Settings(eta=eta, seed=5))
    for one, made in zip(pictures, together, strict=True):
        assert torch.allclose(local.restore(one, Settings(eta=eta, seed=5)), made.pixels, atol=1e-6)


def test_half_precision_that_fails_is_made_again_in_full(local, monkeypatch):
    half = Restorer(local.found, SimpleNamespace(**vars(local.denoiser)), CPU)
    half.denoiser = local.denoiser.__class__(**{**vars(local.denoiser), "dtype": torch.bfloat16})
    half.denoiser.net.to(torch.bfloat16) if False else None
    runs = []

    def run(self, denoiser, y, *rest):
        runs.append(denoiser.dtype)
        return y * float("nan") if denoiser.dtype == torch.bfloat16 else y

    monkeypatch.setattr(Restorer, "_run", run)
    y = picture(8, 8)
    [made] = half.make(y, Settings())
    assert runs == [torch.bfloat16, torch.float32] and torch.equal(made.pixels, y)
    assert made.how == {"retried": "fp32"}
    assert made.remarks == ("bf16 gave values that are no numbers; made again in fp32.",)
