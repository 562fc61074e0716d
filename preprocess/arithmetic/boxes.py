"""Boxes follow the pixels: coordinates in answers, rewritten to the unit of the model's family, most often pixels of
the resized image. Pure functions over text and integers.

    {"bbox_2d": [10, 20.5, 30, 40], "label": "cat"}          an answer about an image of 100 x 200 pixels
    {"bbox_2d": [28, 57, 84, 112], "label": "cat"}           the same when that image is resized to 280 x 560

Every JSON value in an answer counts, whether it is the whole answer or stands in prose or a code fence. In it
`bbox_2d` is [x1, y1, x2, y2] or a list of such boxes, and `point_2d` is [x, y] or a list of such points. Only their
numbers change. The rules are listed in preprocess/README.md, "Boxes".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from preprocess.arithmetic.geometry import TURNED_SIDEWAYS
from preprocess.errors import Reason, SampleError
from preprocess.sample import BoxMode, Turn

_NUMBERS_OF = {'"bbox_2d"': 4, '"point_2d"': 2}  # by key, as it stands in the text
_IMAGE_INDEX = '"image_index"'
_RELATIVE_SIDE = 1000
_TOLERATED_SHARE, _TOLERATED_UNITS = 0.01, 1  # of a side, at least: so far outside, a box was rounded or drawn loosely
_FLIPPED_HORIZONTALLY, _FLIPPED_VERTICALLY = {2, 3, 6, 7}, {3, 4, 7, 8}  # EXIF orientations, after turning sideways

_MENTION = re.compile("bbox_2d|point_2d")
_KEY_WITH_NUMBERS = re.compile(r"""["'](?:bbox_2d|point_2d)\\*["']\s*:[\s\[(]*[-+.]?\d""")
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]|[^{}\[\]:,"\s]+', re.DOTALL)  # of text known to be JSON
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_INTEGER = re.compile(r"-?\d{1,9}")
# Numbers stay text: an integer of 5,000 digits is legal, and `int` refuses it.
_DECODER = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFrame:
    """What moves the coordinates of one image. Sizes in pixels, upright (after the EXIF orientation)."""

    name: str  # of the file, for messages
    height: int
    width: int
    orientation: int  # EXIF, 1 to 8
    box_height: int  # what the lower edge becomes: pixels of the resized image, or a family's own unit
    box_width: int  # what the right edge becomes


def rewrite_answers(turns: Sequence[Turn], mode: BoxMode, frames: Sequence[ImageFrame]) -> tuple[Turn, ...]:
    """The turns with the boxes of every answer rewritten; `frames` are those of the sample's images.

    Raises SampleError (ambiguous_boxes, bad_json) naming the turn, and the image where it is clear which one is meant.
    """
    if mode == "none":
        return tuple(turns)
    return tuple(
        replace(turn, text=_rewrite_turn(number, turn.text, mode, frames)) if turn.role == "assistant" else turn
        for number, turn in enumerate(turns)
    )


def _rewrite_turn(number: int, text: str, mode: BoxMode, frames: Sequence[ImageFrame]) -> str:
    try:
        return rewrite_boxes(text, mode, frames)
    except SampleError as error:
        raise SampleError(error.reason, f"turn {number}: {error.detail}", error.medium) from None


def rewrite_boxes(text: str, mode: BoxMode, frames: Sequence[ImageFrame]) -> str:
    """`text` with every bbox_2d and point_2d in the unit of its frame. Raises SampleError."""
    if mode == "none" or not _MENTION.search(text):
        return text
    rewritten: list[tuple[_Token, str]] = []
    understood: set[int] = set()  # where the keys start whose values were looked at
    for members in _objects(text):
        for key, value in members:
            if key.text in _NUMBERS_OF:
                understood.add(key.start)
                rewritten += _rewrite_value(key, value, members, mode, frames)
    for match in _KEY_WITH_NUMBERS.finditer(text):
        if match.start() not in understood:
            excerpt = _excerpt(text[match.start() :])
            raise _error(Reason.BAD_JSON, f"{excerpt} stands in no JSON object that parses; mend it", frames)
    pieces, done = [], 0
    for token, digits in sorted(rewritten, key=lambda pair: pair[0].start):
        pieces += [text[done : token.start], digits]
        done = token.end
    return "".join(pieces) + text[done:]


def place_point(x: float, y: float, width: float, height: float, frame: ImageFrame) -> tuple[int, int]:
    """A point of the stored image -> the unit of its frame, upright, rounded half to even and clamped into it.

    `width` and `height` are the stored image's in the unit of x and y. 0 is its left or upper edge and stays 0, `width`
    and `height` are its right and lower edges and become the frame's box_width and box_height.
    """
    if frame.orientation in TURNED_SIDEWAYS:
        x, y, width, height = y, x, height, width
    if frame.orientation in _FLIPPED_HORIZONTALLY:
        x = width - x
    if frame.orientation in _FLIPPED_VERTICALLY:
        y = height - y
    # Multiplied first: with whole numbers the quotient then is a half exactly where it should be.
    return (
        min(max(round(x * frame.box_width / width), 0), frame.box_width),
        min(max(round(y * frame.box_height / height), 0), frame.box_height),
    )


# --- from numbers in the text to numbers in the text ---------------------------------------------------------------


class _Token(NamedTuple):
    """A string, number, word or whole object of JSON, and where it stands."""

    text: str
    start: int
    end: int


_Node = _Token | list["_Node"]  # a list is a JSON array
_Members = tuple[tuple[_Token, _Node], ...]  # of an object


def _rewrite_value(
    key: _Token, value: _Node, members: _Members, mode: BoxMode, frames: Sequence[ImageFrame]
) -> list[tuple[_Token, str]]:
    """The numbers of one bbox_2d or point_2d, each with the digits to write in its place."""
    groups = _number_groups(key, value, frames)
    if not groups:
        return []
    frame = _frame_of(key, members, frames)
    width, height = _stored_sides(mode, frame)
    rewritten: list[tuple[_Token, str]] = []
    for group in groups:
        xs = [_coordinate(key, token, width, mode, frame) for token in group[0::2]]
        ys = [_coordinate(key, token, height, mode, frame) for token in group[1::2]]
        points = [place_point(x, y, width, height, frame) for x, y in zip(xs, ys, strict=True)]
        # A flip makes the right corner the left one, so corners are sorted again.
        corners = zip(*(sorted(numbers) for numbers in zip(*points, strict=True)), strict=True)
        rewritten += zip(group, (str(number) for corner in corners for number in corner), strict=True)
    return rewritten


def _number_groups(key: _Token, value: _Node, frames: Sequence[ImageFrame]) -> list[list[_Token]]:
    """The boxes or points of a value: one, a list of them, or none for null and []."""
    if isinstance(value, _Token) and value.text == "null":
        return []
    wanted = _NUMBERS_OF[key.text]
    groups = []
    for group in _one_or_many(value):
        numbers = [item for item in group if isinstance(item, _Token) and _NUMBER.fullmatch(item.text)]
        if not len(numbers) == len(group) == wanted:
            problem = f"{key.text} must hold {wanted} numbers, or lists of {wanted} numbers"
            raise _error(Reason.BAD_JSON, problem, frames)
        groups.append(numbers)
    return groups


def _one_or_many(value: _Node) -> list[list[_Node]]:
    if isinstance(value, _Token):
        return [[value]]
    nested = [item for item in value if isinstance(item, list)]
    return nested if len(nested) == len(value) else [value]


def _frame_of(key: _Token, members: _Members, frames: Sequence[ImageFrame]) -> ImageFrame:
    """The image that an object speaks of: the only one, or that of its image_index."""
    if not frames:
        raise SampleError(Reason.AMBIGUOUS_BOXES, f"{key.text} in a sample without images")
    indices = [value for name, value in members if name.text == _IMAGE_INDEX]
    if not indices and len(frames) == 1:
        return frames[0]
    if len(indices) != 1:
        raise _error(
            Reason.AMBIGUOUS_BOXES,
            f"an object with {key.text} needs one image_index, from 0 to {len(frames) - 1}; it has {len(indices)}",
            frames,
        )
    [index] = indices
    written = index.text if isinstance(index, _Token) else "an array"
    if not _INTEGER.fullmatch(written) or not 0 <= int(written) < len(frames):
        raise _error(
            Reason.AMBIGUOUS_BOXES,
            f"image_index is {_excerpt(written)}; say a number from 0 to {len(frames) - 1}",
            frames,
        )
    return frames[int(written)]


def _stored_sides(mode: BoxMode, frame: ImageFrame) -> tuple[int, int]:
    """Width and height of the image before its EXIF orientation, in the unit of the annotation."""
    if mode == "relative_1000":
        return _RELATIVE_SIDE, _RELATIVE_SIDE
    return (frame.height, frame.width) if frame.orientation in TURNED_SIDEWAYS else (frame.width, frame.height)


def _error(reason: Reason, detail: str, frames: Sequence[ImageFrame]) -> SampleError:
    """Naming the image where it can only be about one."""
    if len(frames) != 1:
        return SampleError(reason, detail)
    return SampleError(reason, f"{frames[0].name}: {detail}", frames[0].name)


def _coordinate(key: _Token, token: _Token, side: int, mode: BoxMode, frame: ImageFrame) -> float:
    value = float(token.text)  # infinite where it has too many digits
    tolerance = max(side * _TOLERATED_SHARE, _TOLERATED_UNITS)
    if not -tolerance <= value <= side + tolerance:
        raise _error(
            Reason.AMBIGUOUS_BOXES,
            f"{key.text} has {_excerpt(token.text)} where the image ends at {side}; is `boxes: {mode}` right for it?",
            [frame],
        )
    return value


# --- JSON and where its parts stand --------------------------------------------------------------------------------


def _objects(text: str) -> Iterator[_Members]:
    """The members of every JSON object in `text`, at any depth, each after those of the objects inside of it."""
    start = text.find("{")
    while start >= 0:
        try:
            _, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            yield from _objects_of(text, start, end)
        start = text.find("{", end)


def _objects_of(text: str, start: int, end: int) -> Iterator[_Members]:
    """The same for the one JSON value that stands from `start` to `end`."""
    opened: list[tuple[int, list[_Node]]] = [(start, [])]  # where, and what stands in it so far
    for match in _TOKEN.finditer(text, start, end):
        word = match[0]
        if word in "{[":
            opened.append((match.start(), []))
        elif word == "]":
            _, items = opened.pop()
            opened[-1][1].append(items)
        elif word == "}":
            opening, items = opened.pop()
            opened[-1][1].append(_Token("an object", opening, match.end()))
            keys = (item for item in items[::2] if isinstance(item, _Token))
            yield tuple(zip(keys, items[1::2], strict=True))
        elif word not in ",:":
            opened[-1][1].append(_Token(word, match.start(), match.end()))


def _excerpt(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
