"""Media columns of Parquet files, one cell at a time, in any order.

Parquet has no part that can be read alone and is smaller than the pages of a column, which hold all media of a row
group: to read one, all are read and expanded. Packs mix the rows of a dataset, so nearly every medium of a shard is of
another row group, and no cache in memory, nor any order of work within a shard, would spare that. So whoever first
expands a row group writes down where each of its cells is: in the Parquet file itself, where its pages are not
compressed; else in a copy of the expanded cells, in the cache folder, as long as that has room. From then on a cell is
read like a file.

What is written, all integers of 64 bits, little-endian:

    is_copy, number of rows, number of cells
    row_starts    of each row, the number of its first cell; and the number of cells
    places        of each cell, offset (in this file, or in the Parquet file) and size; size -1: it holds no bytes
    cells         one after another, if is_copy
"""

from __future__ import annotations

import hashlib
import os
import weakref
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from preprocess.media import cache
from preprocess.media.media_columns import FieldPath, is_bytes_of, media_within, slots_of
from shards.files.atomic import open_atomically
from shards.look.readable import readable_bytes

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

CELLS_DIR = "cells"  # in the cache
_INTEGER = np.dtype("<i8")
_FIRST_BYTES, _MOST_TRIES = 64, 64  # of a cell; places where they stand and the rest does not
_WORTH_SAYING_BYTES = 1 << 30
_OPEN_GROUPS = 128  # of each process


class OpenParquet:
    """A Parquet file that stays open, because its footer takes long to parse."""

    def __init__(self, path: str) -> None:
        import pyarrow.parquet as pq

        self.path = path
        self.file: pq.ParquetFile = pq.ParquetFile(path)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)
        status = os.fstat(self.descriptor)
        self.version = f"{os.path.realpath(path)} {status.st_size} {status.st_mtime_ns}"
        groups = range(self.file.num_row_groups)
        self.ends = list(accumulate(self.file.metadata.row_group(group).num_rows for group in groups))

    def group_of(self, row: int) -> tuple[int, int]:
        """Row group that holds `row`, and the row's offset in it. Raises ValueError."""
        group = bisect_right(self.ends, row)
        if group == len(self.ends):
            raise ValueError(f"row {row} is beyond the end")
        return group, row - (self.ends[group - 1] if group else 0)


class _Places:
    """Of the cells of a row group."""

    def __init__(self, descriptor: int, owner: object) -> None:
        """`owner` closes the descriptor, when nobody needs it; None: these places do."""
        self._descriptor = descriptor
        self._owner = owner
        if owner is None:
            weakref.finalize(self, os.close, descriptor)
        self.row_starts: npt.NDArray[np.int64] = np.zeros(1, np.int64)
        self.places: npt.NDArray[np.int64] = np.zeros((0, 2), np.int64)

    def place(self, row: int, item: int) -> tuple[int, int]:
        """Offset and size. Raises IndexError."""
        cell = int(self.row_starts[row]) + item
        if not cell < self.row_starts[row + 1]:
            raise IndexError(f"row {row} of the group has no item {item}")
        offset, size = self.places[cell]
        return int(offset), int(size)

    def read(self, row: int, item: int) -> bytes | None:
        offset, size = self.place(row, item)
        if size < 0:
            return None
        content = os.pread(self._descriptor, size, offset)
        if len(content) < size:
            raise ValueError("a row group ends early")
        return content


def read_cell(path: str, row: int, column: str, item: int) -> bytes | None:
    """The bytes of a cell, if it holds any.

    Raises OSError, ValueError, KeyError, IndexError, TypeError or ArrowException where the file is not as it was.
    """
    group, offset = open_parquet(path).group_of(row)
    places = _places(cache.if_any(), path, group, column)
    if places is not None:
        return places.read(offset, item)
    buffer = _cell(path, group, column, offset, item)
    return None if buffer is None else buffer.to_pybytes()


def has_bytes(path: str, row: int, column: str, item: int) -> bool:
    """Whether the cell holds any. Raises as `read_cell`."""
    group, offset = open_parquet(path).group_of(row)
    places = _places(cache.if_any(), path, group, column)
    if places is not None:
        return places.place(offset, item)[1] >= 0
    return _cell(path, group, column, offset, item) is not None


@lru_cache(maxsize=16)
def open_parquet(path: str) -> OpenParquet:
    return OpenParquet(path)


@lru_cache(maxsize=2)
def _row_group_column(path: str, group: int, column: str) -> pa.ChunkedArray:
    """Neighbouring rows share a row group."""
    return open_parquet(path).file.read_row_group(group, columns=[column])[column]


def _cell(path: str, group: int, column: str, offset: int, item: int) -> pa.Buffer | None:
    paths = media_within(open_parquet(path).file.schema_arrow.field(column).type)
    return list(_cells_of_row(_row_group_column(path, group, column)[offset], paths))[item]


@lru_cache(maxsize=_OPEN_GROUPS)
def _places(used: cache.MediaCache | None, path: str, group: int, column: str) -> _Places | None:
    """Where the cells are; None where there is no cache, or no room in it."""
    if used is None:
        return None
    parquet = open_parquet(path)
    name = hashlib.sha256(os.fsencode(f"{parquet.version} {column}")).hexdigest()[:16]
    place = used.folder / CELLS_DIR / name / f"{group}.cells"
    found = _read_places(place, parquet)
    if found is None and used.keeps_cells and _write_places(place, used, parquet, group, column):
        found = _read_places(place, parquet)
    return found


def _read_places(path: Path, parquet: OpenParquet) -> _Places | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        is_copy, num_rows, num_cells = np.frombuffer(os.pread(descriptor, 24, 0), _INTEGER).tolist()
        numbers = np.frombuffer(os.pread(descriptor, 8 * (num_rows + 1 + 2 * num_cells), 24), _INTEGER)
        found = _Places(descriptor, None) if is_copy else _Places(parquet.descriptor, parquet)
        found.row_starts, found.places = numbers[: num_rows + 1], numbers[num_rows + 1 :].reshape(-1, 2)
    except BaseException:
        os.close(descriptor)
        raise
    if not is_copy:
        os.close(descriptor)
    return found


def _write_places(path: Path, used: cache.MediaCache, parquet: OpenParquet, group: int, column: str) -> bool:
    """Whether there was room."""
    row_starts = [0]
    cells: list[pa.Buffer | None] = []
    paths = media_within(parquet.file.schema_arrow.field(column).type)
    for row in _row_group_column(parquet.path, group, column):
        cells += _cells_of_row(row, paths)
        row_starts.append(len(cells))
    sizes = [-1 if cell is None else cell.size for cell in cells]
    found = _in_the_file(parquet, group, column, paths, cells)
    head_bytes = 8 * (3 + len(row_starts) + 2 * len(cells))
    copied = [cell for cell in cells if cell is not None] if found is None else []
    if not used.reserve(head_bytes + sum(cell.size for cell in copied)):
        return False
    if found is None:
        ends = accumulate((max(size, 0) for size in sizes), initial=head_bytes)
        found = [offset for offset, _ in zip(ends, sizes, strict=False)]
        is_copy = 1
    else:
        is_copy = 0
    numbers = [is_copy, len(row_starts) - 1, len(cells), *row_starts]
    places = np.array([found, sizes], _INTEGER).T
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomically(path) as file:
        file.write(np.array(numbers, _INTEGER).tobytes() + places.tobytes())
        for cell in copied:
            file.write(cell)
    return True


def _cells_of_row(row: Any, paths: Sequence[FieldPath]) -> Iterator[pa.Buffer | None]:
    """The bytes of the cells, not copied; None where a cell holds none."""
    for cell in chain.from_iterable(slots_of(row, path) for path in paths) if row.is_valid else ():
        scalar = None if cell is None else cell["bytes"]
        yield scalar.as_buffer() if scalar is not None and scalar.is_valid else None


def _in_the_file(
    parquet: OpenParquet, group: int, column: str, paths: list[FieldPath], cells: list[pa.Buffer | None]
) -> list[int] | None:
    """Offsets of the cells in the Parquet file, where its pages hold them as they are; None if they don't.

    The cells are looked for, in their order, which leaves nothing to be known about pages and their headers.
    """
    metadata = parquet.file.metadata.row_group(group)
    chunks = [metadata.column(number) for number in range(metadata.num_columns)]
    chunks = [each for each in chunks if is_bytes_of(column, paths, each.path_in_schema)]
    if len(chunks) != 1 or chunks[0].compression != "UNCOMPRESSED":
        return None
    [chunk] = chunks
    first = chunk.data_page_offset
    if chunk.has_dictionary_page:
        first = min(first, chunk.dictionary_page_offset)
    stored = os.pread(parquet.descriptor, chunk.total_compressed_size, first)
    offsets, position = [], 0
    for cell in cells:
        content = b"" if cell is None else cell.to_pybytes()
        place = _find(stored, content, position)
        if place is None:  # the same as one before it, in a dictionary
            place = _find(stored, content, 0)
        if place is None:
            return None
        offsets.append(first + place)
        position = max(position, place)
    return offsets


def _find(stored: bytes, content: bytes, position: int) -> int | None:
    """By its first bytes: `find` would take a millisecond to prepare for all of an image."""
    start = content[:_FIRST_BYTES]
    for _ in range(_MOST_TRIES):
        position = stored.find(start, position)
        if position < 0:
            return None
        if memoryview(stored)[position : position + len(content)] == content:
            return position
        position += 1
    return None


def cost_line(dataset: str, paths: Sequence[Path], used: cache.MediaCache) -> str | None:
    """What to say before media of Parquet files are expanded; None where that is little. Looks into the first file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(paths[0])
        first = metadata.row_group(0) if metadata.num_row_groups else None
        chunks = [first.column(number) for number in range(first.num_columns)] if first is not None else []
        names = [each.path_in_schema for each in chunks if each.compression != "UNCOMPRESSED"]
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return None  # its reader says it
    leaves = [name for name in names if name.endswith(".bytes")]
    num_bytes = sum(path.stat().st_size for path in paths)
    too_little = num_bytes > used.most_bytes
    if not leaves or not (too_little or num_bytes > _WORTH_SAYING_BYTES):
        return None
    rest = "; that is too little for all, and the rest will be read slowly: raise it" if too_little else ""
    return (
        f"{dataset}: its Parquet files ({readable_bytes(num_bytes)}) hold media compressed, which are expanded once, "
        f"into {used.folder}; it may hold {readable_bytes(used.most_bytes)} (media_cache, media_cache_bytes) and may "
        f"be removed after the run{rest}"
    )
