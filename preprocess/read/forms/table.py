"""The forms, and which one a record has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from preprocess.errors import Reason, SampleError
from preprocess.read.forms import qwen
from preprocess.read.forms.written import Form

# The first one that recognises a record reads it.
FORMS: tuple[Form, ...] = (qwen.FORM,)
KNOWN_KEYS = tuple(dict.fromkeys(key for form in FORMS for key in form.keys))


def form_of(record: Mapping[str, Any]) -> Form | None:
    return next((form for form in FORMS if form.recognises(record)), None)


def known_keys(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that mean something in the form of the record; where it has none, in the first form."""
    return (form_of(record) or FORMS[0]).keys


def keys_to_read(names: Iterable[str]) -> frozenset[str]:
    """Of the columns `names` those that may mean something."""
    return frozenset(names) & frozenset(KNOWN_KEYS)


def no_form(record: Mapping[str, Any]) -> SampleError:
    return SampleError(Reason.NO_TURNS, "neither `conversations` nor `messages` holds a turn")
