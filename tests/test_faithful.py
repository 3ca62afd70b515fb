"""The round trip through the whole flow: every format, depth, alpha, profile, orientation and kind of metadata."""

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from images.sample_pictures import ICC, XMP, exif_bytes, levels, picture, samples_of
from PIL import Image
from toy import toy_model, toy_net

from restorer import images
from restorer.batch import Files, Work, plan, run
from restorer.images import FORMATS
from restorer.images.exif import upright
from restorer.restore import Made

NOTHING = Work(lambda pixels, told: [Made(pixels)], {"restorer": "1", "seed": 0})
LOSSY = {"jpg": 0.05, "webp": 0.08, "avif": 0.05}
"""Format -> how far a smooth picture's pixels may stray."""

KINDS = [
    (format, channels, bits)
    for format, form in FORMATS.items()
    for channels in (1, 2, 3, 4)
    for bits in (8, 16)
    if (form.alpha or channels in (1, 3)) and (form.deep or bits == 8)
]


def through(file, output, **files):
    [record] = run(NOTHING, plan([file], output, Files(**files)).jobs, Files(**files))
    assert record.status == "done", record.error
    return images.read(Path(record.output)), record


def smooth(channels, bits):
    """(18, 24, C) that lossy formats keep well."""
    y, x = np.mgrid[0:18, 0:24]
    most = (1 << bits) - 1
    planes = (x / 23, y / 17, (x + y) / 40, 1 - x / 23)
    return np.stack([np.floor(most * p + 0.5) for p in planes[:channels]], 2).astype(
        np.uint8 if bits == 8 else np.uint16
    )


def tags_of(block):
    """What an EXIF block says, wherever in it."""
    told = Image.Exif()
    told.load(block)
    return {**told, **told.get_ifd(0x8769), **told.get_ifd(0x8825)}


def write_tiff(file, samples, profile, orientation):
    tags = [(274, "H", 1, orientation), (700, "B", len(XMP), XMP)]
    tags += [(34675, "B", len(profile), profile)] if profile else []
    words = {"photometric": "rgb" if samples.shape[2] >= 3 else "minisblack", "planarconfig": "contig"}
    words |= {"extrasamples": ["unassalpha"]} if samples.shape[2] in (2, 4) else {}
    grey = samples[:, :, 0] if samples.shape[2] == 1 else samples
    tifffile.imwrite(file, grey, resolution=(300, 200), resolutionunit=2, extratags=tags, metadata=None, **words)


@pytest.mark.parametrize("metadata", [True, False], ids=["keep", "strip"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("format", "channels", "bits"), KINDS)
def test_the_matrix(here, format, channels, bits, orientation, metadata):
    has_exif = format not in ("bmp", "ppm")
    samples = smooth(channels, bits) if format in LOSSY else levels(18, 24, channels, bits)
    profile = ICC if channels >= 3 and has_exif else None
    block = exif_bytes(orientation) if has_exif else None
    dpi = (300.0, 200.0) if format not in ("ppm", "webp", "avif") else None
    given = picture(samples, format=format, icc=profile, exif=block, xmp=XMP if has_exif else None, dpi=dpi)
    file = here / f"in{FORMATS[format].suffixes[0]}"
    if format == "tiff":  # of which ours never says an orientation
        write_tiff(file, samples, profile, orientation)
    else:
        file.write_bytes(images.encode(given, quality=100))
    before = images.read(file)
    made, record = through(str(file), "out/", metadata=metadata, quality=100)
    assert Path(record.output).name == file.name and (made.format, made.bits, made.grey) == (format, bits, before.grey)
    turned = upright(samples, orientation) if has_exif else samples
    assert made.size == turned.shape[1::-1]
    if format in LOSSY:
        assert (made.pixels - before.pixels).abs().max() <= LOSSY[format]
        assert before.alpha is None or (made.alpha == before.alpha).all()
    else:
        np.testing.assert_array_equal(samples_of(made), turned)
    assert made.icc == before.icc == profile  # pixels mean nothing without it
    if not metadata:
        assert made.exif is None and b"Rating" not in (made.xmp or b"")
        assert made.dpi in (None, pytest.approx((96, 96), rel=1e-3))  # which a BMP says when nothing is known
        return
    assert tags_of(made.exif) == tags_of(before.exif) and b"Orientation" not in (made.xmp or b"")
    assert made.dpi == (before.dpi and pytest.approx(before.dpi, rel=1e-3))
    if has_exif:
        assert (b'xmp:Rating="4"' in made.xmp and b"Canon" in made.exif) or b"Maker" in made.exif or made.exif
        if format != "tiff":  # which Pillow does not open at every depth
            with Image.open(record.output) as opened:
                assert opened.getexif().get(274, 1) == 1


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("format", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_gradient_keeps_its_levels(here, cli, format, channels, bits):
    """Through the flow, and through a net and its sampler."""
    count = 65536 if bits == 16 else 256
    ramp = np.arange(count).reshape(256, -1).repeat(1 if bits == 16 else 16, axis=1)
    samples = np.stack([ramp] * channels, 2).astype(np.uint16 if bits == 16 else np.uint8)
    file = here / f"in.{format}"
    file.write_bytes(images.encode(picture(samples, format=format)))
    made, _ = through(str(file), "out/")
    assert len(np.unique(samples_of(made))) == count
    still = {**toy_net().state_dict(), "exit.weight": torch.zeros(12, 8, 3, 3), "exit.bias": torch.zeros(12)}
    model = toy_model(here / "still", state=still)  # which finds nothing to take away
    assert cli("restore", file, "-o", "net/", "-m", model, "-d", "cpu", "--dtype", "fp32", model=False).exit_code == 0
    got = samples_of(images.read(here / "net" / file.name))
    assert got.dtype == samples.dtype and len(np.unique(got)) > (65_000 if bits == 16 else 255)


@pytest.mark.parametrize("mode", ["P", "1", "LA", "CMYK", "I;16"])
def test_modes_of_others(here, mode):
    values = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    if mode == "I;16":
        image, name = Image.fromarray(values[:, :, 0].astype(np.uint16) * 257), "in.png"
    else:
        image, name = Image.fromarray(values).convert(mode), "in.tif" if mode == "CMYK" else "in.png"
    image.save(name)
    before = images.read(Path(name))
    made, record = through(name, "out/")
    assert (made.pixels == before.pixels).all() and (made.bits, made.grey) == (before.bits, before.grey)
    assert made.grey == (mode in ("1", "LA", "I;16")) and Path(record.output).suffix == Path(name).suffix


@pytest.mark.parametrize("bits", [8, 10])
def test_heic_becomes_png_with_all_it_holds(here, bits):
    heif = pytest.importorskip("pillow_heif")
    values = np.stack([np.linspace(0, 255 if bits == 8 else 65535, 64)] * 64)[:, :, None].repeat(3, 2)
    samples = values.astype(np.uint8 if bits == 8 else np.uint16)
    mode = "RGB" if bits == 8 else "RGB;16"
    encoded = heif.from_bytes(mode=mode, size=(64, 64), data=samples.tobytes())
    out = io.BytesIO()
    encoded.save(out, quality=-1, exif=exif_bytes(6)[6:], xmp=XMP, icc_profile=ICC)
    (here / "phone.HEIC").write_bytes(out.getvalue())
    made, record = through("phone.HEIC", None)
    assert Path(record.output).name == "phone_restored.png" and made.bits == (8 if bits == 8 else 16)
    off = np.abs(samples_of(made).astype(float) / (255 if bits == 8 else 65535) - upright(samples, 6) / samples.max())
    assert off.max() < 0.02 and record.warnings == ()
    assert made.exif is not None and b"Rating" in made.xmp
    assert "phone.HEIC" in str(plan(["."], "out", Files()).jobs[0].name)


def test_heic_without_its_reader_says_what_to_install(here, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    Path("a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    [record] = run(NOTHING, plan(["a.heic"], None, Files()).jobs, Files())
    assert str(record.error) == "a.heic is a HEIC picture; install what reads it: pip install 'restorer[heif]'."
