"""Media embedded in Parquet files: the kind of source whose bytes stand in one cell.

`MediaSource.path` is the Parquet file; `row`, `column` and `item` (of a list) say where in it. Cells are
`{bytes, path}` structs or lists of them. Size and version are those of the file.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING

from preprocess.errors import FatalError, SampleError
from preprocess.media import files
from preprocess.media.places import Place
from preprocess.sample import MediaSource, MediaStamp

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedMedium:
    """The value of such a cell in a record. Its bytes were not read: opening it shows whether there are any."""

    path: str  # of the Parquet file
    row: int
    column: str
    item: int
    written: str | None  # path in the cell, which counts where the cell holds no bytes

    def reveal(self) -> MediaSource | str | None:
        """The cell as a source where it holds bytes, else the path that is written in it. Raises FatalError."""
        source = MediaSource(path=self.path, row=self.row, column=self.column, item=self.item)
        return source if _read_cell(source).is_valid else self.written


def owns(source: MediaSource) -> bool:
    return source.row >= 0


def locate(_: str, __: Place | None, *, follow_links: bool) -> None:
    """No text in an annotation names a cell: `EmbeddedMedium` does."""


def describe(source: MediaSource) -> str:
    return f"{source.path} (row {source.row}, {source.column}[{source.item}])"


def open_medium(source: MediaSource) -> io.BytesIO:
    return io.BytesIO(_read_cell(source).as_py())


def open_stamped(source: MediaSource) -> tuple[io.BytesIO, MediaStamp]:
    stamp = stamp_of(source)
    return open_medium(source), stamp


def local_path(_: MediaSource) -> None:
    """The path is that of another file."""


def stamp_of(source: MediaSource) -> MediaStamp:
    return files.stamp_of_file(source.path, describe(source))


def stamped(source: MediaSource) -> str:
    return source.path


describe_version = files.describe_version


def read_error(source: MediaSource, error: OSError | ValueError) -> SampleError | FatalError:
    return files.error_of_file(describe(source), error)


def _read_cell(source: MediaSource) -> pa.BinaryScalar:
    """Raises FatalError: the file is the annotation file, which could be read when the record was."""
    import pyarrow as pa

    try:
        group, offset = _row_group(source.path, source.row)
        cell = _row_group_column(source.path, group, source.column)[offset]
        item = cell if isinstance(cell, pa.StructScalar) else cell[source.item]
        return item["bytes"]
    except (OSError, ValueError, KeyError, IndexError, TypeError, pa.ArrowException) as error:
        name = describe(source)
        if isinstance(error, OSError) and error.errno is not None:
            raise FatalError(f"{name}: {error}; mend that and run again: the file itself may be whole") from None
        raise FatalError(f"{name}: the annotation file changed or broke while it was read ({error})") from None


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
