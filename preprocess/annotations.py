"""Annotation files as streams of raw records: JSON array, JSON Lines, Parquet.

A JSON array with a syntax error can't be read at all (AnnotationError); a bad line of JSON Lines is one bad record.
NaN and integers of any size parse. Records are parsed one at a time: nothing holds all of a file's as Python objects.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from preprocess.errors import AnnotationError, Reason, SampleError

TURN_KEYS = ("conversations", "messages")
IMAGE_KEYS = ("image", "images")
VIDEO_KEYS = ("video", "videos")
KNOWN_KEYS = (*TURN_KEYS, *IMAGE_KEYS, *VIDEO_KEYS)

_BOM = "\ufeff"
_SPACE = re.compile(r"[ \t\n\r]*")
# Numbers mean nothing to us: as floats, integers of any length parse.
_DECODER = json.JSONDecoder(parse_int=float)


class AnnotationFile(Protocol):
    """`len(file)` records; iterating gives each as parsed, or the SampleError that says why it does not parse."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...


def open_annotations(path: Path) -> AnnotationFile:
    """Choose the reader by the file's suffix. Raises AnnotationError where the file can't be used as a whole."""
    readers: dict[str, Callable[[Path], AnnotationFile]] = {
        ".json": JsonArray,
        ".jsonl": JsonLines,
        ".ndjson": JsonLines,
        ".parquet": ParquetRows,
    }
    if path.suffix not in readers:
        raise AnnotationError(f"{path}: annotation files end in {', '.join(readers)}")
    try:
        return readers[path.suffix](path)
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        raise AnnotationError(f"{path}: {what}; check annotation_path in the registry") from None


class JsonArray:
    """Read twice: once to see that all of it parses, then record by record."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._num_records = sum(1 for _ in self._records())

    def __len__(self) -> int:
        return self._num_records

    def __iter__(self) -> Iterator[Any]:
        return self._records()

    def _records(self) -> Iterator[Any]:
        advice = "mend it, or convert it to JSON Lines, where only the bad record is lost"
        try:
            text = self._path.read_bytes().decode("utf-8")
            yield from _array_items(text)
        except UnicodeDecodeError as error:
            raise AnnotationError(f"{self._path}: not UTF-8 at byte {error.start}; {advice}") from None
        except json.JSONDecodeError as error:
            offset = len(text[: error.pos].encode("utf-8"))
            raise AnnotationError(f"{self._path}: {error.msg} at byte {offset}; {advice}") from None
        except RecursionError:
            raise AnnotationError(f"{self._path}: nested too deeply; {advice}") from None


def _array_items(text: str) -> Iterator[Any]:
    """The values of a JSON array, parsed one by one. Raises json.JSONDecodeError."""
    position = _skip_space(text, len(_BOM) if text.startswith(_BOM) else 0)
    if text[position : position + 1] != "[":
        raise json.JSONDecodeError("An array of records should start", text, position)
    position = _skip_space(text, position + 1)
    if text[position : position + 1] == "]":
        position += 1
    else:
        while True:
            value, position = _DECODER.raw_decode(text, position)
            yield value
            position = _skip_space(text, position)
            if text[position : position + 1] == "]":
                position += 1
                break
            if text[position : position + 1] != ",":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, position)
            position = _skip_space(text, position + 1)
    end = _skip_space(text, position)
    if end != len(text):
        raise json.JSONDecodeError("Extra data", text, end)


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()


class JsonLines:
    """Blank lines do not count as records."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with open(path, "rb") as file:
            self._num_records = sum(1 for line in file if line.strip())

    def __len__(self) -> int:
        return self._num_records

    def __iter__(self) -> Iterator[Any]:
        with open(self._path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield self._parse(line, number)

    def _parse(self, line: bytes, number: int) -> Any:
        where = f"{self._path} line {number}"
        try:
            return _DECODER.decode(line.decode("utf-8").removeprefix(_BOM))
        except UnicodeDecodeError as error:
            return SampleError(Reason.BAD_JSON, f"{where}: not UTF-8 at byte {error.start}")
        except json.JSONDecodeError as error:
            return SampleError(Reason.BAD_JSON, f"{where}: {error.msg} at character {error.pos}")
        except RecursionError:
            return SampleError(Reason.BAD_JSON, f"{where}: nested too deeply")


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedMedium:
    """A `{bytes, path}` cell whose bytes stay in the Parquet file until they are needed."""

    path: str  # of the Parquet file
    row: int
    column: str
    item: int


class ParquetRows:
    """Hugging Face layout: media as `{bytes, path}` structs or lists of them, turns as lists of structs.

    Of the other columns only the names are read; their values are None.
    """

    _BATCH_ROWS = 64

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with pq.ParquetFile(path) as file:
                self._num_rows = file.metadata.num_rows
                names = file.schema_arrow.names
        except pa.ArrowException as error:
            raise AnnotationError(f"{path} is not a whole Parquet file: {error}") from None
        self._columns = [name for name in names if name in KNOWN_KEYS]
        if len(set(self._columns)) < len(self._columns):
            raise AnnotationError(f"{path} has two columns of one name among {', '.join(self._columns)}; keep one")
        self._others = dict.fromkeys(name for name in names if name not in KNOWN_KEYS)

    def __len__(self) -> int:
        return self._num_rows

    def __iter__(self) -> Iterator[Any]:
        row = 0
        try:
            with pq.ParquetFile(self._path) as file:
                for batch in file.iter_batches(batch_size=self._BATCH_ROWS, columns=self._columns):
                    for offset in range(len(batch)):
                        yield self._record(batch.slice(offset, 1), row)
                        row += 1
        except (pa.ArrowException, OSError) as error:
            raise AnnotationError(f"{self._path}: can't be read after row {row} ({error}); write it again") from None

    def _record(self, batch: pa.RecordBatch, row: int) -> dict[str, Any] | SampleError:
        try:
            [record] = batch.to_pylist()
        except ValueError as error:  # text that is not UTF-8
            return SampleError(Reason.BAD_JSON, f"{self._path} row {row}: {error}")
        return {**self._others, **{key: self._locate(value, row, key) for key, value in record.items()}}

    def _locate(self, value: Any, row: int, column: str) -> Any:
        """Replace media cells: by their place where they hold bytes, by their path where they don't."""
        if isinstance(value, list):
            return [self._locate_one(one, row, column, item) for item, one in enumerate(value)]
        return self._locate_one(value, row, column, 0)

    def _locate_one(self, value: Any, row: int, column: str, item: int) -> Any:
        if not (isinstance(value, dict) and value.keys() == {"bytes", "path"}):
            return value
        if value["bytes"] is None:
            return value["path"]
        return EmbeddedMedium(path=str(self._path), row=row, column=column, item=item)
