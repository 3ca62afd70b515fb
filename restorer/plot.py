"""Line charts with Pillow alone: for traces, and for the figures of the documentation. Writes no file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by colour-blind eyes too. Okabe and Ito, Color Universal Design, 2008; without yellow, faint on white."""

TEXT, AXIS, GRID, PAPER = "#222222", "#666666", "#e4e4e4", "#ffffff"
# Pillow's lines have hard edges: everything is drawn at twice its size, and every two by two pixels made one.
FINE = 2
FONT, TITLE, LINE, DOT, GAP = (FINE * size for size in (13, 16, 3, 4, 8))
MANY_POINTS = 60
"""Longer series are drawn without dots."""

Points = Sequence[tuple[float, float]]
Box = tuple[float, float, float, float]


def line_chart(
    series: Mapping[str, Points],
    *,
    title: str,
    x: str,
    y: str,
    size: tuple[int, int] = (900, 560),
    log_x: bool = False,
    log_y: bool = False,
) -> Image.Image:
    """A chart of ``size`` (width, height) pixels, RGB, with a line through the points (x, y) of each named series.

    Left out, with a gap in the line, are points that are not finite, and on a logarithmic axis those not above 0.
    ``x`` and ``y``: what the axes say. Raises ``ValueError`` when there is no point to draw.
    """
    usable = {name: [p if _usable(p, log_x, log_y) else None for p in points] for name, points in series.items()}
    seen = [point for points in usable.values() for point in points if point]
    if not seen:
        raise ValueError("A chart needs a point with finite values, above 0 on logarithmic axes; there is none.")
    sheet = Image.new("RGB", (FINE * size[0], FINE * size[1]), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT)
    draw.text((sheet.width / 2, GAP), title, TEXT, ImageFont.load_default(TITLE), anchor="ma")
    top = _legend(draw, list(series), font, sheet.width, GAP + 2 * TITLE)
    marks_x, marks_y = (
        (log_ticks if log else ticks)(min(p[i] for p in seen), max(p[i] for p in seen))
        for i, log in enumerate((log_x, log_y))
    )
    left = 3 * GAP + FONT + max(font.getlength(_label(mark)) for mark in marks_y)
    box = (left, top + 2 * GAP, sheet.width - 4 * GAP, sheet.height - 4 * GAP - 2 * FONT)
    place_x, place_y = _Scale(marks_x, log_x, box[0], box[2]), _Scale(marks_y, log_y, box[3], box[1])
    for mark in marks_x:
        draw.line([(place_x(mark), box[1]), (place_x(mark), box[3])], GRID, FINE)
        draw.text((place_x(mark), box[3] + GAP), _label(mark), TEXT, font, anchor="ma")
    for mark in marks_y:
        draw.line([(box[0], place_y(mark)), (box[2], place_y(mark))], GRID, FINE)
        draw.text((box[0] - GAP, place_y(mark)), _label(mark), TEXT, font, anchor="rm")
    draw.line([(box[0], box[1]), (box[0], box[3]), (box[2], box[3])], AXIS, FINE)
    draw.text(((box[0] + box[2]) / 2, sheet.height - GAP), x, TEXT, font, anchor="md")
    _upwards(sheet, y, font, (box[1] + box[3]) / 2)
    for i, points in enumerate(usable.values()):
        placed = [(place_x(p[0]), place_y(p[1])) if p else None for p in points]
        _curve(draw, placed, COLOURS[i % len(COLOURS)])
    return sheet.reduce(FINE)


def ticks(low: float, high: float, count: int = 6) -> list[float]:
    """About ``count`` equal steps of 1, 2 or 5 times a power of ten, from ``low`` or below to ``high`` or above.

    Around a single value there is room on both sides.
    """
    if low == high:
        room = abs(low) / 10 or 1.0
        low, high = low - room, high + room
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    # Whole numbers of steps, so that no error adds up; a bound that is round but for its last bits counts as round.
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, 1 - math.floor(math.log10(step)))
    return [round(i * step, digits) for i in range(first, last + 1)]


def log_ticks(low: float, high: float, count: int = 8) -> list[float]:
    """Powers of ten from ``low`` or below to ``high`` or above, both above 0; of many, every so manieth.

    Where two or three would be all, 2 and 5 times them stand between, as far as they are needed.
    """
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    if last - first <= 2:
        marks = [float(f"{factor}e{power}") for power in range(first, last + 1) for factor in (1, 2, 5)]
        below = [mark for mark in marks if mark <= low * (1 + 1e-9)]
        above = [mark for mark in marks if mark >= high * (1 - 1e-9)]
        start, end = marks.index(below[-1]), marks.index(above[0])
        return marks[start : max(end, start + 1) + 1]
    every = math.ceil((last - first) / (count - 1))
    return [float(f"1e{first + every * i}") for i in range(math.ceil((last - first) / every) + 1)]


class _Scale:
    """Values -> pixels: the first mark lies at ``start``, the last at ``end``."""

    def __init__(self, marks: Sequence[float], log: bool, start: float, end: float) -> None:
        self.bend = math.log10 if log else float
        self.low, self.start = self.bend(marks[0]), start
        self.per_unit = (end - start) / (self.bend(marks[-1]) - self.low)

    def __call__(self, value: float) -> float:
        return self.start + (self.bend(value) - self.low) * self.per_unit


def _usable(point: tuple[float, float], log_x: bool, log_y: bool) -> bool:
    return all(math.isfinite(v) and (v > 0 or not log) for v, log in zip(point, (log_x, log_y), strict=True))


def _label(mark: float) -> str:
    return f"{mark:.6g}"


def _legend(draw: ImageDraw.ImageDraw, names: Sequence[str], font: ImageFont.ImageFont, width: int, top: int) -> int:
    """Names behind dashes of their colours, in as many rows as they need; the return value is where those end."""
    left = 4 * GAP
    for i, name in enumerate(names):
        long = 5 * GAP + font.getlength(name)
        if left > 4 * GAP and left + long > width - 4 * GAP:
            left, top = 4 * GAP, top + 2 * FONT
        middle = top + FONT / 2
        draw.line([(left, middle), (left + 3 * GAP, middle)], COLOURS[i % len(COLOURS)], LINE)
        draw.text((left + 4 * GAP, middle), name, TEXT, font, anchor="lm")
        left += long + 2 * GAP
    return top + FONT


def _upwards(sheet: Image.Image, words: str, font: ImageFont.ImageFont, middle: float) -> None:
    """What the y axis says, along the left edge."""
    strip = Image.new("RGB", (int(font.getlength(words)) + 2, 2 * FONT), PAPER)
    ImageDraw.Draw(strip).text((strip.width / 2, FONT), words, TEXT, font, anchor="mm")
    sheet.paste(strip.rotate(90, expand=True), (0, int(middle - strip.width / 2)))


def _curve(draw: ImageDraw.ImageDraw, points: Sequence[tuple[float, float] | None], colour: str) -> None:
    """Lines between neighbours; None breaks them. A dot on each point, unless there are many."""
    run: list[tuple[float, float]] = []
    for point in (*points, None):
        if point:
            run.append(point)
            continue
        if len(run) > 1:
            draw.line(run, colour, LINE, joint="curve")
        for across, down in run if len(points) <= MANY_POINTS or len(run) == 1 else ():
            draw.ellipse((across - DOT, down - DOT, across + DOT, down + DOT), colour)
        run = []
