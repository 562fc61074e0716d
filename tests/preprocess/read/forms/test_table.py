"""What is the same in all forms."""

from __future__ import annotations

from typing import Any

import pytest

from preprocess.errors import Reason
from tests.preprocess.read.forms.reading import qwen, reject, sample

RADIOLOGIST = "You are a radiologist. Answer in one word."


@pytest.mark.parametrize("key", ["system", "system_prompt"])
def test_a_system_text_beside_the_turns_is_the_system_turn(key: str) -> None:
    record = qwen("<image>Finding?", "Normal.", images=["a.png"])
    assert sample({**record, key: RADIOLOGIST}) == sample(
        qwen("<image>Finding?", "Normal.", system=RADIOLOGIST, image="a.png")
    )


@pytest.mark.parametrize("nothing", [None, "", []])
def test_an_empty_system_text_is_none(nothing: Any) -> None:
    assert sample({**qwen("Hi", "Yes."), "system": nothing, "system_prompt": ""}) == sample(qwen("Hi", "Yes."))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (qwen("Hi", "Yes.", system="a") | {"system": "b"}, "'system' is given, and the first turn is the system's"),
        (qwen("Hi", "Yes.") | {"system": "a", "system_prompt": "b"}, "both 'system' and 'system_prompt' are given"),
        (qwen("Hi", "Yes.") | {"system": 0.0}, "'system' must be a string, not a number"),
        (qwen("Hi", "Yes.") | {"system_prompt": ["a"]}, "'system_prompt' must be a string, not a list"),
        (qwen("Hi", "Yes.") | {"system": "\ud800"}, "'system' holds half a surrogate pair"),
    ],
)
def test_a_wrong_system_text_is_bad(record: dict[str, Any], said: str) -> None:
    error = reject(record)
    assert error.reason is Reason.BAD_JSON
    assert said in error.detail


def test_a_misspelled_system_is_refused() -> None:
    assert reject(qwen("Hi", "Yes.") | {"sytem": "a"}).reason is Reason.UNKNOWN_KEYS
