"""What was counted while decoding: `plan/decoding.json`, for `report`. No byte of the dataset depends on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from preprocess.errors import damaged
from shards.files.atomic import write_atomically
from shards.files.records import Record

_NAME = "decoding.json"  # in the plan's folder


def write_decoding_notes(plan: Path, notes: Mapping[str, Mapping[str, int]]) -> None:
    """Of all shards, by dataset and note; nothing where there are none."""
    if notes:
        write_atomically(plan / _NAME, json.dumps(notes, indent=1, sort_keys=True) + "\n")


def read_decoding_notes(plan: Path) -> dict[str, dict[str, int]]:
    """Raises FatalError where they are damaged."""
    path = plan / _NAME
    try:
        record = Record.parse(path.read_bytes())
        datasets = {name: record.record(name) for name in record.values}
        return {name: {note: of.integer(note) for note in of.values} for name, of in datasets.items()}
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise damaged(path, error) from None
