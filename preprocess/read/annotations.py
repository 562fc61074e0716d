"""Annotation files as streams of raw records: JSON array, JSON Lines, Parquet.

A JSON array with a syntax error can't be read at all (AnnotationError); a bad line of JSON Lines is one bad record.
So is one that is nested more than a hundred levels deep, which no worker could be sent. NaN and integers of any size
parse. Records are parsed one at a time: nothing holds all of a file's as Python objects.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from preprocess.errors import AnnotationError
from preprocess.read.index import AnnotationIndex, FileVersion, HashingReader, changed
from preprocess.read.json_records import JsonArray, JsonLines
from preprocess.read.parquet_records import ParquetRows

_PACKED = {".gz", ".bz2", ".xz", ".zst", ".zip"}


class AnnotationFile(Protocol):
    """`len(file)` records; iterating gives each as parsed, or the SampleError that says why it does not parse."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def checkpoint(self, record: int) -> int:
        """The number of the last record up to this one that can be read without what stands before it."""
        ...

    def read_from(self, record: int) -> Iterator[Any]:
        """The records from such a one on. Raises FatalError where the file is no longer that of its index."""
        ...


_READERS: dict[str, type[JsonArray] | type[JsonLines] | type[ParquetRows]] = {
    ".json": JsonArray,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".parquet": ParquetRows,
}


def open_annotations(
    path: Path, index: AnnotationIndex | None = None, columns: Mapping[str, str] | None = None
) -> AnnotationFile:
    """Choose the reader by the file's suffix; with the file's index it is neither checked nor counted.

    `columns` are those of the registry.

    Raises AnnotationError where the file can't be used as a whole.
    """
    with _naming(path):
        reader = _reader(path)
        return ParquetRows(path, index, columns) if reader is ParquetRows else reader(path, index)


def make_index(path: Path) -> AnnotationIndex:
    """Read all of a file once: hash it, check it, find its checkpoints. Raises AnnotationError, FatalError."""
    with _naming(path), HashingReader(path) as hashed:
        version = FileVersion.of(os.stat(path))
        checkpoints = _reader(path).find_checkpoints(path, hashed.buffered())
        if FileVersion.of(os.stat(path)) != version:
            raise changed(path)
        return AnnotationIndex(path=path, version=version, sha256=hashed.sha256, checkpoints=checkpoints)


def _reader(path: Path) -> type[JsonArray] | type[JsonLines] | type[ParquetRows]:
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        advice = "; unpack it first" if suffix in _PACKED else ""
        raise AnnotationError(f"{path}: annotation files end in {', '.join(_READERS)}{advice}")
    return _READERS[suffix]


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        raise AnnotationError(f"{path}: {what}; check annotation_path in the registry") from None
