"""What the demo's pictures show, as small records, and how each is drawn.

A content record (`BarChart`, `ShapeScene`, ...) holds the facts; `draw` turns it into pixels and `demo_questions` turns
the same facts into questions and answers, so that the annotations are true to the pictures. Text is drawn with
Pillow's built-in font: no font file is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Size = tuple[int, int]  # width, height in pixels, as Pillow counts them
Color = tuple[int, int, int]
Box = tuple[int, int, int, int]  # left, top, right, lower edge in pixels
Point = tuple[float, float]

COLORS: dict[str, Color] = {
    "red": (200, 45, 45),
    "orange": (235, 140, 30),
    "yellow": (235, 205, 50),
    "green": (50, 150, 70),
    "blue": (45, 95, 200),
    "purple": (130, 65, 165),
    "brown": (125, 80, 45),
    "pink": (235, 135, 170),
}
INK = (35, 35, 40)
GRID = (215, 215, 220)
PAPER = (255, 255, 255)


@dataclass(frozen=True)
class BarChart:
    """Vertical bars, the value written above each."""

    title: str
    unit: str
    labels: tuple[str, ...]
    values: tuple[int, ...]
    colors: tuple[str, ...]


@dataclass(frozen=True)
class LineChart:
    """One line over equally spaced labels."""

    title: str
    unit: str
    labels: tuple[str, ...]
    values: tuple[int, ...]
    color: str


@dataclass(frozen=True)
class PieChart:
    """Slices clockwise from the top; the shares are per cent and add up to 100."""

    title: str
    labels: tuple[str, ...]
    shares: tuple[int, ...]
    colors: tuple[str, ...]


@dataclass(frozen=True)
class ShapeScene:
    """Shapes in the cells of a grid, row by row; a cell is (shape, color) or None."""

    columns: int
    cells: tuple[tuple[str, str] | None, ...]

    @property
    def rows(self) -> int:
        return len(self.cells) // self.columns


@dataclass(frozen=True)
class TextPage:
    """A heading and short lines, like a note or a receipt."""

    heading: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Gradient:
    """A smooth change from one color to another; `axis` is "left to right" or "top to bottom"."""

    start: str
    end: str
    axis: str


Content = BarChart | LineChart | PieChart | ShapeScene | TextPage | Gradient


@singledispatch
def draw(content: Content, size: Size) -> Image.Image:
    """Draw `content` as an RGB picture of `size`."""
    raise TypeError(f"no drawing for {type(content).__name__}")


def font(pixels: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's built-in font, about `pixels` high."""
    return ImageFont.load_default(size=max(6, round(pixels)))


@draw.register
def _(content: BarChart, size: Size) -> Image.Image:
    image, pen, (left, right, bottom), scale = _chart_paper(content.title, content.unit, content.values, size)
    step = (right - left) / len(content.values)
    for i, (label, value, color) in enumerate(zip(content.labels, content.values, content.colors, strict=True)):
        middle = left + (i + 0.5) * step
        y = bottom - value * scale
        pen.rectangle((middle - 0.3 * step, y, middle + 0.3 * step, bottom), fill=COLORS[color], outline=INK)
        _write(pen, (middle, y - 2), str(value), size[1] / 22, anchor="ms")
        _write(pen, (middle, bottom + size[1] / 40), label, size[1] / 22, anchor="ma")
    return image


@draw.register
def _(content: LineChart, size: Size) -> Image.Image:
    image, pen, (left, right, bottom), scale = _chart_paper(content.title, content.unit, content.values, size)
    step = (right - left) / len(content.values)
    points = [(left + (i + 0.5) * step, bottom - value * scale) for i, value in enumerate(content.values)]
    pen.line(points, fill=COLORS[content.color], width=max(2, size[1] // 100))
    for (x, y), label, value in zip(points, content.labels, content.values, strict=True):
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=INK)
        _write(pen, (x, y - 6), str(value), size[1] / 22, anchor="ms")
        _write(pen, (x, bottom + size[1] / 40), label, size[1] / 22, anchor="ma")
    return image


@draw.register
def _(content: PieChart, size: Size) -> Image.Image:
    width, height = size
    image, pen = _paper(size)
    _write(pen, (width / 2, height * 0.03), content.title, height / 16, anchor="mt")
    radius = min(width * 0.27, height * 0.4)
    cx, cy = width * 0.32, height * 0.55
    angle = -90.0
    for i, (label, share, color) in enumerate(zip(content.labels, content.shares, content.colors, strict=True)):
        sweep = 3.6 * share
        box = (cx - radius, cy - radius, cx + radius, cy + radius)
        pen.pieslice(box, angle, angle + sweep, fill=COLORS[color], outline=PAPER)
        angle += sweep
        y = height * 0.25 + i * height * 0.13
        pen.rectangle((width * 0.64, y, width * 0.64 + height * 0.06, y + height * 0.06), fill=COLORS[color])
        _write(pen, (width * 0.64 + height * 0.09, y + height * 0.03), f"{label} {share}%", height / 20, anchor="lm")
    return image


@draw.register
def _(content: ShapeScene, size: Size) -> Image.Image:
    image, pen = _paper(size)
    for shape, color, center, radius in _placed_shapes(content, size):
        draw_shape(pen, shape, color, center=center, radius=radius)
    return image


@draw.register
def _(content: TextPage, size: Size) -> Image.Image:
    width, height = size
    image, pen = _paper(size)
    pen.rectangle((2, 2, width - 3, height - 3), outline=INK)
    line_height = height / (len(content.lines) + 3)
    text_height = min(0.62 * line_height, width / 16)
    _write(pen, (width / 2, 1.1 * line_height), content.heading, 1.15 * text_height, anchor="mm")
    pen.line((0.1 * width, 1.7 * line_height, 0.9 * width, 1.7 * line_height), fill=INK, width=1)
    for i, line in enumerate(content.lines):
        _write(pen, (0.1 * width, (2.4 + i) * line_height), line, text_height, anchor="lm")
    return image


@draw.register
def _(content: Gradient, size: Size) -> Image.Image:
    ramp = gradient_ramp(size, content.axis)[..., None]
    start, end = (np.array(_gradient_color(name), dtype=np.float64) for name in (content.start, content.end))
    return Image.fromarray(np.rint(start + ramp * (end - start)).astype(np.uint8), "RGB")


def gradient_ramp(size: Size, axis: str) -> np.ndarray:
    """(height, width) float64 from 0 at the start edge to 1 at the end edge."""
    width, height = size
    if axis == "left to right":
        return np.broadcast_to(np.linspace(0, 1, width), (height, width))
    return np.broadcast_to(np.linspace(0, 1, height)[:, None], (height, width))


def draw_shape(pen: ImageDraw.ImageDraw, shape: str, color: str, *, center: Point, radius: float) -> None:
    """Draw a "circle", "square", "triangle", "diamond" or "star" that fits a circle of `radius` pixels."""
    if shape == "circle":
        pen.ellipse(_box(center, radius), fill=COLORS[color], outline=INK)
        return
    pen.polygon(_corners(shape, center, radius), fill=COLORS[color], outline=INK)


def shape_boxes(content: ShapeScene, size: Size) -> list[tuple[str, str, Box]]:
    """Shape, color and bounding box of every shape of a scene drawn in `size`."""
    found: list[tuple[str, str, Box]] = []
    for shape, color, center, radius in _placed_shapes(content, size):
        left, top, right, lower = _box(center, radius)
        if shape != "circle":
            xs, ys = zip(*_corners(shape, center, radius), strict=True)
            left, top, right, lower = min(xs), min(ys), max(xs), max(ys)
        found.append((shape, color, (math.floor(left), math.floor(top), math.floor(right) + 1, math.floor(lower) + 1)))
    return found


def _placed_shapes(content: ShapeScene, size: Size) -> Iterator[tuple[str, str, Point, float]]:
    """Shape, color, center and radius in pixels."""
    width, height = size[0] / content.columns, size[1] / content.rows
    for i, cell in enumerate(content.cells):
        if cell is not None:
            row, column = divmod(i, content.columns)
            yield *cell, ((column + 0.5) * width, (row + 0.5) * height), 0.36 * min(width, height)


def _corners(shape: str, center: Point, radius: float) -> list[Point]:
    outlines = {
        "square": [(radius * 1.15, 45 + 90 * i) for i in range(4)],
        "triangle": [(radius, -90 + 120 * i) for i in range(3)],
        "diamond": [(radius, 90 * i) for i in range(4)],
        "star": [(radius if i % 2 == 0 else 0.42 * radius, -90 + 36 * i) for i in range(10)],
    }
    return [
        (center[0] + reach * math.cos(math.radians(angle)), center[1] + reach * math.sin(math.radians(angle)))
        for reach, angle in outlines[shape]
    ]


SHAPES = ("circle", "square", "triangle", "diamond", "star")


def _paper(size: Size) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", size, PAPER)
    return image, ImageDraw.Draw(image)


def _chart_paper(
    title: str, unit: str, values: tuple[int, ...], size: Size
) -> tuple[Image.Image, ImageDraw.ImageDraw, tuple[float, float, float], float]:
    """Title, axes and grid lines; returns the plot's (left, right, bottom) and the pixels per unit."""
    width, height = size
    image, pen = _paper(size)
    _write(pen, (width / 2, height * 0.03), title, height / 16, anchor="mt")
    left, top, right, bottom = width * 0.13, height * 0.2, width * 0.97, height * 0.86
    tick = next(tick for tick in (1, 2, 5, 10, 20, 25, 50, 100) if max(values) <= 5 * tick)
    scale = (bottom - top) / (5 * tick)
    for i in range(6):
        y = bottom - i * tick * scale
        pen.line((left, y, right, y), fill=GRID, width=1)
        _write(pen, (left - width * 0.015, y), str(i * tick), height / 24, anchor="rm")
    _write(pen, (left, top - height * 0.035), unit, height / 24, anchor="ls")
    pen.line((left, top, left, bottom, right, bottom), fill=INK, width=max(1, height // 150))
    return image, pen, (left, right, bottom), scale


def _write(pen: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, pixels: float, *, anchor: str) -> None:
    pen.text(xy, text, fill=INK, font=font(pixels), anchor=anchor)


def _box(center: Point, radius: float) -> tuple[float, float, float, float]:
    return center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius


def _gradient_color(name: str) -> Color:
    return {"black": (0, 0, 0), "white": (255, 255, 255), **COLORS}[name]
