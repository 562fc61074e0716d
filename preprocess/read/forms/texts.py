"""The form of the_cauldron and FineVision: pairs in `texts`, turns of one conversation; no tags say where media stand.

{"images": [...], "texts": [{"user": "What is this?", "assistant": "A cat.", "source": "ai2d"}, ...]}
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
    top_level_media,
)

TEXTS_KEY = "texts"
_USER, _ASSISTANT = "user", "assistant"


def recognises(record: Mapping[str, Any]) -> bool:
    return holds_something(record, TEXTS_KEY)


def read(record: Mapping[str, Any]) -> Written:
    pairs = as_written_list(record[TEXTS_KEY])
    if not isinstance(pairs, list):
        raise SampleError(Reason.BAD_JSON, f"{TEXTS_KEY!r} must be a list, not {kind_of(pairs)}")
    turns = tuple(turn for number, each in enumerate(pairs) for turn in _turns(number, each))
    return Written(turns=turns, media=top_level_media(record), is_untagged=True)


def _turns(number: int, each: Any) -> tuple[WrittenTurn, WrittenTurn]:
    where = f"{TEXTS_KEY}[{number}]"
    if not isinstance(each, dict):
        raise SampleError(Reason.BAD_JSON, f"{where} must be an object, not {kind_of(each)}")
    asked, answered = each.get(_USER), each.get(_ASSISTANT)
    if not isinstance(asked, str) or not isinstance(answered, str):
        kinds = f"{kind_of(asked)} and {kind_of(answered)}"
        raise SampleError(Reason.BAD_JSON, f"{where} needs strings in {_USER} and {_ASSISTANT}; it has {kinds}")
    ignored = tuple(f"turn.{key}" for key in each if each[key] is not None and key not in (_USER, _ASSISTANT))
    return (
        WrittenTurn(role="user", text=check_text(asked, where), ignored=ignored),
        WrittenTurn(role="assistant", text=check_text(answered, where)),
    )


FORM = Form(name=TEXTS_KEY, keys=(TEXTS_KEY,), recognises=recognises, read=read)
