"""Records whose media stand in them as base64: with the place of each in its place, because the text may be megabytes,
and records are sent to workers and held by the hundred.

Looking for them must cost next to nothing where there are none: a `data:` URI is found by its mark, at any depth and in
JSON in a text; a text that is base64 alone where it is a value of the record, or in a list that is one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from preprocess.media.values.inline import LEAST_CHARACTERS, MARK, InlineMedium, is_bare, payload_of, place_in

_MARK = MARK.encode()


def with_places(record: Any, raw: bytes, path: Path, offset: int) -> Any:
    """`record`, parsed from `raw`, which stands at byte `offset` of the file; anew where it holds media."""
    return _placed(record, raw, str(path), offset) if _MARK in raw or holds_bare(record) else record


def holds_bare(record: Any) -> bool:
    """Whether a value of the record, or one in a list of texts, begins as media in base64 do."""
    if isinstance(record, list):  # a ready-made pack
        return any(map(holds_bare, record))
    for value in record.values() if isinstance(record, dict) else ():
        texts = value if type(value) is list and value and type(value[0]) is str else (value,)
        if any(type(text) is str and len(text) >= LEAST_CHARACTERS and is_bare(text) for text in texts):
            return True
    return False


def _placed(value: Any, raw: bytes, path: str, offset: int) -> Any:
    if isinstance(value, dict):
        return {key: _placed(inner, raw, path, offset) for key, inner in value.items()}
    if isinstance(value, list):
        return [_placed(inner, raw, path, offset) for inner in value]
    if not isinstance(value, str):
        return value
    payload = payload_of(value)
    if payload is not None:
        return place_in(raw, payload, path, offset)
    return _placed_in_json(value, raw, path, offset) if value.lstrip()[:1] in ("[", "{") else value


def _placed_in_json(text: str, raw: bytes, path: str, offset: int) -> Any:
    """A text that holds JSON, as tables have them, is that JSON where there are media in it."""
    if MARK not in text:
        return text
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return text
    placed = _placed(parsed, raw, path, offset)
    return placed if _holds_places(placed) else text


def _holds_places(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_holds_places, value.values() if isinstance(value, dict) else value))
    return isinstance(value, InlineMedium)
