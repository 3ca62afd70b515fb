"""Files and arrays to tensors and back, with nothing of the picture lost.

read, decode          file -> Picture            write, encode    Picture -> file
output_format         which format that will be  FORMATS          what each format can carry
read_recipe           what made a picture        to_tensor        PIL, numpy, torch -> tensor and back
as_written            the pixels a file holds
"""

from restorer.images.arrays import to_tensor
from restorer.images.formats import FORMATS, SUFFIXES, WRITTEN, Format, format_of
from restorer.images.picture import Picture
from restorer.images.read import MAX_PIXELS, decode, read
from restorer.images.recipe import read_recipe
from restorer.images.write import as_written, encode, output_format, write

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "SUFFIXES",
    "WRITTEN",
    "Format",
    "Picture",
    "as_written",
    "decode",
    "encode",
    "format_of",
    "output_format",
    "read",
    "read_recipe",
    "to_tensor",
    "write",
]
