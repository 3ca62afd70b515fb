"""The recipe in every format, beside whatever metadata the picture came with; and hostile files, which have none."""

import json
from xml.etree import ElementTree

import pytest
from sample_pictures import ICC, XMP, exif_bytes, levels, picture, pil_file, png_chunk, png_file, ramp

from restorer.errors import ImageError
from restorer.images import FORMATS, decode, read, read_recipe, write, xmp

RECIPE = {
    "model": 'owner/<name> & "co"',
    "steps": 5,
    "eta": 0.5,
    "versions": {"restorer": "0.1.0"},
    "note": "naïve ]]> 'x'\n\t",
    "seeds": [0, 1],
}


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("format", FORMATS)
def test_a_recipe_goes_round_in_every_format(format, bits, metadata, tmp_path):
    path = tmp_path / f"a{FORMATS[format].suffixes[0]}"
    made = picture(levels(6, 7, 3, bits), format=format, icc=ICC, exif=exif_bytes(), xmp=XMP)
    write(made, path, bits=bits if FORMATS[format].deep else 8, metadata=metadata, recipe=RECIPE)
    assert read_recipe(path) == RECIPE
    names = [path.name, f"{path.name}.json"] if format in ("bmp", "ppm") else [path.name]
    assert sorted(found.name for found in tmp_path.iterdir()) == names
    first = path.read_bytes()
    write(made, path, bits=bits if FORMATS[format].deep else 8, metadata=metadata, recipe=RECIPE)
    assert path.read_bytes() == first
    back = read(path)
    if metadata and FORMATS[format].recipe == "xmp":
        assert b'xmp:Rating="4"' in back.xmp
    if metadata and FORMATS[format].recipe == "chunk":
        assert back.xmp == XMP


@pytest.mark.parametrize("format", FORMATS)
def test_a_new_recipe_replaces_the_old_one_and_none_removes_it(format, tmp_path):
    path = tmp_path / f"a{FORMATS[format].suffixes[0]}"
    write(picture(levels(6, 7, 3), xmp=XMP), path, recipe={"steps": 1})
    write(read(path), path, recipe={"steps": 2})
    assert read_recipe(path) == {"steps": 2}
    if FORMATS[format].recipe == "xmp":
        assert read(path).xmp == xmp.with_recipe(XMP, '{"steps":2}')
    write(read(path), path, recipe=None)
    assert read_recipe(path) is None
    if FORMATS[format].recipe == "xmp":
        assert read(path).xmp == XMP


def test_a_recipe_in_xmp_does_not_follow_the_picture_into_another_format(tmp_path):
    jpg, png = tmp_path / "a.jpg", tmp_path / "a.png"
    write(picture(levels(6, 7, 3), xmp=XMP), jpg, recipe={"steps": 1})
    write(read(jpg), png)
    assert read_recipe(png) is None
    assert read(png).xmp == XMP


def test_a_packet_keeps_every_byte_it_had():
    merged = xmp.with_recipe(XMP, "{}")
    head, _, tail = merged.partition(b'<rdf:Description xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" rdf')
    assert XMP.startswith(head)
    assert XMP.endswith(tail.partition(b"/>")[2])
    assert xmp.without_recipe(merged) == XMP
    assert len(ElementTree.fromstring(merged)[0]) == 2


@pytest.mark.parametrize(
    "packet",
    [
        None,
        b"",
        b"not xml",
        b"<x:xmpmeta",
        b"<a/>",
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
        b"<!-- </rdf:RDF> --><a/>",
        XMP.decode().encode("utf-16"),
        XMP.replace(b"<x:xmpmeta", b'<!DOCTYPE a [<!ENTITY b "c">]><x:xmpmeta', 1),
        XMP[:-200],
        b"<a>" * 100_000,
    ],
)
def test_a_packet_that_cannot_be_merged_into_gives_way_to_a_fresh_one(packet):
    merged = xmp.with_recipe(packet, '{"a":"<&>"}')
    assert xmp.recipe_text(merged) == '{"a":"<&>"}'


def test_a_recipe_is_found_in_whichever_form_other_editors_give_it():
    element = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f"<rdf:Description rdf:about='' xmlns:restorer='{xmp.NAMESPACE}'><restorer:recipe>{{&quot;a&quot;:1}}"
        "</restorer:recipe></rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()
    assert xmp.recipe_text(element) == '{"a":1}'
    assert xmp.recipe_text(xmp.without_recipe(element)) is None
    assert xmp.recipe_text(xmp.with_recipe(element, "{}")) == "{}"


def test_a_packet_that_nearly_fills_a_jpeg_gives_up_its_padding(tmp_path):
    packet = XMP.replace(b" " * 200, b" " * 64900)
    write(picture(ramp(8, 8, 3), format="jpg", xmp=packet), tmp_path / "a.jpg", recipe=RECIPE)
    assert read_recipe(tmp_path / "a.jpg") == RECIPE
    assert b'xmp:Rating="4"' in read(tmp_path / "a.jpg").xmp


def test_a_recipe_over_the_limit_is_refused(tmp_path):
    with pytest.raises(ImageError, match="recipe takes"):
        write(picture(ramp(8, 8, 3)), tmp_path / "a.png", recipe={"a": "x" * 70000})
    assert not list(tmp_path.iterdir())


def with_text(text, key=b"restorer\0\0\0\0\0"):
    return png_file((2, 1, 8, 0, 0), bytes(3), (b"iTXt", key + text))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        with_text(b"not json"),
        with_text(b"[1]"),
        with_text(b'"text"'),
        with_text(b"\xff\xfe"),
        with_text(b"[" * 50_000),
        with_text(b'{"a":' * 9000 + b"1" + b"}" * 9000),
        with_text(b'{"a":"' + b"x" * 70_000 + b'"}'),
        with_text(b'{"a":1}')[:-20],
        with_text(b'{"a":1}', key=b"restorer\0\1\0\0\0"),
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"iTXt", b""),
        b"\xff\xd8\xff\xe1\xff\xff" + bytes(9),
        b"II*\0\xff\xff\xff\xff",
        b"II*\0" + bytes(60),
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"\0\0\0\x20ftypavif" + bytes(40),
        b"BM" + bytes(80),
        b"P6\n",
    ],
)
def test_foreign_and_hostile_files_have_no_recipe(data, tmp_path):
    path = tmp_path / "a.file"
    path.write_bytes(data)
    assert read_recipe(path) is None


def test_places_without_a_file_have_no_recipe(tmp_path):
    assert read_recipe(tmp_path) is None
    assert read_recipe(tmp_path / "missing.png") is None
    assert read_recipe(tmp_path / "a\0b.png") is None


def test_a_record_beside_a_picture_speaks_for_that_picture_alone(tmp_path):
    path = tmp_path / "a.bmp"
    write(picture(ramp(8, 8, 3)), path, recipe=RECIPE)
    path.write_bytes(pil_file_of_another())
    assert read_recipe(path) is None


def pil_file_of_another():
    from PIL import Image

    return pil_file(Image.new("RGB", (3, 3)), "BMP")


def test_a_file_of_someone_else_is_not_overwritten_by_a_record(tmp_path):
    other = tmp_path / "a.bmp.json"
    other.write_text(json.dumps({"labels": []}))
    with pytest.raises(ImageError, match="is no recipe"):
        write(picture(ramp(8, 8, 3)), tmp_path / "a.bmp", recipe=RECIPE)
    assert json.loads(other.read_text()) == {"labels": []}
    assert not (tmp_path / "a.bmp").exists()


def test_a_text_chunk_of_ours_is_readable_by_pillow(tmp_path):
    from PIL import Image

    write(picture(ramp(8, 8, 3), xmp=XMP), tmp_path / "a.png", recipe=RECIPE)
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert json.loads(image.info["restorer"]) == RECIPE
        assert image.info["xmp"] == XMP
    assert decode((tmp_path / "a.png").read_bytes(), "x").xmp == XMP
