"""Forms that name a question and its answer by keys of their own; each of them is a `FORM` made here.

`history`, where a form has one, holds the pairs that were said before: `[["Hi", "Hello."], ...]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from preprocess.errors import Reason, SampleError
from preprocess.read.forms.written import (
    Form,
    Written,
    WrittenTurn,
    as_written_list,
    check_text,
    holds_something,
    kind_of,
    text_of,
    top_level_media,
)
from preprocess.sample import Note

HISTORY_KEY = "history"


def pair_form(question: str, answer: str, *, more: str = "", history: bool = False) -> Form:
    """A form with two keys; under `more` stands what follows the question on lines of its own."""

    def recognises(record: Mapping[str, Any]) -> bool:
        return holds_something(record, question) and record.get(answer) is not None

    def read(record: Mapping[str, Any]) -> Written:
        asked = text_of(record, question)
        if more and holds_something(record, more):
            asked += "\n" + text_of(record, more)
        answered, notes = _answer(record, answer)
        before = _history(record) if history else ()
        return Written(turns=(*before, *pair(asked, answered)), media=top_level_media(record), notes=notes)

    keys = (question, *filter(None, [more]), answer, *([HISTORY_KEY] if history else []))
    return Form(name=" and ".join((question, answer)), keys=keys, recognises=recognises, read=read)


def pair(question: str, answer: str) -> tuple[WrittenTurn, WrittenTurn]:
    return WrittenTurn(role="user", text=question), WrittenTurn(role="assistant", text=answer)


def _answer(record: Mapping[str, Any], key: str) -> tuple[str, tuple[Note, ...]]:
    """Of a list of answers, all right, the first one."""
    answers = as_written_list(record[key])
    if not isinstance(answers, list):
        return text_of(record, key), ()
    if not answers or not isinstance(answers[0], str):
        what = kind_of(answers[0]) if answers else "nothing"
        raise SampleError(Reason.BAD_JSON, f"{key!r} must be a string or a list of strings; the first one is {what}")
    return check_text(answers[0], repr(key)), ("other_answers",) if len(answers) > 1 else ()


def _history(record: Mapping[str, Any]) -> tuple[WrittenTurn, ...]:
    pairs = as_written_list(record.get(HISTORY_KEY))
    if pairs in (None, ""):
        return ()
    if not isinstance(pairs, list):
        raise SampleError(Reason.BAD_JSON, f"{HISTORY_KEY!r} must be a list of pairs, not {kind_of(pairs)}")
    turns: list[WrittenTurn] = []
    for number, each in enumerate(pairs):
        if not isinstance(each, list) or [type(text) for text in each] != [str, str]:
            raise SampleError(Reason.BAD_JSON, f"{HISTORY_KEY!r} has at {number} no pair of strings: {kind_of(each)}")
        turns += pair(*(check_text(text, f"{HISTORY_KEY!r}") for text in each))
    return tuple(turns)
