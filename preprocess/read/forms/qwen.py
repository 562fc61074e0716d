"""The form of the Qwen fine-tuning scripts: `conversations` or `messages`, media tags in the text.

A turn's text may also be a list of parts (`content_lists.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from preprocess.errors import Reason, SampleError
from preprocess.read.forms.content_lists import SpelledParts, in_order, spell_parts, written_parts
from preprocess.read.forms.tool_turns import CALL_ROLES, CALLS_KEY, RESULT_ROLES, calls_in_text, calls_of
from preprocess.read.forms.training_flags import FLAG_KEYS, REASONING_KEY, is_trained, reasoning_of
from preprocess.read.forms.written import (
    Form,
    Written,
    WrittenTurn,
    as_written_list,
    check_text,
    holds_something,
    keys_in_words,
    kind_of,
    only_one,
    top_level_media,
)
from preprocess.sample import Role

TURN_KEYS = ("conversations", "messages")
_KEYS_OF_A_TURN = {"from", "value", "role", "content", *FLAG_KEYS, REASONING_KEY, CALLS_KEY}
_ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    **dict.fromkeys(RESULT_ROLES, "tool"),
    **dict.fromkeys(CALL_ROLES, "call"),
}


def recognises(record: Mapping[str, Any]) -> bool:
    return any(holds_something(record, key) for key in TURN_KEYS)


def read(record: Mapping[str, Any]) -> Written:
    raw = as_written_list(only_one(record, TURN_KEYS))
    if not isinstance(raw, list):
        raise SampleError(Reason.BAD_JSON, f"the turns must be a list, not {kind_of(raw)}")
    spelled = [_turn(number, turn) for number, turn in enumerate(raw)]
    return Written(
        turns=tuple(turn for turns, _ in spelled for turn in turns),
        media=in_order([parts for _, parts in spelled], top_level_media(record)),
    )


def _turn(number: int, raw: Any) -> tuple[tuple[WrittenTurn, ...], SpelledParts]:
    """What is said in a turn, each call of it apart, and its media."""
    if not isinstance(raw, dict):
        raise SampleError(Reason.BAD_JSON, f"turn {number} must be an object, not {kind_of(raw)}")
    role = raw["from"] if raw.get("from") is not None else raw.get("role")
    content = raw["value"] if raw.get("value") is not None else raw.get("content")
    where = f"turn {number}"
    calls = calls_of(raw, where) if role in ("gpt", "assistant") else ()
    content = "" if content is None and calls else written_parts(content)
    if not isinstance(role, str) or not isinstance(content, str | list):
        raise SampleError(
            Reason.BAD_JSON,
            f"turn {number} needs strings in from/value or role/content; it has {kind_of(role)} and {kind_of(content)}"
            f"{keys_in_words(raw)}",
        )
    if role not in _ROLES:
        raise SampleError(Reason.ROLE_ORDER, f"turn {number} has role {role!r}; known are {', '.join(_ROLES)}")
    parts = spell_parts(content, where) if isinstance(content, list) else SpelledParts.of_text(content)
    ignored = (*(f"turn.{key}" for key in raw if raw[key] is not None and key not in _KEYS_OF_A_TURN), *parts.ignored)
    text = WrittenTurn(
        role=_ROLES[role],
        text=check_text(parts.text, where),
        is_trained=is_trained(raw, _ROLES[role], where),
        reasoning=reasoning_of(raw, _ROLES[role], where),
        ignored=ignored,
    )
    if text.role == "call":
        return tuple(replace(text, text=call) for call in calls_in_text(text.text, where)), parts
    spoken = (replace(text, role="call", text=call, reasoning="", ignored=()) for call in calls)
    return (*([text] if text.text or text.reasoning or not calls else []), *spoken), parts


FORM = Form(
    name="conversations or messages",
    keys=TURN_KEYS,
    recognises=recognises,
    read=read,
)
