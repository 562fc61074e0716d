"""Annotation files, written byte by byte and read with every check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preprocess.errors import AnnotationError, Reason, SampleError
from preprocess.read.annotations import open_annotations


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path) -> list[Any]:
    file = open_annotations(path)
    records = list(file)
    assert len(file) == len(records)
    assert comparable(list(file)) == comparable(records), "a second reading differs"
    return records


def comparable(records: list[Any]) -> list[str]:
    return [repr(record) for record in records]


def refusal(path: Path) -> str:
    with pytest.raises(AnnotationError) as raised:
        open_annotations(path)
    message = str(raised.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def assert_bad_json(record: Any, *parts: str) -> None:
    assert isinstance(record, SampleError)
    assert record.reason is Reason.BAD_JSON
    for part in parts:
        assert part in record.detail


def write_parquet(path: Path, columns: dict[str, pa.Array], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path
