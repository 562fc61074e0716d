"""Forms of a question and an answer under keys of their own equal the same conversation in the Qwen form."""

from __future__ import annotations

from typing import Any

import pytest

from preprocess.errors import Reason
from tests.preprocess.read.forms.reading import qwen, read, reject, sample

KEYS = [("prompt", "response"), ("query", "response"), ("instruction", "output"), ("question", "answer")]
MEDIA = {"image": "a.png", "videos": ["b.mp4"]}


@pytest.mark.parametrize(("asked", "answered"), KEYS)
def test_a_question_and_its_answer_are_two_turns(asked: str, answered: str) -> None:
    record = {asked: "<image>What\n<video>? ", answered: " This.", "system": "Be brief.", "id": 1, **MEDIA}
    assert sample(record) == sample(qwen("<image>What\n<video>? ", " This.", system="Be brief.", **MEDIA))
    assert read(record).ignored_keys == ("id",)


@pytest.mark.parametrize(("asked", "answered"), [("query", "response"), ("instruction", "output")])
def test_what_was_said_before_comes_before(asked: str, answered: str) -> None:
    record = {asked: "Two?", answered: "No.", "history": [["<image>One?", "Yes."]], "image": "a.png"}
    assert sample(record) == sample(qwen("<image>One?", "Yes.", "Two?", "No.", image="a.png"))
    for nothing in (None, [], "", "[]"):
        assert sample({asked: "Two?", answered: "No.", "history": nothing}) == sample(qwen("Two?", "No."))


@pytest.mark.parametrize(("extra", "question"), [("3, 4", "Add.\n3, 4"), ("", "Add."), (None, "Add.")])
def test_the_input_stands_below_the_instruction(extra: str | None, question: str) -> None:
    record = {"instruction": "Add.", "input": extra, "output": "7"}
    assert sample(record) == sample(qwen(question, "7"))


def test_of_several_answers_the_first_is_taken_and_the_run_says_so() -> None:
    found = read({"question": "What is it?", "answer": ["A cat.", "A pet."]})
    assert found.sample == sample(qwen("What is it?", "A cat."))
    assert found.notes == ("other_answers",)
    one = read({"question": "What is it?", "answer": ["A cat."]})
    assert (one.sample, one.notes) == (found.sample, ())


def test_an_empty_answer_is_an_answer() -> None:
    assert sample({"prompt": "Hi", "response": ""}) == sample(qwen("Hi", ""))


def test_turns_of_the_qwen_form_win_over_remarks() -> None:
    record = {**qwen("Hi", "Yes."), "question": "What?", "answer": "That.", "texts": [{"user": "x"}], "text": "x"}
    assert sample(record) == sample(qwen("Hi", "Yes."))
    assert read(record).ignored_keys == ("question", "answer", "texts", "text")


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"prompt": ["Hi"], "response": "Yes."}, "'prompt' must be a string, not a list"),
        ({"prompt": "Hi", "response": 5.0}, "'response' must be a string, not a number"),
        ({"question": "Hi", "answer": []}, "the first one is nothing"),
        ({"question": "Hi", "answer": [5.0]}, "the first one is a number"),
        ({"instruction": "Hi", "output": "Yes.", "input": {}}, "'input' must be a string, not an object"),
        ({"query": "Hi", "response": "Yes.", "history": "x"}, "'history' must be a list of pairs, not a string"),
        ({"query": "Hi", "response": "Yes.", "history": [["a"]]}, "'history' has at 0 no pair of strings"),
        ({"query": "Hi", "response": "Yes.", "history": [["a", None]]}, "'history' has at 0 no pair"),
        ({"prompt": "Hi", "response": "\ud800"}, "'response' holds half a surrogate pair"),
        ({"prompt": "Hi", "query": "Ho", "response": "Yes."}, "both prompt and response and query and response"),
    ],
)
def test_wrong_values_are_named(record: dict[str, Any], said: str) -> None:
    error = reject(record)
    assert error.reason is Reason.BAD_JSON
    assert said in error.detail


def test_a_misspelled_key_of_the_form_is_refused() -> None:
    assert reject({"prompt": "Hi", "response": "Yes.", "imgae": "a.png"}).reason is Reason.UNKNOWN_KEYS
    assert reject({"query": "Hi", "response": "Yes.", "hystory": []}).reason is Reason.UNKNOWN_KEYS


def test_a_record_of_no_form_shows_its_keys() -> None:
    error = reject({"caption": "A cat.", "image": "a.png"})
    assert error.reason is Reason.NO_TURNS
    assert "its keys are 'caption', 'image'" in error.detail
    long = reject({f"k{number}" * 1000: 0 for number in range(100)})
    assert len(long.detail) < 1000
