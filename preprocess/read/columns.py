"""`columns` of a registry entry: what a dataset calls the keys that forms know.

columns: {image: img, conversations: data.dialog}       {"img": ..., "data": {"dialog": ...}} has the Qwen form
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def renamed(record: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The record with its values under the names of the forms; what is found nowhere is null."""
    if not columns:
        return record
    moved = {_root(record, written) for written in columns.values()}
    kept = {key: value for key, value in record.items() if key not in moved}
    return kept | {name: _find(record, written) for name, written in columns.items()}


def roots(columns: Mapping[str, str]) -> frozenset[str]:
    """The keys of a record that may be asked for."""
    return frozenset(columns.values()) | {written.partition(".")[0] for written in columns.values()}


def _root(record: Mapping[str, Any], written: str) -> str:
    return written if written in record else written.partition(".")[0]


def _find(value: Any, written: str) -> Any:
    """A key may itself hold dots; else each dot goes one object deeper."""
    if not isinstance(value, dict):
        return None
    if written in value:
        return value[written]
    first, dot, rest = written.partition(".")
    return _find(value.get(first), rest) if dot else None
