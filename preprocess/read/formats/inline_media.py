"""Records whose media stand in them as base64: with the place of each in its place, because the text may be megabytes,
and records are sent to workers and held by the hundred.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from preprocess.media.values.inline import InlineMedium, may_hold_media, payload_of, place_in


def with_places(record: Any, raw: bytes, path: Path, offset: int) -> Any:
    """`record`, parsed from `raw`, which stands at byte `offset` of the file; anew where it holds media."""
    return _placed(record, raw, str(path), offset) if may_hold_media(raw) else record


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
    if not may_hold_media(text):
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
