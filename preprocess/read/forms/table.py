"""The forms, which one a record has, and what is the same in all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from preprocess.errors import Reason, SampleError
from preprocess.read.forms import qwen
from preprocess.read.forms.written import MEDIA_KEYS, Form, Written, WrittenTurn, holds_something, only_one, text_of

# The first one that recognises a record reads it.
FORMS: tuple[Form, ...] = (qwen.FORM,)
SYSTEM_KEYS = ("system", "system_prompt")
COMMON_KEYS = (*MEDIA_KEYS["image"], *MEDIA_KEYS["video"], *SYSTEM_KEYS)
KNOWN_KEYS = tuple(dict.fromkeys((*(key for form in FORMS for key in form.keys), *COMMON_KEYS)))


def read_form(record: Mapping[str, Any]) -> Written:
    """Read a record by its form. Raises SampleError."""
    form = form_of(record)
    if form is None:
        raise SampleError(Reason.NO_TURNS, "neither `conversations` nor `messages` holds a turn")
    return _with_system(record, form.read(record))


def form_of(record: Mapping[str, Any]) -> Form | None:
    return next((form for form in FORMS if form.recognises(record)), None)


def known_keys(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that mean something in the form of the record; where it has none, in the first form."""
    return (*(form_of(record) or FORMS[0]).keys, *COMMON_KEYS)


def keys_to_read(names: Iterable[str]) -> frozenset[str]:
    """Of the columns `names` those that may mean something."""
    return frozenset(names) & frozenset(KNOWN_KEYS)


def _with_system(record: Mapping[str, Any], written: Written) -> Written:
    """With a system turn that stands beside the turns."""
    if only_one(record, SYSTEM_KEYS) is None:
        return written
    [key] = [key for key in SYSTEM_KEYS if holds_something(record, key)]
    text = text_of(record, key)
    if written.turns and written.turns[0].role == "system":
        raise SampleError(Reason.BAD_JSON, f"{key!r} is given, and the first turn is the system's; keep one")
    return replace(written, turns=(WrittenTurn(role="system", text=text), *written.turns))
