"""Boxes follow the pixels: coordinates in answers, rewritten to the unit of the model's family, most often pixels of
the resized image. Pure functions over text and integers.

    {"bbox_2d": [10, 20.5, 30, 40], "label": "cat"}          an answer about an image of 100 x 200 pixels
    {"bbox_2d": [28, 57, 84, 112], "label": "cat"}           the same when that image is resized to 280 x 560

Every JSON value in an answer counts, whether it is the whole answer or stands in prose or a code fence. In it
`bbox_2d` or `bbox` is [x1, y1, x2, y2] or a list of such boxes, and `point_2d` or `points` is [x, y] or a list of such
points. So do <|box_start|>(x1,y1),(x2,y2)<|box_end|> and <box>[[x1, y1, x2, y2]]</box>. Only their
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
from preprocess.sample import BoxMode, Note, PlacedBox, Turn

BOX_TAG = "<bbox>"  # stands for a `PlacedBox`
_NUMBERS_OF = {'"bbox_2d"': 4, '"bbox"': 4, '"point_2d"': 2, '"points"': 2}  # by key, as it stands in the text
_PLAIN_WORDS = {'"bbox"', '"points"'}  # which may have other values than lists: they say no places then
_IMAGE_INDEX = '"image_index"'
_RELATIVE_SIDE = 1000
_TOLERATED_SHARE, _TOLERATED_UNITS = 0.01, 1  # of a side, at least: so far outside, a box was rounded or drawn loosely
_FLIPPED_HORIZONTALLY, _FLIPPED_VERTICALLY = {2, 3, 6, 7}, {3, 4, 7, 8}  # EXIF orientations, after turning sideways

_MENTION = re.compile(r"bbox|point_2d|points|<box>|<\|box_start\|>")
_KEY_WITH_NUMBERS = re.compile(
    r"""["'](?:(?:bbox_2d|point_2d)\\*["']\s*:|(?:bbox|points)\\*["']\s*:\s*[\[(])[\s\[(]*[-+.]?\d"""
)
_MARKED = re.compile(r"(<\|box_start\|>)([^<]*)<\|box_end\|>|(<box>)([^<]*)</box>")
_OPENED = re.compile(r"<\|box_start\|>[\s\[(]*[-+.]?\d|<box>\s*[\[(][\s\[(]*[-+.]?\d")
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]|[^{}\[\]:,"\s]+', re.DOTALL)  # of text known to be JSON
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_BETWEEN = r"[\s\[\](),]"
_NUMBERS = re.compile(rf"{_BETWEEN}*{_NUMBER.pattern}(?:{_BETWEEN}+{_NUMBER.pattern})*{_BETWEEN}*")
_INTEGER = re.compile(r"-?\d{1,9}")
# Numbers stay text: an integer of 5,000 digits is legal, and `int` refuses it.
_DECODER = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)


class SeenBox(NamedTuple):
    image: int  # which one of the sample
    numbers: tuple[float, ...]  # x1, y1, x2, y2, or x, y
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFrame:
    """What moves the coordinates of one image. Sizes in pixels, upright (after the EXIF orientation)."""

    name: str  # of the file, for messages
    height: int
    width: int
    orientation: int  # EXIF, 1 to 8
    box_height: int  # what the lower edge becomes: pixels of the resized image, or a family's own unit
    box_width: int  # what the right edge becomes


def rewrite_answers(
    turns: Sequence[Turn], mode: BoxMode, frames: Sequence[ImageFrame], placed: Sequence[PlacedBox] = ()
) -> tuple[Turn, ...]:
    """The turns with the boxes of every answer rewritten; `frames` are those of the sample's images.

    Each of `placed` comes in the place of a <bbox>, in questions too.

    Raises SampleError (ambiguous_boxes, bad_json) naming the turn, and the image where it is clear which one is meant.
    """
    if mode == "none":
        return tuple(turns)
    rewritten = tuple(
        replace(turn, text=_rewrite_turn(number, turn.text, mode, frames)) if turn.role == "assistant" else turn
        for number, turn in enumerate(turns)
    )
    if not placed:
        return rewritten
    left = iter([_spell_placed(box, mode, frames) for box in placed])
    return tuple(replace(turn, text=re.sub(BOX_TAG, lambda _: next(left), turn.text)) for turn in rewritten)


def box_notes(turns: Sequence[Turn], mode: BoxMode, num_placed: int) -> dict[Note, int]:
    """What the run should say of the boxes in a sample; `num_placed` are those beside its turns."""
    answers = [turn.text for turn in turns if turn.role == "assistant"]
    counts = [_count_boxes(text) for text in answers]
    is_placed = [num_placed > 0 and BOX_TAG in text for text in answers]
    num_answers = sum(placed or count > 0 for placed, count in zip(is_placed, counts, strict=True))
    if mode == "none":
        return {"boxes_left_alone": num_answers} if num_answers else {}
    if not num_answers and not num_placed:
        return {"samples_without_boxes": 1}
    return {"answers_with_boxes": num_answers, "boxes_rewritten": sum(counts) + num_placed}


def _count_boxes(text: str) -> int:
    if not _MENTION.search(text):
        return 0
    try:
        return len(_find_boxes(text, ()))
    except SampleError:
        return 1  # malformed ones: where `boxes` is set, they are rejects


def _rewrite_turn(number: int, text: str, mode: BoxMode, frames: Sequence[ImageFrame]) -> str:
    try:
        return rewrite_boxes(text, mode, frames)
    except SampleError as error:
        raise SampleError(error.reason, f"turn {number}: {error.detail}", error.medium) from None


def rewrite_boxes(text: str, mode: BoxMode, frames: Sequence[ImageFrame]) -> str:
    """`text` with every box and point in the unit of its frame. Raises SampleError."""
    if mode == "none" or not _MENTION.search(text):
        return text
    rewritten: list[tuple[_Token, str]] = []
    for found in _find_boxes(text, frames):
        frame = _frame_of(found.key, found.members, frames)
        width, height = _stored_sides(mode, frame)
        rewritten += _rewrite_group(found.key, found.numbers, width, height, mode, frame)
    pieces, done = [], 0
    for token, digits in sorted(rewritten, key=lambda pair: pair[0].start):
        pieces += [text[done : token.start], digits]
        done = token.end
    return "".join(pieces) + text[done:]


def boxes_in(text: str, num_images: int) -> list[SeenBox]:
    """What a text says of places, in the unit that it says it in; for drawing, so what is malformed is left out."""
    if not _MENTION.search(text):
        return []
    try:
        found = _find_boxes(text, ())
    except SampleError:
        return []
    seen = []
    for _, numbers, members in found:
        values = {name.text: value for name, value in members or ()}
        index, label = values.get(_IMAGE_INDEX), values.get('"label"')
        written = index.text if isinstance(index, _Token) else "0" if num_images == 1 else ""
        if _INTEGER.fullmatch(written) and 0 <= int(written) < num_images:
            said = (
                json.loads(label.text, strict=False) if isinstance(label, _Token) and label.text.startswith('"') else ""
            )
            seen.append(SeenBox(int(written), tuple(float(number.text) for number in numbers), said))
    return seen


def _find_boxes(text: str, frames: Sequence[ImageFrame]) -> list[_Found]:
    """Every box and point in an answer. Raises SampleError where numbers that look like one are none."""
    found = []
    understood: set[int] = set()  # where the keys start whose values were looked at
    for members in _objects(text):
        for key, value in members:
            if key.text in _NUMBERS_OF:
                understood.add(key.start)
                found += [_Found(key, group, members) for group in _number_groups(key, value, frames)]
    for match in _KEY_WITH_NUMBERS.finditer(text):
        if match.start() not in understood:
            excerpt = _excerpt(text[match.start() :])
            raise _error(Reason.BAD_JSON, f"{excerpt} stands in no JSON object that parses; mend it", frames)
    return found + _find_marked(text, frames)


def _find_marked(text: str, frames: Sequence[ImageFrame]) -> list[_Found]:
    """Those between <|box_start|> and <|box_end|>, or <box> and </box>: corners in turn, or one point."""
    found = []
    understood: set[int] = set()
    for match in _MARKED.finditer(text):
        mark = 1 if match[1] else 3
        if not _NUMBERS.fullmatch(match[mark + 1]):
            continue
        numbers = [
            _Token(number[0], number.start(), number.end())
            for number in _NUMBER.finditer(text, match.start(mark + 1), match.end(mark + 1))
        ]
        wanted = 2 if len(numbers) == 2 else 4
        if len(numbers) % wanted:
            raise _error(Reason.BAD_JSON, f"{_excerpt(match[0])} must hold 4 numbers a box, or 2 of a point", frames)
        understood.add(match.start())
        key = _Token(match[mark], match.start(), match.end(mark))
        found += [_Found(key, numbers[n : n + wanted], None) for n in range(0, len(numbers), wanted)]
    for match in _OPENED.finditer(text):
        if match.start() not in understood:
            raise _error(Reason.BAD_JSON, f"{_excerpt(text[match.start() :])} is no box; mend it", frames)
    return found


def _spell_placed(box: PlacedBox, mode: BoxMode, frames: Sequence[ImageFrame]) -> str:
    """[x1, y1, x2, y2], or [x, y]"""
    key = _Token(BOX_TAG, 0, 0)
    if box.image < 0:
        frame = _frame_of(key, None, frames)
    elif box.image < len(frames):
        frame = frames[box.image]
    else:
        raise SampleError(Reason.AMBIGUOUS_BOXES, f"{BOX_TAG} is of image {box.image}; the sample has {len(frames)}")
    width, height = (box.width, box.height) if box.width else _stored_sides("original", frame)
    numbers = [_Token(repr(number), 0, 0) for number in box.numbers]
    return f"[{', '.join(digits for _, digits in _rewrite_group(key, numbers, width, height, mode, frame))}]"


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


class _Found(NamedTuple):
    """The numbers of a box or point, what they stand under, and the JSON object that it is in."""

    key: _Token
    numbers: list[_Token]
    members: _Members | None


def _rewrite_group(
    key: _Token, group: Sequence[_Token], width: float, height: float, mode: BoxMode, frame: ImageFrame
) -> list[tuple[_Token, str]]:
    """The numbers of one box or point, each with the digits to write in its place."""
    xs = [_coordinate(key, token, width, mode, frame) for token in group[0::2]]
    ys = [_coordinate(key, token, height, mode, frame) for token in group[1::2]]
    points = [place_point(x, y, width, height, frame) for x, y in zip(xs, ys, strict=True)]
    # A flip makes the right corner the left one, so corners are sorted again.
    corners = zip(*(sorted(numbers) for numbers in zip(*points, strict=True)), strict=True)
    return list(zip(group, (str(number) for corner in corners for number in corner), strict=True))


def _number_groups(key: _Token, value: _Node, frames: Sequence[ImageFrame]) -> list[list[_Token]]:
    """The boxes or points of a value: one, a list of them, or none for null and []."""
    if isinstance(value, _Token) and (value.text == "null" or key.text in _PLAIN_WORDS):
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


def _frame_of(key: _Token, members: _Members | None, frames: Sequence[ImageFrame]) -> ImageFrame:
    """The image that an object speaks of: the only one, or that of its image_index."""
    if not frames:
        raise SampleError(Reason.AMBIGUOUS_BOXES, f"{key.text} in a sample without images")
    indices = [value for name, value in members or () if name.text == _IMAGE_INDEX]
    if not indices and len(frames) == 1:
        return frames[0]
    if members is None:
        raise _error(Reason.AMBIGUOUS_BOXES, f"{key.text} can't say which of {len(frames)} images it is about", frames)
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


def _coordinate(key: _Token, token: _Token, side: float, mode: BoxMode, frame: ImageFrame) -> float:
    value = float(token.text)  # infinite where it has too many digits
    tolerance = max(side * _TOLERATED_SHARE, _TOLERATED_UNITS)
    if not -tolerance <= value <= side + tolerance:
        raise _error(
            Reason.AMBIGUOUS_BOXES,
            f"{key.text} has {_excerpt(token.text)} where the image ends at {side:g}; is `boxes: {mode}` right for it?",
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
