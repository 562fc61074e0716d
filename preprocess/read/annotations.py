"""Annotation files as streams of raw records: JSON array, JSON Lines, Parquet.

A JSON array with a syntax error can't be read at all (AnnotationError); a bad line of JSON Lines is one bad record.
So is one that is nested more than a hundred levels deep, which no worker could be sent. NaN and integers of any size
parse. Records are parsed one at a time: nothing holds all of a file's as Python objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from preprocess.errors import AnnotationError
from preprocess.read.json_records import JsonArray, JsonLines
from preprocess.read.parquet_records import ParquetRows

_PACKED = {".gz", ".bz2", ".xz", ".zst", ".zip"}


class AnnotationFile(Protocol):
    """`len(file)` records; iterating gives each as parsed, or the SampleError that says why it does not parse."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


def open_annotations(path: Path, columns: Mapping[str, str] | None = None) -> AnnotationFile:
    """Choose the reader by the file's suffix; `columns` are those of the registry.

    Raises AnnotationError where the file can't be used as a whole.
    """
    readers: dict[str, Callable[[Path], AnnotationFile]] = {
        ".json": JsonArray,
        ".jsonl": JsonLines,
        ".ndjson": JsonLines,
        ".parquet": partial(ParquetRows, columns=columns or {}),
    }
    suffix = path.suffix.lower()
    if suffix not in readers:
        advice = "; unpack it first" if suffix in _PACKED else ""
        raise AnnotationError(f"{path}: annotation files end in {', '.join(readers)}{advice}")
    try:
        return readers[suffix](path)
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        raise AnnotationError(f"{path}: {what}; check annotation_path in the registry") from None
