"""XMP packets: a recipe put in, found again and taken out, with every other byte left as it was.

The packet is edited as text, at the end of its ``rdf:RDF`` element; a parser that writes it anew would rename the
prefixes that others rely on. A packet that is not well-formed, is not UTF-8 or declares entities is replaced by a
fresh one that holds the recipe alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NAMESPACE = "https://restorer.invalid/ns/1/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_LIMIT = 16 * 1024 * 1024
_SHELL = f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about="" xmlns:restorer="{NAMESPACE}"'
_FRESH = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    f'<rdf:RDF xmlns:rdf="{_RDF}"></rdf:RDF></x:xmpmeta>\n<?xpacket end="w"?>'
).encode()
_OURS = re.compile(
    rb"""\s+restorer:recipe\s*=\s*("[^"]*"|'[^']*')|<restorer:recipe\b[^>]*>.*?</restorer:recipe\s*>""", re.DOTALL
)
_ORIENTATION = re.compile(
    rb"""\s+tiff:Orientation\s*=\s*["'](\d)["']|<tiff:Orientation\s*>\s*(\d)\s*</tiff:Orientation\s*>"""
)
_SIDES = {b"tiff:ImageWidth": 0, b"exif:PixelXDimension": 0, b"tiff:ImageLength": 1, b"exif:PixelYDimension": 1}
_PER_UNIT = {b"tiff:XResolution": 0, b"tiff:YResolution": 1}
_SIZED = re.compile(rb"""(?<!/)\b(%s)(\s*=\s*["']|\s*>\s*)(\d{1,10})\b""" % b"|".join([*_SIDES, *_PER_UNIT]))
_END = re.compile(rb"</([\w.-]+:)?RDF\s*>")


def with_recipe(packet: bytes | None, text: str) -> bytes:
    """The packet with ``text`` as its one ``restorer:recipe``; a fresh packet for None and for one that is broken."""
    from xml.sax.saxutils import quoteattr  # here, as most pictures have no packet

    # quoteattr keeps to one kind of quote; line ends would be changed by XML's own rules, and JSON has none.
    element = f"{_SHELL} restorer:recipe={quoteattr(text)}/>".encode()
    merged = _insert(without_recipe(packet) or _FRESH, element)
    return merged if recipe_text(merged) == text else _insert(_FRESH, element)


def without_recipe(packet: bytes | None) -> bytes | None:
    """The packet without any ``restorer:recipe``; the very same bytes when it has none."""
    if packet is None or b"restorer:recipe" not in packet:
        return packet
    return _OURS.sub(b"", packet).replace(f"{_SHELL}/>".encode(), b"")


def recipe_text(packet: bytes | None) -> str | None:
    """The recipe in a packet, the last one where several stand; None when there is none, or it cannot be parsed."""
    root = _parse(packet)
    if root is None:
        return None
    key = f"{{{NAMESPACE}}}recipe"
    found = [element.text if element.tag == key else element.get(key) for element in root.iter()]
    return next((text for text in reversed(found) if text), None)


def take_orientation(packet: bytes | None) -> tuple[bytes | None, int | None]:
    """(the packet without ``tiff:Orientation``, orientation 1 to 8 or None): pixels are turned once, not twice."""
    if packet is None or (match := _ORIENTATION.search(packet)) is None:
        return packet, None
    value = int(match[1] or match[2])
    return _ORIENTATION.sub(b"", packet), value if value in range(1, 9) else None


def resized(packet: bytes, size: tuple[int, int], ratio: tuple[float, float]) -> bytes:
    """The packet with the sizes in it made ``size`` (width, height), and resolutions ``ratio`` (x, y) times as much."""

    def told(match: re.Match[bytes]) -> bytes:
        name, before, number = match.groups()
        value = size[_SIDES[name]] if name in _SIDES else round(int(number) * ratio[_PER_UNIT[name]])
        return name + before + str(value).encode()

    return _SIZED.sub(told, packet)


def without_padding(packet: bytes) -> bytes:
    """The packet without the blanks that editors leave before its end mark, for formats with little room."""
    return re.sub(rb"\s+(<\?xpacket end=)", rb"\n\1", packet)


def _insert(packet: bytes, element: bytes) -> bytes:
    ends = [match.start() for match in _END.finditer(packet)]
    return packet[: ends[-1]] + element + packet[ends[-1] :] if ends else packet


def _parse(packet: bytes | None) -> Element | None:
    packet = (packet or b"").strip(b"\0 \t\r\n")
    if not packet or len(packet) > _LIMIT or any(mark in packet for mark in (b"\0", b"<!DOCTYPE", b"<!ENTITY")):
        return None
    from xml.etree import ElementTree  # here, as most pictures have no packet

    try:
        return ElementTree.fromstring(packet)
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
