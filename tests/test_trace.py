"""--trace: how a picture came to be is written beside it, whole or not at all, and changes nothing of it."""

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageColor
from toy import toy_model, toy_net

from restorer import images, trace
from restorer.batch import restoring
from restorer.metrics import psnr
from restorer.plot import COLOURS
from restorer.restore import Restorer
from restorer.settings import Settings
from restorer.trace import Curves, Frames

SIZE = (18, 14)
KINDS = ["gif", "frames", "plot"]
PLACES = {
    "gif": ["a_restored.gif"],
    "frames": [f"a_restored_trace/{i:03d}.png" for i in range(4)],
    "plot": ["a_restored_trace.png"],
}
"""Kind -> what stands beside a_restored.png after three steps."""


@pytest.fixture
def go(here, draw, cli):
    """Restore a.png with a trace; the words win over what is said here."""
    draw("a.png", size=SIZE), draw("clean/a.png", size=SIZE, seed=1)

    def run(kind, *words, inputs=("a.png",)):
        truth = ["--gt", "clean"] if kind == "plot" else []
        return cli("restore", *inputs, "--trace", kind, *truth, *words)

    return run


def files():
    """What is here besides what the fixture drew."""
    found = {str(path) for path in Path().rglob("*") if path.is_file()}
    return sorted(found - {"a.png", "clean/a.png"})


def states(restorer, y, settings):
    """(steps done, x_t, x0) as a watch sees them, and the picture."""
    seen = []
    result = restorer.restore(y, settings, watch=lambda *state: seen.append(state))
    return seen, result


# what is seen


def test_a_watch_sees_the_way_from_the_start_to_the_picture(toy_restorer):
    y = torch.rand(1, 3, 14, 18, generator=torch.Generator().manual_seed(0))
    seen, result = states(toy_restorer, y, Settings(eta=1.0))
    assert [done for done, _, _ in seen] == [0, 1, 2, 3]
    assert all(picture.shape == y.shape for _, *both in seen for picture in both)
    # The canvas is padded to multiples of 4, and the noise drawn for all of it.
    noise = torch.randn(1, 3, 16, 20, generator=torch.Generator().manual_seed(0))[..., :14, :18]
    assert torch.allclose(2 * (seen[0][1] - y), 0.1 * noise, atol=1e-5)
    assert torch.allclose(seen[0][2], y, atol=1e-6)
    assert torch.allclose(seen[-1][2].clamp(0, 1), result)
    assert torch.equal(result, toy_restorer.restore(y, Settings(eta=1.0)))


def test_frames_end_with_the_picture_itself():
    kept, y = Frames(2), torch.zeros(1, 3, 2, 2)
    for done, value in enumerate((0.1, 0.5, 2.0)):
        kept(done, y + value, y)
    assert [float(frame.mean()) for frame in kept.drawn(y + 0.25)] == pytest.approx([0.1, 0.5, 0.25])


def test_a_long_way_is_thinned_out():
    kept, y = Frames(250), torch.zeros(1, 3, 2, 2)
    for done in range(251):
        kept(done, y + done / 1000, y)
    frames = kept.drawn(y + 1)
    assert len(frames) == 85 and float(frames[1].mean()) == pytest.approx(0.003) and frames[-1].mean() == 1


def test_a_run_that_starts_over_is_traced_from_its_start(tmp_path):
    signs = torch.tensor([1.0, -1.0]).repeat(6).view(12, 1, 1, 1)  # black beside white: one flat colour is an error
    state = toy_net().state_dict() | {"exit.weight": 3e4 * signs * torch.ones(12, 8, 3, 3)}
    folder = toy_model(tmp_path / "toy", state=state)
    half, full = (Restorer.from_pretrained(str(folder), device="cpu", dtype=dtype) for dtype in ("fp16", "fp32"))
    y = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for make in (lambda: Frames(3), lambda: Curves(y)):
        drawn = []
        for restorer in (half, full):
            watch = make()
            result = restorer.restore(y, Settings(), watch=watch)
            drawn.append(watch.drawn(result))
        assert len(drawn[0]) == len(drawn[1])
        assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))


def test_the_chart_holds_both_curves(toy_restorer):
    y, clean = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)).split(1)
    watch = Curves(clean)
    seen, result = states(toy_restorer, y, Settings())
    for state in seen:
        watch(*state)
    assert watch.x == [(done, psnr(x.clamp(0, 1), clean)) for done, x, _ in seen]
    assert watch.x0 == [(done, psnr(x0.clamp(0, 1), clean)) for done, _, x0 in seen[1:]]
    [chart] = watch.drawn(result)
    colours = {tuple(colour) for colour in (255 * chart[0]).round().int().permute(1, 2, 0).reshape(-1, 3).tolist()}
    assert {ImageColor.getrgb(colour) for colour in COLOURS[:2]} <= colours


def test_equal_pictures_have_a_place_in_the_chart():
    watch, clean = Curves(torch.ones(1, 3, 4, 4)), torch.ones(1, 3, 4, 4)
    watch(0, clean, clean)
    assert watch.x == [(0, trace.HIGHEST)] and watch.drawn(clean)


# files


@pytest.mark.parametrize("kind", KINDS)
def test_traces_stand_beside_the_picture_and_change_none_of_its_bytes(go, kind):
    answer = go(kind)
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout == "a_restored.png\n"
    assert files() == sorted([*PLACES[kind], "a_restored.png"])
    picture = Path("a_restored.png").read_bytes()
    if kind == "gif":
        with Image.open("a_restored.gif") as opened:
            assert (opened.n_frames, opened.size) == (4, SIZE)
    if kind == "frames":
        last = images.read(Path(PLACES[kind][-1])).pixels
        assert torch.equal(last, images.read(Path("a_restored.png")).pixels)
    if kind == "plot":
        assert images.read(Path(PLACES[kind][0])).size == (900, 560)
    Path("a_restored.png").unlink()
    go("gif", "--overwrite")
    assert Path("a_restored.png").read_bytes() == picture


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_with_its_trace_is_skipped_and_a_missing_trace_is_made(go, kind):
    assert "1 done" in go(kind).stderr
    assert "1 skipped" in go(kind).stderr
    Path(PLACES[kind][0]).unlink()
    assert "1 done" in go(kind).stderr
    assert files() == sorted([*PLACES[kind], "a_restored.png"])
    assert "1 skipped (made with other settings" in go(kind, "--seed", "1").stderr


def test_a_chart_against_another_truth_is_another_chart(go, draw):
    go("plot")
    draw("clean/a.png", size=SIZE, seed=2)
    assert "a_restored_trace.png is there already; use --overwrite" in go("plot").stderr
    before = Path("a_restored_trace.png").read_bytes()
    assert go("plot", "-y").exit_code == 0 and Path("a_restored_trace.png").read_bytes() != before


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_in_the_way_is_not_written_over_unless_told(go, draw, kind):
    place = Path(PLACES[kind][0])
    draw(place if kind != "gif" else "foreign.png")
    if kind == "gif":
        Path("foreign.png").rename(place)
    before = place.read_bytes()
    answer = go(kind)
    assert answer.exit_code == 1 and "is there already; use --overwrite" in answer.stderr
    assert files() == [str(place)] and place.read_bytes() == before
    assert go(kind, "--exists", "rename").stdout == "a_restored_2.png\n"
    assert place.read_bytes() == before and Path(str(place).replace("restored", "restored_2")).exists()
    assert go(kind, "-y").exit_code == 0 and place.read_bytes() != before


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["-o", "made/b.jpg"], ["made/b.gif", "made/b.jpg"]),
        (["-o", "made/"], ["made/a.gif", "made/a.png"]),
        (["--suffix", "_x"], ["a_x.gif", "a_x.png"]),
    ],
)
def test_a_trace_has_the_name_of_its_picture(go, words, wanted):
    assert go("gif", *words).exit_code == 0
    assert files() == wanted


def test_pictures_that_differ_in_their_ending_alone_have_traces_of_their_own(go, draw):
    draw("a.jpg", size=SIZE)
    go("gif", "-o", "out", inputs=["a.png", "a.jpg"])
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.jpg", "a.jpg.gif", "a.png", "a.png.gif"]


def test_a_chart_is_no_input_of_the_next_run(go):
    go("plot", inputs=["*.png"])
    before = files()
    answer = go("plot", inputs=["*.png"])
    assert "1 skipped" in answer.stderr and files() == before


def test_a_chart_is_not_written_onto_an_input(go, draw):
    before = draw("a_restored_trace.png", size=SIZE).read_bytes()
    answer = go("plot", "-y", inputs=["a.png", "a_restored_trace.png"])
    assert answer.exit_code == 1 and "onto a_restored_trace.png, an input" in answer.stderr
    assert Path("a_restored_trace.png").read_bytes() == before


def test_a_chart_is_not_written_onto_another_output(go, draw):
    draw("a_trace.png", size=SIZE), draw("clean/a_trace.png", size=SIZE)
    answer = go("plot", "-o", "out", inputs=["a.png", "a_trace.png"])
    assert answer.exit_code == 1 and "its trace out/a_trace.png is the output of another input" in answer.stderr


def test_a_picture_without_a_ground_truth_has_no_chart(go, draw):
    draw("in/a.png", size=SIZE), draw("in/b.png", size=SIZE), draw("in/c.png", size=SIZE)
    draw("clean/c.png", size=(9, 9))
    answer = go("plot", inputs=["in"])
    assert answer.exit_code == 0 and answer.stderr.count("not measured") == 2
    assert sorted(path.name for path in Path("in_restored").iterdir()) == ["a.png", "a_trace.png", "b.png", "c.png"]


def test_without_a_record_nothing_is_recorded(go):
    go("frames", "--record", "none")
    assert [images.read_recipe(Path(name)) for name in files()] == [None] * 5


@pytest.mark.parametrize(
    ("kind", "words", "sentence"),
    [
        ("gif", ["-o", "-"], "has no trace beside it; use -o FILE"),
        ("plot", [], "--trace plot draws PSNR against the ground truth; name that too: --gt FILE or FOLDER."),
    ],
)
def test_words_that_disagree(go, cli, kind, words, sentence):
    answer = cli("restore", "a.png", "--trace", kind, *words)
    assert answer.exit_code == 2 and sentence in answer.stderr and files() == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_writes_no_trace(go, kind):
    assert "1 would be written" in go(kind, "-n").stderr and files() == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_interruption_leaves_nothing_half_written(go, monkeypatch, kind):
    """While the trace is written, in the middle of its frames; the run after that completes it."""
    whole, count = trace.write_bytes if kind == "gif" else images.write, 0

    def interrupted(path, *rest, **more):
        raise KeyboardInterrupt

    def write(picture, path, *rest, **more):
        nonlocal count
        count += "_trace" in str(path)
        if count == (3 if kind == "frames" else 1):
            raise KeyboardInterrupt
        return whole(picture, path, *rest, **more)

    with monkeypatch.context() as patched:
        if kind == "gif":
            patched.setattr(trace, "write_bytes", interrupted)
        else:
            patched.setattr(images, "write", write)
        assert go(kind).exit_code == 130
    assert files() == ["a_restored.png"] and not Path("a_restored_trace").exists()
    assert "1 done" in go(kind).stderr and files() == sorted([*PLACES[kind], "a_restored.png"])


def test_a_folder_that_cannot_be_is_a_sentence(go):
    Path("a_restored_trace").write_text("a file")
    answer = go("frames", "-y")
    assert answer.exit_code == 1 and "a_restored_trace is no folder for frames" in answer.stderr


def test_masks_and_traces_together(here, draw, cli):
    changes = {"net": {"in_channels": 9}, "predict": {"input": ["x", "y", "mask"]}}
    toy_model(here / "m", task="deshadow", state=toy_net(in_channels=9).state_dict(), **changes)
    draw("a.png", size=SIZE), draw("mask.png", size=SIZE, mode="L")
    words = ["-m", "m", "-d", "cpu", "--mask", "mask.png", "--trace", "gif"]
    assert cli("deshadow", "a.png", *words, model=False).exit_code == 0
    assert Path("a_deshadowed.gif").exists()


def test_from_python(go, toy_restorer):
    [record] = toy_restorer.run(["a.png"], trace="plot", gt="clean")
    assert record.scores and files() == ["a_restored.png", "a_restored_trace.png"]
    assert restoring(toy_restorer, Settings()).steps == 3
