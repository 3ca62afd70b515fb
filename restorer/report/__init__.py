"""Pictures about pictures: before and after side by side, as a sheet, or as one HTML page with sliders.

row, page        one picture's part of the page; the page        (page.py, page.html)
side, grid       two pictures as one; many pairs as one          (sheets.py)
Comparison       collects the pairs of a run, and writes them    (comparison.py)
contact          small pictures under words, in rows             (contact.py)
"""

from restorer.report.comparison import STYLES, Comparison
from restorer.report.page import Row, page, row
from restorer.report.sheets import grid, side

__all__ = ["STYLES", "Comparison", "Row", "grid", "page", "row", "side"]
