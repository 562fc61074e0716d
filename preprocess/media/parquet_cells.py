"""Media embedded in Parquet files: the bytes of one cell."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq

from preprocess.errors import FatalError
from preprocess.sample import MediaSource


def read_cell(source: MediaSource) -> pa.BinaryScalar:
    """Bytes of an embedded medium: column cells are `{bytes, path}` structs or lists of them."""
    try:
        group, offset = _row_group(source.path, source.row)
        cell = _row_group_column(source.path, group, source.column)[offset]
        item = cell if isinstance(cell, pa.StructScalar) else cell[source.item]
        return item["bytes"]
    except (OSError, ValueError, KeyError, IndexError, TypeError, pa.ArrowException) as error:
        raise FatalError(f"{source}: the annotation file changed or broke while it was read ({error})") from None


def _row_group(path: str, row: int) -> tuple[int, int]:
    """Row group that holds `row`, and the row's offset in it."""
    ends = _open_parquet(path)[1]
    group = bisect_right(ends, row)
    if group == len(ends):
        raise ValueError(f"row {row} is beyond the end")
    return group, row - (ends[group - 1] if group else 0)


@lru_cache(maxsize=2)
def _row_group_column(path: str, group: int, column: str) -> pa.ChunkedArray:
    """Neighbouring rows share a row group, which Parquet can't read in parts."""
    return _open_parquet(path)[0].read_row_group(group, columns=[column])[column]


@lru_cache(maxsize=16)
def _open_parquet(path: str) -> tuple[pq.ParquetFile, list[int]]:
    """The file, which stays open because its footer takes long to parse, and the row after each of its row groups."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    return file, list(accumulate(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)))
