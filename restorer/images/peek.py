"""How large a picture is, from its header alone, for those who plan."""

from pathlib import Path

from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from restorer.images.formats import sniff
from restorer.images.pillow import READERS
from restorer.images.read import FAULTS

_OPENERS = {**READERS, "png": PngImageFile, "tiff": TiffImageFile}


def size_of(path: Path) -> tuple[int, int] | None:
    """(width, height) as the file tells them, before any turning; None where it cannot be told, and nothing raised."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        with path.open("rb") as file:
            format = sniff(file.read(64))
            file.seek(0)
            return _OPENERS[format](file).size if format in _OPENERS else None
    except FAULTS:
        return None
