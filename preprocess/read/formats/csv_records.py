"""CSV files with a header as streams of raw records: a cell is a text, which may hold JSON, and nothing is null.

Cells are divided by whichever of comma, tab and semicolon the header has most of. A row of more or fewer cells than the
header is one bad record; quotes that do not fit make the rest of the file unreadable, which is fatal.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from preprocess.errors import AnnotationError, Reason, SampleError
from preprocess.read.formats.inline_media import with_places
from preprocess.read.formats.json_records import checkpoint
from preprocess.read.index import RECORDS_APART, AnnotationIndex, Checkpoints

_BOM = "\ufeff"
_DELIMITERS = ",\t;"
csv.field_size_limit(1 << 26)  # bytes of a cell; what a quote that nothing closes would swallow


@dataclass(frozen=True, kw_only=True)
class _Header:
    names: tuple[str, ...]
    delimiter: str
    num_bytes: int
    num_lines: int


class CsvRows:
    def __init__(self, path: Path, index: AnnotationIndex | None = None) -> None:
        self._path = path
        self._index = index
        with open(path, "rb") as file:
            self._header = _read_header(path, file)
            if index is None:
                self._num_records = sum(1 for _ in _rows(path, file, self._header))
            else:
                self._num_records = index.checkpoints.num_records

    def __len__(self) -> int:
        return self._num_records

    def __iter__(self) -> Iterator[Any]:
        return self.read_from(0)

    def checkpoint(self, record: int) -> int:
        return checkpoint(self._index, record)

    def paths(self, first: int, last: int) -> Sequence[Path]:
        return (self._path,)

    @staticmethod
    def find_checkpoints(path: Path, file: BinaryIO) -> Checkpoints:
        """Of the rows in `file`, which is read to its end. Raises AnnotationError."""
        header = _read_header(path, file)
        offsets, lines, num_records = array("q"), array("q"), 0
        for row in _rows(path, file, header):
            if num_records % RECORDS_APART == 0:
                offsets.append(row.offset)
                lines.append(row.num_lines_before)
            num_records += 1
        return Checkpoints(
            num_records=num_records, offsets=np.array(offsets, np.int64), lines=np.array(lines, np.int64)
        )

    def read_from(self, record: int) -> Iterator[Any]:
        offset, num_lines = self._header.num_bytes, self._header.num_lines
        with open(self._path, "rb") as file:
            if self._index is not None:
                self._index.check()
                if record:
                    offset = int(self._index.checkpoints.offsets[record // RECORDS_APART])
                    num_lines = int(self._index.checkpoints.lines[record // RECORDS_APART])
            file.seek(offset)
            for row in _rows(self._path, file, self._header, offset, num_lines):
                yield with_places(self._record(row), row.raw, self._path, row.offset)

    def _record(self, row: _Row) -> dict[str, str | None] | SampleError:
        where = f"{self._path} line {row.num_lines_before + 1}"
        names = self._header.names
        if len(row.cells) != len(names):
            return SampleError(Reason.BAD_JSON, f"{where}: {len(row.cells)} cells, where the header has {len(names)}")
        try:
            for cell in row.cells:
                cell.encode("utf-8")
        except UnicodeEncodeError:
            return SampleError(Reason.BAD_JSON, f"{where}: not UTF-8")
        return {name: cell or None for name, cell in zip(names, row.cells, strict=True) if name}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    cells: Sequence[str]
    raw: bytes
    offset: int  # bytes of the file before it
    num_lines_before: int


class _Lines:
    """The lines of a file as the parser wants them, counted as it takes them."""

    def __init__(self, file: BinaryIO, offset: int, num_lines: int) -> None:
        self._file = file
        self.offset = offset
        self.num_lines = num_lines
        self._raw: list[bytes] = []

    def taken(self) -> bytes:
        """What was taken since it was asked for."""
        raw = b"".join(self._raw)
        self._raw.clear()
        return raw

    def __iter__(self) -> Iterator[str]:
        for line in self._file:
            self._raw.append(line)
            self.offset += len(line)
            self.num_lines += 1
            yield line.decode("utf-8", "surrogateescape")


def _rows(
    path: Path, file: BinaryIO, header: _Header, offset: int | None = None, num_lines: int | None = None
) -> Iterator[_Row]:
    """The rows from where the file stands, right behind the header unless it is said; blank lines are none."""
    lines = _Lines(
        file,
        header.num_bytes if offset is None else offset,
        header.num_lines if num_lines is None else num_lines,
    )
    start, num_before = lines.offset, lines.num_lines
    try:
        for cells in csv.reader(lines, delimiter=header.delimiter, strict=True):
            raw = lines.taken()
            if cells:
                yield _Row(cells=cells, raw=raw, offset=start, num_lines_before=num_before)
            start, num_before = lines.offset, lines.num_lines
    except csv.Error as error:
        raise AnnotationError(
            f"{path}: the row that begins in line {num_before + 1}: {error}; mend its quotes, or write JSON Lines"
        ) from None


def _read_header(path: Path, file: BinaryIO) -> _Header:
    """Raises AnnotationError."""
    line = file.readline()
    try:
        text = line.decode("utf-8").removeprefix(_BOM)
        delimiter = max(_DELIMITERS, key=text.count)
        names = next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{path}: its first line is no header of a CSV file: {error}") from None
    if not any(names):
        raise AnnotationError(f"{path}: a CSV file must begin with a line that names its columns")
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise AnnotationError(f"{path}: two columns are called {twice!r}; keep one")
    return _Header(names=tuple(names), delimiter=delimiter, num_bytes=len(line), num_lines=1)
