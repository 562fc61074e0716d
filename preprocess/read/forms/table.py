"""The forms, which one a record has, and what is the same in all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from preprocess.errors import Reason, SampleError
from preprocess.read.forms import qwen, texts
from preprocess.read.forms.frame_lists import RATE_KEYS
from preprocess.read.forms.objects import OBJECTS_KEY
from preprocess.read.forms.pairs import instruction, prompt_response, query_response, question_answer
from preprocess.read.forms.tool_turns import TOOLS_KEY, tools_turn
from preprocess.read.forms.training_flags import LOSS_TURNS_KEY
from preprocess.read.forms.written import (
    MEDIA_KEYS,
    Form,
    Written,
    WrittenTurn,
    holds_something,
    keys_in_words,
    only_one,
    text_of,
)

# The first one that recognises a record reads it.
FORMS: tuple[Form, ...] = (
    qwen.FORM,
    texts.FORM,
    prompt_response.FORM,
    query_response.FORM,
    instruction.FORM,
    question_answer.FORM,
)
SYSTEM_KEYS = ("system", "system_prompt")
COMMON_KEYS = (*MEDIA_KEYS["image"], *MEDIA_KEYS["video"], *SYSTEM_KEYS, LOSS_TURNS_KEY, TOOLS_KEY)
_SOMETIMES = (OBJECTS_KEY, *RATE_KEYS)  # which mean something beside what they are about, and else nothing
KNOWN_KEYS = tuple(dict.fromkeys((*(key for form in FORMS for key in form.keys), *COMMON_KEYS, *_SOMETIMES)))


def read_form(record: Mapping[str, Any]) -> Written:
    """Read a record by its form. Raises SampleError."""
    fitting = [form for form in FORMS if form.recognises(record)]
    if not fitting:
        raise SampleError(Reason.NO_TURNS, f"neither `conversations` nor `messages` holds a turn{_keys_of(record)}")
    if len(fitting) > 1 and fitting[0] is not FORMS[0]:
        raise SampleError(
            Reason.BAD_JSON,
            f"it has both {fitting[0].name} and {fitting[1].name}; say in the registry which ones count: "
            f"columns: {{conversations: ...}}, or drop two of these keys",
        )
    return _with_tools(record, _with_system(record, fitting[0].read(record)))


def form_of(record: Mapping[str, Any]) -> Form | None:
    """The first one that recognises it. Turns of the first form win: beside them, others are remarks."""
    return next((form for form in FORMS if form.recognises(record)), None)


def known_keys(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that mean something in the form of the record; where it has none, in the first form."""
    return (*(form_of(record) or FORMS[0]).keys, *COMMON_KEYS)


def keys_to_read(names: Iterable[str]) -> frozenset[str]:
    """Of the columns `names` those that may mean something; turns of the first form leave those of others alone."""
    has_turns = not set(FORMS[0].keys).isdisjoint(names)
    return frozenset(names) & frozenset((*FORMS[0].keys, *COMMON_KEYS, *_SOMETIMES) if has_turns else KNOWN_KEYS)


def _keys_of(record: Mapping[str, Any]) -> str:
    if not record:
        return ""
    known = "; ".join(form.name for form in FORMS[1:])
    return f"{keys_in_words(record)}. Other forms are: {known}. Other names can be mapped by `columns`"


def _with_tools(record: Mapping[str, Any], written: Written) -> Written:
    """With what may be called after the system's turn, if there is one."""
    tools = tools_turn(record)
    if not tools:
        return written
    turns = written.turns
    own = 1 if turns and turns[0].role == "system" else 0
    return replace(written, turns=(*turns[:own], *tools, *turns[own:]))


def _with_system(record: Mapping[str, Any], written: Written) -> Written:
    """With a system turn that stands beside the turns."""
    if only_one(record, SYSTEM_KEYS) is None:
        return written
    [key] = [key for key in SYSTEM_KEYS if holds_something(record, key)]
    text = text_of(record, key)
    if written.turns and written.turns[0].role == "system":
        raise SampleError(Reason.BAD_JSON, f"{key!r} is given, and the first turn is the system's; keep one")
    return replace(written, turns=(WrittenTurn(role="system", text=text), *written.turns))
