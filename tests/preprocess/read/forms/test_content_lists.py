"""Contents that are lists of parts equal the same conversation with tags in its text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preprocess.errors import Reason
from preprocess.read.formats.parquet_records import ParquetRows
from tests.preprocess.read.forms.reading import messages, qwen, read, reject, sample

COLOUR = {"type": "text", "text": "What colour?"}
RED = [{"type": "text", "text": "Red."}]
ONE = qwen("<image>What colour?", "Red.", image="a.png")

IN_PLACE = {
    "image": {"type": "image", "image": "a.png"},
    "image_url as an object": {"type": "image_url", "image_url": {"url": "a.png", "detail": "low"}},
    "image_url as a text": {"type": "image_url", "image_url": "a.png"},
    "url": {"type": "image", "url": "a.png"},
    "path": {"type": "image", "path": "a.png"},
    "no type": {"image": "a.png"},
    "all keys of a table": {"type": "image", "image": "a.png", "text": None, "video": None},
}


@pytest.mark.parametrize("part", IN_PLACE.values(), ids=IN_PLACE)
def test_a_part_may_name_its_medium(part: dict[str, Any]) -> None:
    assert sample(messages([part, COLOUR], RED)) == sample(ONE)


@pytest.mark.parametrize("part", [{"type": "image"}, {"type": "image", "image": None}, {"type": "image", "image": ""}])
def test_a_part_without_a_medium_takes_the_next_of_the_record(part: dict[str, Any]) -> None:
    assert sample(messages([part, COLOUR], "Red.", images=["a.png"])) == sample(ONE)


def test_texts_and_media_stay_in_their_order() -> None:
    content = [
        {"type": "text", "text": "First "},
        {"type": "video", "video": "v.mp4"},
        {"type": "text", "text": "then "},
        {"type": "image", "image": "own.png"},
        {"type": "image"},
        {"type": "text", "text": " and <image>?\n"},
    ]
    record = messages(content, "Yes.", "And <image>?", "No.", images=["a.png", "b.png", "c.png"])
    text = "First <video>then <image><image> and <image>?\n"
    images = ["own.png", "a.png", "b.png", "c.png"]
    assert sample(record) == sample(qwen(text, "Yes.", "And <image>?", "No.", images=images, video="v.mp4"))


def test_a_system_turn_may_be_a_list_too() -> None:
    record = messages([{"type": "image", "image": "a.png"}, COLOUR], RED)
    record["messages"].insert(0, {"role": "system", "content": [{"type": "text", "text": "Be brief."}]})
    assert sample(record) == sample(qwen("<image>What colour?", "Red.", system="Be brief.", image="a.png"))


@pytest.mark.parametrize("key", ["messages", "conversations"])
def test_turns_and_media_may_stand_in_a_table_as_json(key: str) -> None:
    turns = messages([{"type": "image"}, COLOUR], RED)["messages"]
    assert sample({key: json.dumps(turns), "images": json.dumps(["a.png"])}) == sample(ONE)


def test_a_content_may_stand_in_a_table_as_json() -> None:
    record = messages(json.dumps([{"type": "image", "image": "a.png"}, COLOUR]), json.dumps(RED))
    assert sample(record) == sample(ONE)


@pytest.mark.parametrize(
    "text",
    [
        '[{"bbox_2d": [1, 2, 3, 4], "label": "text"}]',
        '[{"type": "cat", "text": "x"}]',
        '["type"]',
        '[{"type": "text", "text": "x"}, 3]',
        '[] "type"',
        '[{"type": "text"',
    ],
)
def test_an_answer_in_json_stays_text(text: str) -> None:
    assert sample(messages("Find.", text)).turns[1].text == text


def test_nested_structs_of_parquet_are_parts(tmp_path: Path) -> None:
    record = messages([{"type": "image", "image": "a.png"}, COLOUR], RED)
    pq.write_table(pa.Table.from_pylist([record]), tmp_path / "d.parquet")
    [row] = ParquetRows(tmp_path / "d.parquet")
    assert {"type": "image", "image": "a.png", "text": None} in row["messages"][0]["content"]
    assert sample(row) == sample(ONE)


@pytest.mark.parametrize(
    ("content", "reason", "said"),
    [
        ([{"type": "audio", "audio": "a.wav"}], Reason.BAD_JSON, "turn 0 has a part of type 'audio'; known are text,"),
        ([{"type": ["text"]}], Reason.BAD_JSON, "of type"),
        ([{}], Reason.BAD_JSON, "of type None"),
        (["Hi"], Reason.BAD_JSON, "turn 0 has a part that is a string; each must be an object"),
        ([{"type": "text"}], Reason.BAD_JSON, "a text part whose text is nothing"),
        ([{"type": "text", "text": "\ud800"}], Reason.BAD_JSON, "half a surrogate pair"),
        ([{"type": "image", "image": {"bytes": "x"}}], Reason.BAD_JSON, "each image must be a path; one is an object"),
        ([{"type": "image"}], Reason.TAG_COUNT, "1 <image> tags for 0 images"),
        (
            [{"type": "image", "image": "a.png", "resized_height": 784}],
            Reason.UNSUPPORTED,
            "turn 0 says 'resized_height'",
        ),
        ([{"type": "video", "video": "a.mp4", "total_pixels": 9}], Reason.UNSUPPORTED, "'total_pixels'"),
    ],
)
def test_a_wrong_part_is_named(content: Any, reason: Reason, said: str) -> None:
    error = reject(messages(content, "Red."))
    assert error.reason is reason
    assert said in error.detail


def test_a_medium_that_no_part_asks_for_is_one_too_many() -> None:
    error = reject(messages([{"type": "image", "image": "b.png"}], "Red.", images=["a.png"]))
    assert (error.reason, error.detail) == (Reason.TAG_COUNT, "1 <image> tags for 2 images")


def test_an_image_in_an_answer_is_misplaced() -> None:
    assert reject(messages("Hi", [{"type": "image", "image": "a.png"}])).reason is Reason.MISPLACED_TAG


def test_keys_of_turns_and_parts_that_mean_nothing_are_named() -> None:
    record = messages([{"type": "image", "image": "a.png", "alt": "x"}, {**COLOUR, "lang": "en"}], RED, id=1)
    record["messages"][0] |= {"score": 1, "nothing": None}
    assert read(record).ignored_keys == ("id", "turn.score", "part.alt", "part.lang")
