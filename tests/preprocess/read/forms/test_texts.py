"""Pairs in `texts`: turns of one conversation, with the media before the first question."""

from __future__ import annotations

import json
from typing import Any

import pytest

from preprocess.errors import Reason
from tests.preprocess.read.forms.reading import qwen, read, reject, sample

TEXTS = [
    {"user": "Which letter?\n", "assistant": "A.", "source": "ai2d"},
    {"user": "Sure?", "assistant": "Yes.", "source": "ai2d"},
]


def test_images_stand_before_the_first_question() -> None:
    record = {"images": ["a.png", "b.png"], "texts": TEXTS, "relevance_ratings": [5.0]}
    same = qwen("<image><image>Which letter?\n", "A.", "Sure?", "Yes.", images=["a.png", "b.png"])
    assert sample(record) == sample(same)
    assert read(record).ignored_keys == ("relevance_ratings", "turn.source", "turn.source")
    assert sample({**record, "texts": json.dumps(TEXTS)}) == sample(same)


def test_a_record_without_images_is_text() -> None:
    for images in (None, []):
        assert sample({"images": images, "texts": TEXTS[:1]}) == sample(qwen("Which letter?\n", "A."))


def test_tags_count_where_there_are_some() -> None:
    record = {"images": ["a.png"], "texts": [{"user": "See <image>?", "assistant": "Yes."}]}
    assert sample(record) == sample(qwen("See <image>?", "Yes.", image="a.png"))
    assert reject({**record, "images": ["a.png", "b.png"]}).reason is Reason.TAG_COUNT


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ("x", "'texts' must be a list, not a string"),
        (["x"], "texts[0] must be an object, not a string"),
        ([*TEXTS, {"user": "Hi"}], "texts[2] needs strings in user and assistant; it has a string and nothing"),
        ([{"user": "\ud800", "assistant": ""}], "texts[0] holds half a surrogate pair"),
    ],
)
def test_wrong_values_are_named(texts: Any, said: str) -> None:
    error = reject({"texts": texts})
    assert error.reason is Reason.BAD_JSON
    assert said in error.detail
