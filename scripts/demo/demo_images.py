"""The demo's pictures: what each shows, how large it is, and in which of the image kinds that matter it is stored.

Every kind that a decoding rule exists for occurs: transparency in its three forms hides black under what must come out
white, the 16-bit gradient uses its low bytes, rotated JPEGs are stored so that they are upright only after their EXIF
orientation is applied, and the later frames of the animation differ from the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from demo_drawings import (
    COLORS,
    INK,
    PAPER,
    SHAPES,
    BarChart,
    Box,
    Content,
    Gradient,
    LineChart,
    PieChart,
    ShapeScene,
    Size,
    TextPage,
    draw,
    gradient_ramp,
)
from PIL import Image, ImageDraw, ImageOps

EXIF_ORIENTATION = 0x0112


class Kind(NamedTuple):
    """One way to store a picture. `mode` is the mode that Pillow reports on opening, `orientation` the EXIF value."""

    suffix: str
    mode: str
    save: Callable[[Image.Image, Path], None]
    orientation: int = 1

    @property
    def keeps_colors(self) -> bool:
        return self.mode in ("RGB", "RGBA", "P", "CMYK")


@dataclass(frozen=True)
class Picture:
    """One file below the images folder; `size` is (width, height) of the upright picture in pixels."""

    name: str
    content: Content
    size: Size
    kind: str

    @property
    def file_name(self) -> str:
        return self.name + KINDS[self.kind].suffix

    @property
    def stored_size(self) -> Size:
        """(width, height) before the EXIF orientation is applied: what the header says."""
        width, height = self.size
        return (height, width) if KINDS[self.kind].orientation >= 5 else (width, height)

    def stored_box(self, box: Box) -> Box:
        """Where a box of the upright picture stands in the stored one: the coordinates of an annotation."""
        left, top, right, lower = box
        width, height = self.size
        return {
            1: box,
            5: (top, left, lower, right),
            6: (top, width - right, lower, width - left),
            7: (height - lower, width - right, height - top, width - left),
        }[KINDS[self.kind].orientation]


def write_picture(picture: Picture, folder: Path) -> Path:
    """Draw and store one picture; returns the file written."""
    path = folder / picture.file_name
    image = draw(picture.content, picture.size)
    if isinstance(picture.content, Gradient) and picture.kind == "png_grey16":
        image = _grey16_gradient(picture)
    KINDS[picture.kind].save(image, path)
    return path


def pictures() -> tuple[Picture, ...]:
    """All pictures of the demo, always the same ones in the same order."""
    return (*_charts(Random(1)), *_scenes(Random(2)), *_pages(), *_gradients(), *_odd_shapes())


THIN = Picture("thin", Gradient("black", "white", "top to bottom"), (1, 300), "png")
"""A picture whose aspect ratio (300) is over the limit: it belongs to a record that must be rejected."""


def _charts(random: Random) -> list[Picture]:
    found: list[Picture] = []
    for (title, unit, labels), kind in zip(BAR_TOPICS, BAR_KINDS, strict=True):
        values = tuple(random.sample(range(4, 50), len(labels)))
        chart = BarChart(title, unit, labels, values, tuple(random.sample(sorted(COLORS), len(labels))))
        found.append(Picture(f"bars_{len(found)}", chart, random.choice(CHART_SIZES), kind))
    for i, ((title, unit, labels), kind) in enumerate(zip(LINE_TOPICS, LINE_KINDS, strict=True)):
        values = tuple(random.sample(range(2, 40), len(labels)))
        line = LineChart(title, unit, labels, values, random.choice(sorted(COLORS)))
        found.append(Picture(f"line_{i}", line, random.choice(CHART_SIZES), kind))
    for i, ((title, labels), kind) in enumerate(zip(PIE_TOPICS, PIE_KINDS, strict=True)):
        shares = tuple(random.sample(((40, 30, 20, 10), (45, 25, 20, 10), (50, 25, 15, 10))[i % 3], 4))
        pie = PieChart(title, labels, shares, tuple(random.sample(sorted(COLORS), 4)))
        found.append(Picture(f"pie_{i}", pie, random.choice(CHART_SIZES), kind))
    return found


def _scenes(random: Random) -> list[Picture]:
    found = []
    for i, kind in enumerate(SCENE_KINDS):
        columns, rows = ((2, 2), (3, 2), (3, 1))[i % 3]
        shapes = [random.choice(SHAPES) for _ in range(columns * rows)]
        cells = list(zip(shapes, random.sample(sorted(COLORS), columns * rows), strict=True))
        empty = random.randrange(columns * rows)
        scene = ShapeScene(columns, tuple(None if i % 2 and j == empty else cell for j, cell in enumerate(cells)))
        found.append(Picture(f"scene_{i}", scene, (columns * random.choice((84, 100, 121)), rows * 110), kind))
    return found


def _pages() -> list[Picture]:
    return [
        Picture(f"page_{i}", TextPage(heading, lines), ((240, 320), (300, 260), (336, 224))[i % 3], kind)
        for i, ((heading, lines), kind) in enumerate(zip(PAGES, PAGE_KINDS, strict=True))
    ]


def _gradients() -> list[Picture]:
    return [
        Picture("gradient_0", Gradient("black", "white", "left to right"), (300, 192), "png_grey16"),
        Picture("gradient_1", Gradient("white", "black", "top to bottom"), (200, 200), "png_grey"),
        Picture("gradient_2", Gradient("blue", "yellow", "left to right"), (280, 140), "jpeg"),
        Picture("gradient_3", Gradient("red", "white", "top to bottom"), (203, 151), "png"),
    ]


def _odd_shapes() -> list[Picture]:
    column = tuple((shape, color) for shape, color in zip(SHAPES * 3, sorted(COLORS) * 2, strict=False))
    return [
        Picture("tall", ShapeScene(1, column[:9]), (60, 900), "png"),
        Picture("wide", ShapeScene(9, column[3:12]), (900, 60), "jpeg"),
        Picture("tiny", Gradient("green", "white", "top to bottom"), (9, 13), "png"),
    ]


def _grey16_gradient(picture: Picture) -> Image.Image:
    """A true 16-bit ramp of the same gradient: neighbouring pixels differ in the low byte too."""
    assert isinstance(picture.content, Gradient)
    ramp = gradient_ramp(picture.size, picture.content.axis)
    return Image.fromarray(np.rint((ramp if picture.content.start == "black" else 1 - ramp) * 65535).astype(np.uint16))


# --- how each kind is stored ---------------------------------------------------------------------------------------


def _save(mode: str, **options: Any) -> Callable[[Image.Image, Path], None]:
    def save(image: Image.Image, path: Path) -> None:
        image.convert(mode).save(path, **options)

    return save


def _save_translucent(mode: str) -> Callable[[Image.Image, Path], None]:
    """White becomes fully transparent black; the ink becomes more opaque from left (half) to right (full)."""

    def save(image: Image.Image, path: Path) -> None:
        inked = np.asarray(image.convert("L")) < 250
        opacity = np.rint(128 + 127 * gradient_ramp(image.size, "left to right")).astype(np.uint8)
        hidden = Image.composite(image, Image.new("RGB", image.size), Image.fromarray(inked))
        translucent = hidden.convert(mode[:-1])
        translucent.putalpha(Image.fromarray(np.where(inked, opacity, 0).astype(np.uint8)))
        translucent.save(path)

    return save


def _save_palette(image: Image.Image, path: Path) -> None:
    image.quantize(32).save(path)


def _save_palette_transparent(image: Image.Image, path: Path) -> None:
    """The palette entry of white is transparent, and black to whoever forgets that."""
    indexed = image.quantize(32)
    palette = list(indexed.getpalette() or [])
    colors = list(zip(palette[0::3], palette[1::3], palette[2::3], strict=True))
    white = colors.index(PAPER)
    palette[3 * white : 3 * white + 3] = (0, 0, 0)
    indexed.putpalette(palette)
    indexed.save(path, transparency=white)


def _save_grey16(image: Image.Image, path: Path) -> None:
    grey = image if image.mode == "I;16" else Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    grey.save(path)


def _save_bilevel(image: Image.Image, path: Path) -> None:
    image.convert("1", dither=Image.Dither.NONE).save(path)


def _save_turned(orientation: int) -> Callable[[Image.Image, Path], None]:
    """Store the picture turned, with the EXIF orientation that makes it upright again."""
    turns = {
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
    }

    def save(image: Image.Image, path: Path) -> None:
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = orientation
        image.transpose(turns[orientation]).save(path, quality=90, exif=exif)

    return save


def _save_animation(image: Image.Image, path: Path) -> None:
    """The first frame is the picture; those that follow are its negative and a blank page."""
    blank = Image.new("RGB", image.size, PAPER)
    ImageDraw.Draw(blank).rectangle((10, 10, 40, 40), fill=INK)
    frames = [frame.quantize(32) for frame in (image, ImageOps.invert(image), blank)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=400, loop=0)


KINDS: dict[str, Kind] = {
    "jpeg": Kind(".jpg", "RGB", _save("RGB", quality=90)),
    "jpeg_progressive": Kind(".jpg", "RGB", _save("RGB", quality=90, progressive=True)),
    "jpeg_grey": Kind(".jpg", "L", _save("L", quality=90)),
    "jpeg_cmyk": Kind(".jpg", "CMYK", _save("CMYK", quality=92)),
    "jpeg_exif5": Kind(".jpg", "RGB", _save_turned(5), orientation=5),
    "jpeg_exif6": Kind(".jpg", "RGB", _save_turned(6), orientation=6),
    "jpeg_exif7": Kind(".jpg", "RGB", _save_turned(7), orientation=7),
    "png": Kind(".png", "RGB", _save("RGB")),
    "png_rgba": Kind(".png", "RGBA", _save_translucent("RGBA")),
    "png_la": Kind(".png", "LA", _save_translucent("LA")),
    "png_palette": Kind(".png", "P", _save_palette),
    "png_palette_transparent": Kind(".png", "P", _save_palette_transparent),
    "png_grey": Kind(".png", "L", _save("L")),
    "png_grey16": Kind(".png", "I;16", _save_grey16),
    "png_bilevel": Kind(".png", "1", _save_bilevel),
    "gif_animated": Kind(".gif", "P", _save_animation),
    "webp": Kind(".webp", "RGB", _save("RGB", quality=85)),
}

# --- what the pictures show ----------------------------------------------------------------------------------------

CHART_SIZES: tuple[Size, ...] = ((420, 300), (360, 270), (400, 320), (333, 251))
BAR_KINDS = ("jpeg", "png", "png_rgba", "jpeg_cmyk", "png_palette", "jpeg_progressive", "png_grey", "webp")
LINE_KINDS = ("png", "jpeg_grey", "png_grey16", "png_palette_transparent", "webp")
PIE_KINDS = ("jpeg", "png", "gif_animated", "png_rgba", "png_palette_transparent")
SCENE_KINDS = ("png", "jpeg", "png_palette", "png_rgba", "jpeg_exif5", "webp", "png", "gif_animated")
PAGE_KINDS = ("png_bilevel", "jpeg_exif6", "jpeg_exif7", "png_la", "png", "jpeg")

BAR_TOPICS = (
    ("Fruit sold on Monday", "kg", ("apples", "pears", "plums", "figs", "kiwis")),
    ("Books read last year", "books", ("Ada", "Ben", "Cleo", "Dan")),
    ("Trees in the park", "trees", ("oak", "pine", "birch", "elm", "lime")),
    ("Rain by month", "mm", ("May", "June", "July", "August")),
    ("Visitors by day", "visitors", ("Mon", "Tue", "Wed", "Thu", "Fri")),
    ("Goals this season", "goals", ("Reds", "Blues", "Greens", "Whites")),
    ("Cakes baked", "cakes", ("north", "south", "east", "west")),
    ("Letters delivered", "letters", ("street A", "street B", "street C")),
)
LINE_TOPICS = (
    ("Temperature", "degrees", ("Jan", "Feb", "Mar", "Apr", "May", "Jun")),
    ("Height of a sunflower", "cm", ("week 1", "week 2", "week 3", "week 4")),
    ("Bicycles rented", "bicycles", ("2019", "2020", "2021", "2022", "2023")),
    ("Water in the tank", "litres", ("6:00", "9:00", "12:00", "15:00", "18:00")),
    ("Tickets sold", "tickets", ("Mon", "Tue", "Wed", "Thu", "Fri")),
)
PIE_TOPICS = (
    ("Energy mix", ("wind", "solar", "water", "gas")),
    ("How we travel", ("bus", "train", "bicycle", "car")),
    ("Favourite season", ("spring", "summer", "autumn", "winter")),
    ("Pets at home", ("cats", "dogs", "birds", "fish")),
    ("How a day is spent", ("sleep", "work", "meals", "play")),
)
PAGES = (
    ("Shopping list", ("2 loaves of bread", "6 eggs", "1 bag of rice", "3 lemons")),
    ("Train to the coast", ("leaves at 9:15", "platform 4", "arrives at 11:40")),
    ("Lost and found", ("one grey umbrella", "two gloves", "ask at desk 7")),
    ("Opening hours", ("Monday to Friday", "10:00 to 18:30", "closed on Sunday")),
    ("Recipe for pancakes", ("200 g of flour", "3 eggs", "400 ml of milk", "a pinch of salt")),
    ("Receipt 1482", ("tea 2.40", "cake 3.10", "total 5.50")),
)
