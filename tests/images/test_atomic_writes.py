"""Writing is all or nothing, follows the umask, and the name decides the format."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from sample_pictures import levels, picture

from restorer.errors import ImageError
from restorer.images import read, write
from restorer.images.atomic import write_bytes


def test_the_name_decides_unless_a_format_is_named(tmp_path):
    made = picture(levels(5, 6, 3), format="jpg")
    for name, options, format in [
        ("a.png", {}, "png"),
        ("a.TIF", {}, "tiff"),
        ("a.JPEG", {}, "jpg"),
        ("a.xyz", {}, "jpg"),
        ("a", {}, "jpg"),
        ("b.png", {"format": "webp"}, "webp"),
    ]:
        write(made, tmp_path / name, **options)
        assert read(tmp_path / name).format == format


@pytest.mark.parametrize("before", [None, b"what was there"])
def test_a_failing_encode_leaves_everything_as_it_was(tmp_path, before):
    path = tmp_path / "a.webp"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(ImageError):
        write(picture(np.zeros((1, 16384, 3), np.uint8)), path)
    assert [found.read_bytes() for found in tmp_path.iterdir()] == ([] if before is None else [before])


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failing_write_leaves_everything_as_it_was(tmp_path, monkeypatch, fault):
    path = tmp_path / "a.png"
    path.write_bytes(b"what was there")

    def fail(self, target):
        assert self.parent == tmp_path
        assert self.name.startswith(".")
        assert self.exists()
        raise fault

    monkeypatch.setattr(Path, "replace", fail)
    expected, words = (ImageError, "No space left") if isinstance(fault, OSError) else (KeyboardInterrupt, None)
    with pytest.raises(expected, match=words):
        write(picture(levels(5, 6, 3)), path)
    assert path.read_bytes() == b"what was there"
    assert [found.name for found in tmp_path.iterdir()] == ["a.png"]


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(ImageError, match=r"the folder .* does not exist"):
        write(picture(levels(5, 6, 3)), tmp_path / "no" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImageError, match="cannot be written"):
        write(picture(levels(5, 6, 3)), tmp_path / "folder.png")
    assert [found.name for found in tmp_path.iterdir()] == ["folder.png"]


@pytest.mark.skipif(os.name == "nt", reason="no umask")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_mode_follows_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write(picture(levels(5, 6, 3)), tmp_path / "a.png")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o666 & ~umask


def test_a_long_name_is_no_obstacle(tmp_path):
    path = tmp_path / ("a" * 250)
    write_bytes(path, b"x")
    assert path.read_bytes() == b"x"
