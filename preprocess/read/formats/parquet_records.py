"""Parquet files in the layout of Hugging Face as streams of raw records."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, count
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from preprocess.errors import AnnotationError, Reason, SampleError
from preprocess.media.media_columns import is_bytes_of, media_within, replaced
from preprocess.media.parquet_cells import EmbeddedMedium
from preprocess.read.columns import roots
from preprocess.read.forms.table import keys_to_read
from preprocess.read.index import AnnotationIndex, Checkpoints
from shards.files.paths import LONGEST_PATH

_READ_BYTES = 1 << 20
_ROWS_A_BYTE, _FEW_ROWS = 8, 1 << 20  # more than records can be compressed to, unless there are few


class ParquetRows:
    """Hugging Face layout: media as `{bytes, path}` structs or lists of them, turns as lists of structs.

    Bytes of media are not read. Of columns that mean nothing in any form only the names are; their values are None.
    """

    _BATCH_ROWS = 256

    def __init__(
        self, path: Path, index: AnnotationIndex | None = None, columns: Mapping[str, str] | None = None
    ) -> None:
        import pyarrow.parquet as pq

        self._path = path
        self._index = index
        try:
            with pq.ParquetFile(path) as file:
                rows = (file.metadata.row_group(number).num_rows for number in range(file.num_row_groups))
                self._starts = list(accumulate(rows, initial=0))[:-1]  # first row of each row group
                self._num_rows = file.metadata.num_rows
                schema = file.schema_arrow
                leaves = [file.schema.column(number).path for number in range(len(file.schema))]
        except (pa.ArrowException, UnicodeDecodeError) as error:  # the latter: the name of a column
            raise AnnotationError(f"{path} is not a whole Parquet file: {error}") from None
        if self._num_rows > _ROWS_A_BYTE * path.stat().st_size + _FEW_ROWS:  # before anything is made for each
            raise AnnotationError(f"{path}: its footer says {self._num_rows:,} rows, too many for its size")
        self._known = keys_to_read(schema.names) | (roots(columns or {}) & set(schema.names))
        known = [field for field in schema if field.name in self._known]
        if len({field.name for field in known}) < len(known):
            raise AnnotationError(
                f"{path} has two columns of one name among {', '.join(f.name for f in known)}; keep one"
            )
        self._media = {field.name: paths for field in known if (paths := media_within(field.type))}
        self._leaves = [leaf for leaf in leaves if self._is_read(leaf)]
        self._others = dict.fromkeys(name for name in schema.names if name not in self._known)

    def __len__(self) -> int:
        return self._num_rows

    def __iter__(self) -> Iterator[Any]:
        return self.read_from(0)

    def checkpoint(self, record: int) -> int:
        return self._starts[bisect_right(self._starts, record) - 1] if self._starts else 0

    def paths(self, first: int, last: int) -> Sequence[Path]:
        return (self._path,)

    @staticmethod
    def find_checkpoints(path: Path, file: BinaryIO) -> Checkpoints:
        """None are needed. Raises AnnotationError."""
        while file.read(_READ_BYTES):
            pass
        nothing = np.empty(0, np.int64)
        return Checkpoints(num_records=len(ParquetRows(path)), offsets=nothing, lines=nothing)

    def read_from(self, record: int) -> Iterator[Any]:
        import pyarrow.parquet as pq

        row = record
        groups = range(bisect_left(self._starts, record), len(self._starts))
        try:
            if self._index is not None:
                self._index.check()
            with pq.ParquetFile(self._path) as file:
                for group in groups:  # one by one: of several, all are read before the first batch comes
                    if row != self._starts[group]:
                        raise self._wrong_number(row)
                    for batch in file.iter_batches(self._BATCH_ROWS, [group], self._leaves):
                        if row + len(batch) > self._num_rows:
                            raise self._wrong_number(row + len(batch))
                        for parsed in self._records(batch, row):
                            yield parsed
                            row += 1
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            raise AnnotationError(f"{self._path}: can't be read after row {row} ({error}); write it again") from None
        if row != self._num_rows:
            raise self._wrong_number(row)

    def _wrong_number(self, found: int) -> AnnotationError:
        return AnnotationError(
            f"{self._path}: its footer says {self._num_rows:,} rows, its columns hold {found:,}; write it again"
        )

    def _is_read(self, leaf: str) -> bool:
        is_known = any(leaf == name or leaf.startswith(f"{name}.") for name in self._known)
        return is_known and not any(is_bytes_of(column, paths, leaf) for column, paths in self._media.items())

    def _records(self, batch: pa.RecordBatch, first_row: int) -> Iterator[dict[str, Any] | SampleError]:
        try:
            records = batch.to_pylist()
        except (ValueError, OverflowError):  # a text that is not UTF-8, a date that Python does not know
            records = [self._one(batch.slice(number, 1), first_row + number) for number in range(len(batch))]
        for row, record in enumerate(records, start=first_row):
            yield record if isinstance(record, SampleError) else {**self._others, **self._locate_media(record, row)}

    def _one(self, batch: pa.RecordBatch, row: int) -> dict[str, Any] | SampleError:
        try:
            [record] = batch.to_pylist()
        except (ValueError, OverflowError) as error:
            return SampleError(Reason.BAD_JSON, f"{self._path} row {row}: {error}")
        return record

    def _locate_media(self, record: dict[str, Any], row: int) -> dict[str, Any]:
        """With the place of each media cell for its value, which here is `{path}` or null."""
        for column, paths in self._media.items():
            numbers = count()

            def locate(cell: Any, column: str = column, numbers: Iterator[int] = numbers) -> EmbeddedMedium | None:
                return self._locate(cell, row, column, next(numbers))

            for path in paths:
                record[column] = replaced(record[column], path, locate)
        return record

    def _locate(self, cell: dict[str, Any] | None, row: int, column: str, item: int) -> EmbeddedMedium | None:
        if cell is None:
            return None
        written = cell["path"]
        if isinstance(written, str):  # Parquet may give a million rows one text of a megabyte: each takes a copy of it
            written = written[: LONGEST_PATH + 1]
        return EmbeddedMedium(path=str(self._path), row=row, column=column, item=item, written=written)
