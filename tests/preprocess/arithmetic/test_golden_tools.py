"""Conversations with tools are the text that Qwen2.5's template renders; calls are learned, results are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from demo_build import Demo

from preprocess.arithmetic.chat import ChatEncoder
from preprocess.arithmetic.tokenizer import load_tokenizer
from preprocess.arithmetic.tools import spell_tools
from preprocess.read.records import parse_record
from preprocess.read.registry import Dataset
from preprocess.sample import Turn
from shards import IGNORE_INDEX, ModelConstants
from tests.preprocess.golden import read_golden

CASES: dict[str, Any] = read_golden("tools.json")["cases"]


def turns_of(case: dict[str, Any]) -> tuple[Turn, ...]:
    dataset = Dataset(name="golden", annotation_path=Path("/golden.json"), data_path=None)
    return parse_record({key: value for key, value in case.items() if key != "text"}, dataset, 0, None).turns


def rendered(turns: Any) -> str:
    return "".join(f"<|im_start|>{turn.role}\n{turn.text}<|im_end|>\n" for turn in turns)


@pytest.mark.parametrize("name", CASES)
def test_the_text_is_that_of_the_template(name: str) -> None:
    spelled = spell_tools(turns_of(CASES[name]))
    assert rendered(spelled) == CASES[name]["text"]
    assert [turn.role for turn in spelled][1:] == ["user", "assistant"] * (len(spelled) // 2)


@pytest.mark.parametrize("name", CASES)
def test_answers_and_calls_are_learned_and_nothing_else(name: str, demo: Demo, constants: ModelConstants) -> None:
    tokenizer = load_tokenizer(demo.model / "tokenizer.json")
    turns = turns_of(CASES[name])
    encoded = ChatEncoder(tokenizer, constants).encode(turns)
    learned = tokenizer.decode(encoded.labels[encoded.labels != IGNORE_INDEX].tolist(), skip_special_tokens=False)
    assert tokenizer.decode(encoded.input_ids.tolist(), skip_special_tokens=False) == CASES[name]["text"]
    answers = [part.partition("<|im_end|>")[0] for part in CASES[name]["text"].split("<|im_start|>assistant\n")[1:]]
    assert learned == "".join(f"{answer}<|im_end|>\n" for answer in answers)


def test_without_tools_turns_stay_the_same_object() -> None:
    turns = (Turn(role="user", text="Hi"), Turn(role="assistant", text="Yes."))
    assert spell_tools(turns) is turns


def test_tools_stand_alone_where_there_is_no_system_turn() -> None:
    [first, *_] = spell_tools([Turn(role="tools", text="{}"), Turn(role="user", text="Hi")])
    assert first.role == "system"
    assert first.text.startswith("# Tools\n\nYou may call")
