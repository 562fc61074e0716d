"""The form of the Qwen fine-tuning scripts: `conversations` or `messages`, media tags in the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from preprocess.errors import Reason, SampleError
from preprocess.read.forms.written import (
    MEDIA_KEYS,
    Form,
    Written,
    WrittenTurn,
    check_text,
    holds_something,
    kind_of,
    only_one,
    top_level_media,
)
from preprocess.sample import Role

TURN_KEYS = ("conversations", "messages")
_ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


def recognises(record: Mapping[str, Any]) -> bool:
    return any(holds_something(record, key) for key in TURN_KEYS)


def read(record: Mapping[str, Any]) -> Written:
    raw = only_one(record, TURN_KEYS)
    if not isinstance(raw, list):
        raise SampleError(Reason.BAD_JSON, f"the turns must be a list, not {kind_of(raw)}")
    return Written(
        turns=tuple(_turn(number, turn) for number, turn in enumerate(raw)),
        media=top_level_media(record),
    )


def _turn(number: int, raw: Any) -> WrittenTurn:
    if not isinstance(raw, dict):
        raise SampleError(Reason.BAD_JSON, f"turn {number} must be an object, not {kind_of(raw)}")
    role = raw["from"] if raw.get("from") is not None else raw.get("role")
    text = raw["value"] if raw.get("value") is not None else raw.get("content")
    if not isinstance(role, str) or not isinstance(text, str):
        raise SampleError(
            Reason.BAD_JSON,
            f"turn {number} needs strings in from/value or role/content; it has {kind_of(role)} and {kind_of(text)}",
        )
    if role not in _ROLES:
        raise SampleError(Reason.ROLE_ORDER, f"turn {number} has role {role!r}; known are {', '.join(_ROLES)}")
    return WrittenTurn(role=_ROLES[role], text=check_text(text, f"turn {number}"))


FORM = Form(
    name="conversations or messages",
    keys=(*TURN_KEYS, *MEDIA_KEYS["image"], *MEDIA_KEYS["video"]),
    recognises=recognises,
    read=read,
)
