"""Annotation files as streams of raw records: JSON array, JSON Lines, Parquet.

A JSON array with a syntax error can't be read at all (AnnotationError); a bad line of JSON Lines is one bad record.
NaN and integers of any size parse.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from preprocess.errors import AnnotationError, Reason, SampleError

_BOM = "\ufeff"


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
    except OSError as error:
        raise AnnotationError(f"{path}: {error.strerror or error}; check annotation_path in the registry") from None


def _parse_json(text: str) -> Any:
    # Numbers mean nothing to us: as floats, integers of any length parse.
    return json.loads(text, parse_int=float)


class JsonArray:
    def __init__(self, path: Path) -> None:
        advice = "mend it, or convert it to JSON Lines, where only the bad record is lost"
        try:
            text = path.read_bytes().decode("utf-8").removeprefix(_BOM)
            records = _parse_json(text)
        except UnicodeDecodeError as error:
            raise AnnotationError(f"{path}: not UTF-8 at byte {error.start}; {advice}") from None
        except json.JSONDecodeError as error:
            offset = len(text[: error.pos].encode("utf-8"))
            raise AnnotationError(f"{path}: {error.msg} at byte {offset}; {advice}") from None
        except RecursionError:
            raise AnnotationError(f"{path}: nested too deeply; {advice}") from None
        if not isinstance(records, list):
            raise AnnotationError(f"{path} holds one {type(records).__name__}, not an array of records; {advice}")
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._records)


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
            return _parse_json(line.decode("utf-8").removeprefix(_BOM))
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
    """Hugging Face layout: media as `{bytes, path}` structs or lists of them, turns as lists of structs."""

    _BATCH_ROWS = 64

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with pq.ParquetFile(path) as file:
                self._num_rows = file.metadata.num_rows
        except pa.ArrowInvalid as error:
            raise AnnotationError(f"{path} is not a whole Parquet file: {error}") from None

    def __len__(self) -> int:
        return self._num_rows

    def __iter__(self) -> Iterator[Any]:
        row = 0
        with pq.ParquetFile(self._path) as file:
            for batch in file.iter_batches(batch_size=self._BATCH_ROWS):
                for record in batch.to_pylist():
                    yield {key: self._locate(value, row, key) for key, value in record.items()}
                    row += 1

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
