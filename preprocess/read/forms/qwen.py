"""The form of the Qwen fine-tuning scripts: `conversations` or `messages`, media tags in the text."""

from __future__ import annotations

from numbers import Number
from typing import Any

from preprocess.errors import Reason, SampleError
from preprocess.sample import Role, Turn

TURN_KEYS = ("conversations", "messages")
IMAGE_KEYS = ("image", "images")
VIDEO_KEYS = ("video", "videos")
KNOWN_KEYS = (*TURN_KEYS, *IMAGE_KEYS, *VIDEO_KEYS)
_ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


def read_turns(record: dict[str, Any]) -> tuple[Turn, ...]:
    raw = only_one(record, TURN_KEYS)
    if raw is None:
        raise SampleError(Reason.NO_TURNS, "neither `conversations` nor `messages` holds a turn")
    if not isinstance(raw, list):
        raise SampleError(Reason.BAD_JSON, f"the turns must be a list, not {kind_of(raw)}")
    return tuple(_turn(number, turn) for number, turn in enumerate(raw))


def _turn(number: int, raw: Any) -> Turn:
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
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SampleError(Reason.BAD_JSON, f"turn {number} holds half a surrogate pair at {error.start}") from None
    return Turn(role=_ROLES[role], text=text)


def only_one(record: dict[str, Any], spellings: tuple[str, str]) -> Any:
    """The value under whichever spelling is used; None for null, empty and absent ones."""
    given = [key for key in spellings if record.get(key) not in (None, [], "")]
    if len(given) > 1:
        raise SampleError(Reason.BAD_JSON, f"both {given[0]!r} and {given[1]!r} are given; keep one")
    return record[given[0]] if given else None


def kind_of(value: Any) -> str:
    if value == "":
        return "an empty string"
    names = {dict: "an object", list: "a list", str: "a string", type(None): "nothing", bool: "a boolean"}
    return names.get(type(value), "a number" if isinstance(value, Number) else type(value).__name__)
