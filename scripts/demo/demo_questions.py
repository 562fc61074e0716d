"""Questions about what the demo's pictures and clips show, and the true answers, made from the same facts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import singledispatch
from typing import NamedTuple

from demo_clips import Clip
from demo_drawings import BarChart, Box, Content, Gradient, LineChart, PieChart, ShapeScene, TextPage, shape_boxes
from demo_images import KINDS, Picture

ROWS = {1: ("only",), 2: ("top", "bottom")}
COLUMNS = {1: ("only",), 2: ("left", "right"), 3: ("left", "middle", "right")}


class Exchange(NamedTuple):
    """One question of the user and the assistant's answer."""

    question: str
    answer: str


def about_picture(picture: Picture) -> list[Exchange]:
    """At least two exchanges; the first describes the whole picture. Colors are asked about only where it has them."""
    return _about(picture.content, KINDS[picture.kind].keeps_colors)


def where_shapes_are(pictures: Sequence[Picture]) -> Exchange:
    """Boxes of all shapes, in pixels of the stored pictures, as Qwen2.5-VL writes them: JSON in a code fence."""
    found = []
    for i, picture in enumerate(pictures):
        for name, box in _labelled_boxes(picture):
            which = {"image_index": i} if len(pictures) > 1 else {}
            found.append(which | {"bbox_2d": list(box), "label": name})
    lines = ",\n".join("\t" + json.dumps(entry) for entry in found)
    return Exchange("Find every shape. Answer with boxes in JSON.", f"```json\n[\n{lines}\n]\n```")


def where_one_shape_is(picture: Picture) -> Exchange:
    """A point inside of the first shape, as JSON in a sentence."""
    name, (left, top, right, lower) = _labelled_boxes(picture)[0]
    point = json.dumps({"point_2d": [(left + right) / 2, (top + lower) / 2], "label": name})
    return Exchange(f"Point at the {name}.", f"It is here: {point}")


def _labelled_boxes(picture: Picture) -> list[tuple[str, Box]]:
    assert isinstance(picture.content, ShapeScene)
    return [
        (f"{color} {shape}", picture.stored_box(box))
        for shape, color, box in shape_boxes(picture.content, picture.size)
    ]


def about_clip(clip: Clip) -> list[Exchange]:
    shape, color, direction = clip.motion.shape, clip.motion.color, clip.motion.direction
    start, end = direction.split(" to ")
    return [
        Exchange(
            "Describe this clip.",
            f"A {color} {shape} moves from {start} to {end}. "
            f"A counter in the corner runs from 0 to {clip.num_frames - 1}.",
        ),
        Exchange("What moves, and which way?", f"A {color} {shape} moves from {start} to {end}."),
        Exchange("Which number does the counter show at the end?", f"The counter ends at {clip.num_frames - 1}."),
        Exchange("How long is the clip?", f"It has {clip.num_frames} frames at {clip.fps} frames a second."),
    ]


def sentence(items: list[str]) -> str:
    """a; a and b; a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


@singledispatch
def _about(content: Content, colors: bool) -> list[Exchange]:
    raise TypeError(f"no questions about {type(content).__name__}")


@_about.register
def _(content: BarChart, colors: bool) -> list[Exchange]:
    pairs = dict(zip(content.labels, content.values, strict=True))
    most, least = max(pairs, key=pairs.__getitem__), min(pairs, key=pairs.__getitem__)
    values = sentence([f"{label} {value}" for label, value in pairs.items()])
    exchanges = [
        Exchange(
            "Read all values of this chart.",
            f'The bar chart "{content.title}" shows {len(pairs)} bars, in {content.unit}: {values}.',
        ),
        Exchange("Which bar is the highest?", f"The highest bar is {most}, with {pairs[most]} {content.unit}."),
        Exchange("Which bar is the lowest?", f"The lowest bar is {least}, with {pairs[least]} {content.unit}."),
        Exchange(
            f"How many {content.unit} more does {most} have than {least}?",
            f"{most} has {pairs[most]} and {least} has {pairs[least]}, "
            f"so the difference is {pairs[most] - pairs[least]}.",
        ),
    ]
    if colors:
        color = dict(zip(content.labels, content.colors, strict=True))[most]
        exchanges.append(Exchange(f"What color is the bar of {most}?", f"The bar of {most} is {color}."))
    return exchanges


@_about.register
def _(content: LineChart, colors: bool) -> list[Exchange]:
    pairs = list(zip(content.labels, content.values, strict=True))
    peak = max(pairs, key=lambda pair: pair[1])
    (first_label, first), (last_label, last) = pairs[0], pairs[-1]
    values = sentence([f"{value} at {label}" for label, value in pairs])
    exchanges = [
        Exchange(
            "Read all values of this chart.",
            f'The line chart "{content.title}" shows {len(pairs)} points, in {content.unit}: {values}.',
        ),
        Exchange("Where is the highest point?", f"The highest point is {peak[1]} {content.unit}, at {peak[0]}."),
        Exchange(
            "Does the line end higher than it starts?",
            f"It starts at {first} ({first_label}) and ends at {last} ({last_label}), "
            f"so it ends {'higher' if last > first else 'lower'}.",
        ),
    ]
    if colors:
        exchanges.append(Exchange("What color is the line?", f"The line is {content.color}."))
    return exchanges


@_about.register
def _(content: PieChart, colors: bool) -> list[Exchange]:
    slices = sorted(zip(content.shares, content.labels, content.colors, strict=True), reverse=True)
    shares = sentence([f"{label} {share}%" for share, label, _ in slices])
    exchanges = [
        Exchange(
            "Read all values of this chart.",
            f'The pie chart "{content.title}" has {len(slices)} slices: {shares}.',
        ),
        Exchange("Which slice is the largest?", f"The largest slice is {slices[0][1]}, with {slices[0][0]}%."),
        Exchange("Which slice is the smallest?", f"The smallest slice is {slices[-1][1]}, with {slices[-1][0]}%."),
    ]
    if colors:
        exchanges.append(Exchange("What color is the largest slice?", f"The largest slice is {slices[0][2]}."))
    return exchanges


@_about.register
def _(content: ShapeScene, colors: bool) -> list[Exchange]:
    names = [cell and _a(f"{cell[1]} {cell[0]}" if colors else cell[0]) for cell in content.cells]
    shapes = [name for name in names if name]
    kinds = sorted({cell[0] for cell in content.cells if cell})
    counts = [_count(sum(cell is not None and cell[0] == kind for cell in content.cells), kind) for kind in kinds]
    exchanges = [
        Exchange("Which shapes do you see?", f"I see {len(shapes)} shapes: {sentence(shapes)}."),
        Exchange("Count the shapes by kind.", f"There {_is(counts[0])} {sentence(counts)}."),
    ]
    if content.rows in ROWS and content.columns in COLUMNS:
        row, column = ROWS[content.rows][-1], COLUMNS[content.columns][-1]
        place = "on the right" if content.rows == 1 else f"in the {row} {column} corner"
        answer = f"{names[-1].capitalize()} is {place}." if names[-1] else f"Nothing is {place}."
        exchanges.append(Exchange(f"What is {place}?", answer))
    return exchanges


@_about.register
def _(content: TextPage, colors: bool) -> list[Exchange]:
    return [
        Exchange("Read the text on this page.", "\n".join((content.heading, *content.lines))),
        Exchange("What is the heading?", f'The heading is "{content.heading}".'),
        Exchange("What does the last line say?", f'The last line says "{content.lines[-1]}".'),
    ]


@_about.register
def _(content: Gradient, colors: bool) -> list[Exchange]:
    start, end = content.axis.split(" to ")
    return [
        Exchange("Describe this picture.", f"A smooth gradient from {content.start} to {content.end}, {content.axis}."),
        Exchange(f"What color is the {end} edge?", f"The {end} edge is {content.end}."),
        Exchange(f"What color is the {start} edge?", f"The {start} edge is {content.start}."),
    ]


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _is(counted: str) -> str:
    return "is" if counted.startswith("1 ") else "are"
