"""Before and after: the page, the sheets, and whose partner is whose."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from restorer import images
from restorer.errors import ImageError
from restorer.pairs import pairs
from restorer.report import Comparison, grid, page, row, side

HOSTILE = "\"><script>alert(1)</script> '&é.png"


def picture(height=12, width=20, value=None, seed=0):
    if value is not None:
        return torch.full((1, 3, height, width), float(value))
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_the_page_is_one_file_that_fetches_nothing():
    rows = [row("a.png", picture(), picture(seed=1), scores={"psnr": 20.0, "ssim": 0.5}, recipe={"steps": 5})]
    text = page(rows)
    sources = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", text)
    assert sources and all(source.startswith("data:image/webp;base64,") for source in sources)
    assert "default-src 'none'" in text and "@import" not in text and "url(" not in text
    assert "PSNR 20" in text and "&#34;steps&#34;: 5" in text


def test_hostile_names_and_recipes_stay_text():
    text = page([row(HOSTILE, picture(), picture(), recipe={"x": "</pre><script>alert(2)</script>"})], title=HOSTILE)
    assert "<script>alert" not in text and text.count("<script>") == 1
    assert "&lt;script&gt;alert(1)" in text and "&lt;/pre&gt;" in text


def test_the_worst_come_first():
    scored = [row(f"{psnr}.png", picture(), picture(), scores={"psnr": psnr}) for psnr in (30.0, float("inf"), 20.0)]
    assert re.findall(r'data-name="([^"]*)', page(scored)) == ["20.0.png", "30.0.png", "inf.png"]
    changed = [row(f"{value}.png", picture(value=0), picture(value=value)) for value in (0.1, 0.9, 0.5)]
    assert re.findall(r'data-name="([^"]*)', page(changed)) == ["0.9.png", "0.5.png", "0.1.png"]


def test_a_row_is_small_and_both_pictures_have_one_size():
    made = row("large", picture(40, 60), picture(2000, 3000, value=0.5), spread=picture(2000, 3000, value=0))
    assert made.size == (3000, 2000) and made.target is None
    for url in (made.before, made.after, made.spread):
        shown = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        assert shown.size == (1600, 1067)


def test_side_by_side():
    before, after = picture(value=0.25), picture(24, 40, value=0.75)
    made = side(before, after, labels=False)
    assert made.shape == (1, 3, 24, 88)
    assert (made[..., :40] == 0.25).all() and (made[..., 40:48] == 1).all() and (made[..., 48:] == 0.75).all()
    assert not torch.equal(side(before, after), made)


def test_a_sheet_of_pictures_of_many_sizes():
    made = grid([(picture(10, 20, value=0.5),) * 2, (picture(30, 5, value=0.25),) * 3], labels=False)
    assert made.shape == (1, 3, 48, 48)
    assert (made[..., :10, 28:48] == 0.5).all() and (made[..., 18:, 26:31] == 0.25).all()


def test_a_comparison_writes_over_nothing_but_its_own(here):
    for style, name in (("grid", "c.jpg"), ("html", "c.html")):
        for _ in range(2):  # the second is written over the first
            comparison = Comparison(style, here / name)
            comparison.add("a", picture(), picture(), output=here / "a.png")
            assert comparison.write() == here / name
        images.write(images.Picture(picture()), here / "foreign.png")
        (here / name).write_bytes((here / "foreign.png").read_bytes())
        with pytest.raises(ImageError, match="move it away"):
            comparison.write()


def test_partners(here, draw):
    for name in (
        "in/a.jpg",
        "in/b.png",
        "in/sub/c.png",
        "out/a.png",
        "out/b_derained.png",
        "out/sub/c.png",
        "out/d.png",
    ):
        draw(name)
    found = pairs(Path("in"), Path("out"), None, recursive=True)
    assert {(str(pair.before), str(pair.after)) for pair in found.pairs} == {
        ("in/a.jpg", "out/a.png"),
        ("in/b.png", "out/b_derained.png"),
        ("in/sub/c.png", "out/sub/c.png"),
    }
    [(name, sentence)] = found.problems
    assert name == "out/d.png" and "no picture of its name in in" in sentence


def test_the_command(here, draw, cli):
    for name in ("in/a.png", "out/a.png", "truth/a.png"):
        draw(name, size=(40, 30), seed=len(name))
    draw("in/b.png"), draw("out/c.png")
    result = cli("compare", "in", "out", "--gt", "truth", "--json", model=False)
    assert result.exit_code == 1 and "out/c.png: no picture of its name in in" in result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"v": 1, "comparison": "out/a_compare.html"} in lines and "psnr" in lines[-1]["summary"]
    assert Path("out/a_compare.html").read_text().count("<article") == 1
    again = cli("compare", "in", "out", "--style", "grid", "-o", "sheet.jpg", model=False)
    assert again.exit_code == 1 and images.read("sheet.jpg").size[0] > 80
    assert cli("compare", "in/a.png", "out/a.png", "--style", "side", model=False).stdout == "out/a_compare.jpg\n"
    assert cli("compare", "in", "out", "-o", "x.jpg", model=False).exit_code == 2
    assert cli("compare", "in", "nowhere", model=False).exit_code == 3


def test_restore_writes_the_page_too(here, draw, cli):
    draw("in/a.png", size=(24, 20)), draw("in/b.png", size=(20, 20))
    assert cli("restore", "in", "-o", "out", "--compare", "html").exit_code == 0
    text = Path("out/compare.html").read_text()
    assert text.count("<article") == 2 and "&#34;steps&#34;" in text
    again = cli("restore", "in", "-o", "out", "--compare", "html")  # what is done already is in it, too
    assert "2 skipped" in again.stderr and Path("out/compare.html").read_text().count("<article") == 2
    assert cli("restore", "in/a.png", "-o", "-", "--compare", "html").exit_code == 2
    result = cli("restore", "in/a.png", "-o", "s/", "--samples", "3", "--eta", "1", "--compare", "side")
    assert result.exit_code == 0 and "s/a_s3_compare.jpg" in result.stdout.split()
