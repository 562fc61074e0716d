"""The rules of boxes: which numbers of an answer change, and to what; nothing but their digits does."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.arithmetic.boxes import ImageFrame, rewrite_answers, rewrite_boxes
from preprocess.errors import Reason, SampleError
from preprocess.sample import BoxMode, Turn

# 100 x 200 stored pixels, upright, to 280 x 560
FRAME = ImageFrame(name="a.png", height=200, width=100, orientation=1, box_height=560, box_width=280)
SAME_SIZE = ImageFrame(name="a.png", height=84, width=112, orientation=1, box_height=84, box_width=112)


def rewrite(text: str, mode: BoxMode = "original", frames: Sequence[ImageFrame] = (FRAME,)) -> str:
    return rewrite_boxes(text, mode, frames)


def rejection(text: str, mode: BoxMode = "original", frames: Sequence[ImageFrame] = (FRAME,)) -> tuple[Reason, str]:
    with pytest.raises(SampleError) as caught:
        rewrite_boxes(text, mode, frames)
    return caught.value.reason, caught.value.detail


# --- the numbers ---------------------------------------------------------------------------------------------------


@given(
    size=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    grid=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    shares=st.lists(st.fractions(0, 1), min_size=4, max_size=4),
)
def test_numbers_are_those_of_the_qwen_notebook_but_for_the_far_edge(
    size: tuple[int, int], grid: tuple[int, int], shares: list[Fraction]
) -> None:
    """QwenLM/Qwen2.5-VL, `convert_to_qwen25vl_format`: round(x * scale), clamped to width - 1. Here: to width."""
    (width, height), (new_width, new_height) = size, (28 * grid[0], 28 * grid[1])
    x1, x2 = sorted(round(share * width) for share in shares[:2])
    y1, y2 = sorted(round(share * height) for share in shares[2:])
    frame = ImageFrame(
        name="a.png", height=height, width=width, orientation=1, box_height=new_height, box_width=new_width
    )
    rewritten = json.loads(rewrite(json.dumps({"bbox_2d": [x1, y1, x2, y2]}), frames=[frame]))["bbox_2d"]
    for number, old, side, new_side in zip(
        rewritten, (x1, y1, x2, y2), (width, height) * 2, (new_width, new_height) * 2, strict=True
    ):
        assert min(number, new_side - 1) == min(round(Fraction(old * new_side, side)), new_side - 1)
        assert number <= new_side
        assert (number == new_side) >= (old == side)


@pytest.mark.parametrize(
    ("mode", "written", "expected"),
    [
        ("original", "[0, 0, 100, 200]", "[0, 0, 280, 560]"),
        ("relative_1000", "[0, 0, 1000, 1000]", "[0, 0, 280, 560]"),
        ("relative_1000", "[500, 500, 250, 750]", "[70, 280, 140, 420]"),
        ("original", "[10.5, 1e1, 20.25, 3.0E+1]", "[29, 28, 57, 84]"),
        ("original", "[-0.6, -2, 101, 201.9]", "[0, 0, 280, 560]"),
        ("relative_1000", "[-9, -0, 1009.5, 1e3]", "[0, 0, 280, 560]"),
        ("none", "[1, 2, 3, 9999]", "[1, 2, 3, 9999]"),
    ],
)
def test_box(mode: BoxMode, written: str, expected: str) -> None:
    assert rewrite(f'{{"bbox_2d": {written}}}', mode) == f'{{"bbox_2d": {expected}}}'


def test_halves_are_rounded_to_even() -> None:
    half = replace(FRAME, box_width=50, box_height=100)
    assert rewrite('{"bbox_2d": [1, 3, 5, 7]}', frames=[half]) == '{"bbox_2d": [0, 2, 2, 4]}'


def test_a_flip_sorts_the_corners_again() -> None:
    turned = ImageFrame(name="a.png", height=100, width=200, orientation=7, box_height=100, box_width=200)
    assert rewrite('{"bbox_2d": [1, 2, 30, 40]}', frames=[turned]) == '{"bbox_2d": [160, 70, 198, 99]}'
    assert rewrite('{"point_2d": [1, 2]}', frames=[turned]) == '{"point_2d": [198, 99]}'


@given(st.data())
def test_nothing_changes_where_the_size_stays(data: st.DataObject) -> None:
    x1, x2 = sorted(data.draw(st.tuples(st.integers(0, 112), st.integers(0, 112))))
    y1, y2 = sorted(data.draw(st.tuples(st.integers(0, 84), st.integers(0, 84))))
    text = f'{{"bbox_2d":[{x1},{y1} , {x2},{y2}],"point_2d": [ {x1},{y2}]}}'
    assert rewrite(text, frames=[SAME_SIZE]) == text


# --- the text ------------------------------------------------------------------------------------------------------

coordinates = st.integers(0, 100) | st.integers(0, 400).map(lambda quarters: quarters / 4)
boxes = st.lists(coordinates, min_size=4, max_size=4)
points = st.lists(coordinates, min_size=2, max_size=2)
others = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.sampled_from(["bbox_2d: [1, 2, 3, 4]", "{[", '"', "\\", "\n", "bbox_2d", "盒", '{"a": 1}']),
    boxes,
)
box_members = st.fixed_dictionaries(
    {}, optional={"bbox_2d": boxes | st.lists(boxes), "point_2d": points | st.lists(points) | st.none()}
)
objects = st.recursive(
    st.builds(lambda more, some: {**more, **some}, st.dictionaries(st.text(), others, max_size=2), box_members),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "objects"]), inner),
    max_leaves=6,
)
prose = st.sampled_from(
    ["", "Here: ", "```json\n", "\n```", "[1] {not json} ", 'the "bbox_2d" [0, 0] {', "盒子", "]} "]
)


def moved(value: Any, key: str = "") -> Any:
    """The same JSON value about the image resized as FRAME says."""
    if isinstance(value, dict):
        return {name: moved(inner, name) for name, inner in value.items()}
    if not isinstance(value, list):
        return value
    if key not in ("bbox_2d", "point_2d") or not value or isinstance(value[0], list):
        return [moved(inner, key) for inner in value]
    xs, ys = (sorted(round(Fraction(number) * 14 / 5) for number in value[n::2]) for n in (0, 1))
    return [number for corner in zip(xs, ys, strict=True) for number in corner]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(prose, objects, prose), min_size=1, max_size=3), st.sampled_from([None, 1, "\t"]), st.booleans()
)
def test_only_the_numbers_of_boxes_change(parts: list[tuple[str, Any, str]], indent: Any, ascii_only: bool) -> None:
    def written(change: Callable[[Any], Any]) -> str:
        return "".join(
            before + json.dumps(change(value), indent=indent, ensure_ascii=ascii_only) + after
            for before, value, after in parts
        )

    assert rewrite(written(lambda value: value)) == written(moved)


def test_every_json_value_of_an_answer_counts() -> None:
    answer = """Two things: {"bbox_2d": [10, 20, 30, 40]} and, in a list,
```json
[
\t{"label": "cat [1, 2]", "bbox_2d": [10,20,30.0,40], "size": [10, 20, 30, 40]},
\t{"objects": {"a": {"point_2d":[[1,2] ,[3,4]]}}, "bbox_2d": [[1, 2, 3, 4], [5, 6, 7, 8]], "n": 10}
]
```
The "bbox_2d" of 10 [20] is bbox_2d: [10, 20, 30, 40]; write it as {"bbox_2d": [x1, y1, x2, y2]}."""
    expected = """Two things: {"bbox_2d": [28, 56, 84, 112]} and, in a list,
```json
[
\t{"label": "cat [1, 2]", "bbox_2d": [28,56,84,112], "size": [10, 20, 30, 40]},
\t{"objects": {"a": {"point_2d":[[3,6] ,[8,11]]}}, "bbox_2d": [[3, 6, 8, 11], [14, 17, 20, 22]], "n": 10}
]
```
The "bbox_2d" of 10 [20] is bbox_2d: [10, 20, 30, 40]; write it as {"bbox_2d": [x1, y1, x2, y2]}."""
    assert rewrite(answer) == expected


@pytest.mark.parametrize(
    "text",
    [
        "no box at all",
        "",
        '{"bbox": [10, 20, 30, 40]}',
        '{"bbox_2d": []}',
        '{"bbox_2d": null, "point_2d": []}',
        '{"label": "bbox_2d"}',
        '["bbox_2d", 10, 20, 30, 40]',
        "bbox_2d = [10, 20, 30, 40]",
        'Say "bbox_2d": [x1, y1, x2, y2].',
    ],
)
@pytest.mark.parametrize("frames", [(), (FRAME,), (FRAME, FRAME)])
def test_text_without_numbers_to_place_is_left_alone(text: str, frames: Sequence[ImageFrame]) -> None:
    assert rewrite(text, frames=frames) == text


def test_a_label_may_hold_a_bare_line_break() -> None:
    text = '{"label": "two\nlines", "bbox_2d": [10, 20, 30, 40]}'
    assert rewrite(text) == text.replace("[10, 20, 30, 40]", "[28, 56, 84, 112]")


def test_answers_change_and_questions_do_not() -> None:
    box, moved = '{"bbox_2d": [10, 20, 30, 40]}', '{"bbox_2d": [28, 56, 84, 112]}'
    roles: list[Any] = ["system", "user", "assistant", "user", "assistant"]
    turns = rewrite_answers([Turn(role=role, text=box) for role in roles], "original", [FRAME])
    assert [(turn.role, turn.text) for turn in turns] == [
        (role, moved if role == "assistant" else box) for role in roles
    ]


def test_hostile_text_costs_little() -> None:
    box = '{"bbox_2d": [10, 20, 30, 40]}'
    deep = '{"a":[' * 1500
    assert rewrite(deep + box) == deep + '{"bbox_2d": [28, 56, 84, 112]}'
    long = f'{{"bbox_2d": [10, 20, 30, 40], "n": {"9" * 5000}}}'
    assert rewrite(long) == long.replace("[10, 20, 30, 40]", "[28, 56, 84, 112]")
    assert rewrite("{" * 10_000 + box).endswith("[28, 56, 84, 112]}")


# --- several images ------------------------------------------------------------------------------------------------


def test_image_index_chooses_the_image() -> None:
    inner = '{"image_index": 0, "o": {"image_index":1,"point_2d": [5, 6]}}'
    text = f'[{{"bbox_2d": [1, 2, 3, 4], "image_index": 0}}, {inner}]'
    assert rewrite(text, frames=[FRAME, SAME_SIZE]) == text.replace("[1, 2, 3, 4]", "[3, 6, 8, 11]")
    assert rewrite(text, frames=[SAME_SIZE, FRAME]) == text.replace("[5, 6]", "[14, 17]")


def test_the_only_image_may_be_named() -> None:
    assert rewrite('{"bbox_2d": [1, 2, 3, 4], "image_index": 0}') == '{"bbox_2d": [3, 6, 8, 11], "image_index": 0}'


@pytest.mark.parametrize(
    ("text", "num_images", "detail"),
    [
        ('{"bbox_2d": [1, 2, 3, 4]}', 0, "without images"),
        ('{"point_2d": [1, 2], "image_index": 0}', 0, "without images"),
        ('{"bbox_2d": [1, 2, 3, 4]}', 2, "needs one image_index, from 0 to 1; it has 0"),
        ('{"image_index": 0, "object": {"bbox_2d": [1, 2, 3, 4]}}', 2, "it has 0"),
        ('{"image_index": 0, "bbox_2d": [1, 2, 3, 4], "image_index": 1}', 2, "it has 2"),
        ('{"bbox_2d": [1, 2, 3, 4], "image_index": 2}', 2, "image_index is 2; say a number from 0 to 1"),
        ('{"bbox_2d": [1, 2, 3, 4], "image_index": -1}', 2, "image_index is -1"),
        ('{"bbox_2d": [1, 2, 3, 4], "image_index": 1}', 1, "from 0 to 0"),
        ('{"bbox_2d": [1, 2, 3, 4], "image_index": "0"}', 2, 'image_index is "0"'),
        ('{"bbox_2d": [1, 2, 3, 4], "image_index": 1.0}', 2, "image_index is 1.0"),
        ('{"bbox_2d": [1, 2, 3, 4], "image_index": null}', 2, "image_index is null"),
        ('{"bbox_2d": [1, 2, 3, 4], "image_index": [0]}', 2, "image_index is an array"),
        ('{"bbox_2d": [1, 2, 3, 4], "image_index": ' + "9" * 5000 + "}", 2, "image_index is 999"),
        ('[{"bbox_2d": [1, 2, 3, 4], "image_index": 0}, {"bbox_2d": [1, 2, 3, 4]}]', 2, "it has 0"),
    ],
)
def test_box_of_no_certain_image(text: str, num_images: int, detail: str) -> None:
    reason, said = rejection(text, frames=[FRAME] * num_images)
    assert reason is Reason.AMBIGUOUS_BOXES
    assert detail in said


@pytest.mark.parametrize(
    ("mode", "numbers", "where"),
    [
        ("original", "[10, 20, 102.1, 40]", "102.1 where the image ends at 100"),
        ("original", "[10, 20, 30, 203]", "203 where the image ends at 200"),
        ("original", "[-1.1, 20, 30, 40]", "-1.1"),
        ("original", "[1, 2, 3, 1e999]", "1e999"),
        ("relative_1000", "[0, 0, 1011, 5]", "1011 where the image ends at 1000; is `boxes: relative_1000` right"),
        ("relative_1000", "[0, -11, 5, 5]", "-11"),
    ],
)
def test_box_outside_its_image(mode: BoxMode, numbers: str, where: str) -> None:
    reason, detail = rejection(f'{{"bbox_2d": {numbers}}}', mode)
    assert reason is Reason.AMBIGUOUS_BOXES
    assert where in detail


@pytest.mark.parametrize(
    "value",
    [
        "[1, 2, 3]",
        "[1, 2, 3, 4, 5]",
        '[1, 2, 3, 4, "x"]',
        '[1, 2, 3, "4"]',
        '"1, 2, 3, 4"',
        "[NaN, 2, 3, 4]",
        "[true, 2, 3, 4]",
        "[null, null, null, null]",
        "[[1, 2, 3, 4], [5, 6, 7]]",
        "[[1, 2, 3, 4], 5]",
        "[[1, 2], [3, 4]]",
        "[[[1, 2, 3, 4]]]",
        "[{}, 2, 3, 4]",
        '{"x1": 1}',
        "7",
    ],
)
def test_malformed_box(value: str) -> None:
    reason, detail = rejection(f'{{"bbox_2d": {value}}}')
    assert reason is Reason.BAD_JSON
    assert '"bbox_2d" must hold 4 numbers' in detail


@pytest.mark.parametrize(
    "text",
    [
        '[{"bbox_2d": [1, 2, 3, 4]}, {"bbox_2d": [1, 2, 3',
        '{"bbox_2d": [1, 2, 3, 4],}',
        "{'bbox_2d': [1, 2, 3, 4]}",
        '"bbox_2d": [[1, 2, 3, 4]]',
        '{"bbox_2d": [1 2 3 4]}',
        '{"point_2d": (1, 2)}',
        '{"arguments": "{\\"bbox_2d\\": [1, 2, 3, 4]}"}',
    ],
)
def test_numbers_that_no_json_object_holds_are_not_left_behind(text: str) -> None:
    reason, detail = rejection(text)
    assert reason is Reason.BAD_JSON
    assert "stands in no JSON object" in detail


@pytest.mark.parametrize(
    ("box", "num_images", "said"),
    [
        ('{"bbox_2d": [900, 2, 3, 4]}', 1, "turn 1: a.png: "),
        ('{"bbox_2d": [1, 2, 3, 4], "image_index": 1}', 1, "turn 1: a.png: image_index is 1"),
        ('{"bbox_2d": [1, 2, 3]}', 1, "turn 1: a.png: "),
        ('{"bbox_2d": [1, 2, 3', 1, "turn 1: a.png: "),
        ('{"bbox_2d": [900, 2, 3, 4], "image_index": 1}', 2, "turn 1: b.png: "),
        ('{"bbox_2d": [900, 2, 3, 4]}', 2, 'turn 1: an object with "bbox_2d" needs'),
        ('{"bbox_2d": [1, 2, 3]}', 2, 'turn 1: "bbox_2d" must hold'),
    ],
)
def test_a_rejected_box_names_its_image_where_that_is_clear(box: str, num_images: int, said: str) -> None:
    frames = [FRAME, replace(FRAME, name="b.png")][:num_images]
    with pytest.raises(SampleError) as raised:
        rewrite_answers([Turn(role="user", text="?"), Turn(role="assistant", text=box)], "original", frames)
    assert raised.value.detail.startswith(said)


def test_a_rejected_answer_is_named() -> None:
    turns = [Turn(role="user", text="?"), Turn(role="assistant", text='{"bbox_2d": [1]}')]
    with pytest.raises(SampleError, match="turn 1: "):
        rewrite_answers(turns, "original", [FRAME])
