"""Annotation files as streams of raw records: JSON array, JSON Lines, Parquet, CSV; several files as one stream.

A JSON array with a syntax error can't be read at all (AnnotationError); a bad line of JSON Lines is one bad record.
So is one that is nested more than a hundred levels deep, which no worker could be sent. NaN and integers of any size
parse. Records are parsed one at a time: nothing holds all of a file's as Python objects.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from preprocess.errors import AnnotationError
from preprocess.read.formats.csv_records import CsvRows
from preprocess.read.formats.detect import AnnotationFormat, Format, detect_format
from preprocess.read.formats.json_records import JsonArray, JsonLines
from preprocess.read.formats.parquet_records import ParquetRows
from preprocess.read.index import AnnotationIndex, FileVersion, HashingReader, changed


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

    def paths(self, first: int, last: int) -> Sequence[Path]:
        """The files in which the records from `first` to `last` stand."""
        ...


_READERS: Mapping[Format, type[JsonArray] | type[JsonLines] | type[ParquetRows] | type[CsvRows]] = {
    "json": JsonArray,
    "jsonl": JsonLines,
    "parquet": ParquetRows,
    "csv": CsvRows,
}


def open_annotations(
    path: Path,
    index: AnnotationIndex | None = None,
    columns: Mapping[str, str] | None = None,
    format: AnnotationFormat = "auto",
) -> AnnotationFile:
    """With the file's index it is neither checked nor counted. `columns` and `format` are those of the registry.

    Raises AnnotationError where the file can't be used as a whole.
    """
    with _naming(path):
        if index is not None and format in ("auto", index.format):
            found = index.format
        else:
            index, found = None, detect_format(path) if format == "auto" else format
        reader = _READERS[found]
        return ParquetRows(path, index, columns) if reader is ParquetRows else reader(path, index)


class SeveralFiles:
    """The records of files one after another, numbered on."""

    def __init__(self, files: Sequence[AnnotationFile]) -> None:
        self._files = files
        self._starts = list(accumulate((len(file) for file in files), initial=0))  # the last one: the end of all

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Any]:
        return self.read_from(0)

    def checkpoint(self, record: int) -> int:
        number = self._number(record)
        start = self._starts[number]
        return start + self._files[number].checkpoint(record - start) if record > start else start

    def read_from(self, record: int) -> Iterator[Any]:
        """Raises FatalError, too, where a file has not the number of records that it had."""
        first = self._number(record)
        for number in range(first, len(self._files)):
            file, start = self._files[number], self._starts[number]
            position = max(record, start)
            for each in file.read_from(position - start):
                if position == self._starts[number + 1]:
                    raise changed(file.paths(0, 0)[0])
                yield each
                position += 1
            if position != self._starts[number + 1]:
                raise changed(file.paths(0, 0)[0])

    def paths(self, first: int, last: int) -> Sequence[Path]:
        numbers = range(self._number(first), self._number(last) + 1)
        return tuple(path for number in numbers for path in self._files[number].paths(0, 0))

    @property
    def lengths(self) -> list[int]:
        """Records of each file."""
        return [len(file) for file in self._files]

    def _number(self, record: int) -> int:
        """Of the file that holds it; of the last one, where it is beyond all."""
        return min(bisect_right(self._starts, record), len(self._files)) - 1


def open_all(
    paths: Sequence[Path],
    indexes: Mapping[Path, AnnotationIndex] = MappingProxyType({}),
    columns: Mapping[str, str] | None = None,
    format: AnnotationFormat = "auto",
) -> AnnotationFile:
    """The files of one dataset, at least one. Raises AnnotationError."""
    files = [open_annotations(path, indexes.get(path), columns, format) for path in paths]
    return files[0] if len(files) == 1 else SeveralFiles(files)


def make_index(path: Path, format: AnnotationFormat = "auto") -> AnnotationIndex:
    """Read all of a file once: hash it, check it, find its checkpoints. Raises AnnotationError, FatalError."""
    with _naming(path), HashingReader(path) as hashed:
        version = FileVersion.of(os.stat(path))
        found = detect_format(path) if format == "auto" else format
        checkpoints = _READERS[found].find_checkpoints(path, hashed.buffered())
        if FileVersion.of(os.stat(path)) != version:
            raise changed(path)
        return AnnotationIndex(path=path, version=version, sha256=hashed.sha256, format=found, checkpoints=checkpoints)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        raise AnnotationError(f"{path}: {what}; check annotation_path in the registry") from None
