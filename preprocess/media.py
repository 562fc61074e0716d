"""Where media bytes come from: path rules, file stamps, and cells of Parquet files."""

from __future__ import annotations

import errno
import io
import os
import stat
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import pyarrow as pa

from preprocess.errors import FatalError, Reason, SampleError
from preprocess.sample import FileStamp, MediaSource
from shards.hashing import sha256_of

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_FIRST_TIME, _LAST_TIME = -(1 << 63), (1 << 63) - 1  # that a plan can hold, in nanoseconds: from 1677 to 2262
# Errors that say something about this path; any other errno (EIO, ESTALE, EMFILE...) is about the machine.
_ABOUT_THE_PATH = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
}


def resolve_path(written: str, data_path: Path | None, *, follow_links: bool) -> str:
    """The absolute path of a medium as written in an annotation.

    Relative paths stand below `data_path`; where it is None only absolute ones have a meaning. Raises SampleError
    (path_outside) for what leaves `data_path`, before any file is touched.
    """
    flaw = path_flaw(written)
    if flaw:
        raise SampleError(Reason.MISSING_FILE, f"{written!r} {flaw}")
    if data_path is None and not os.path.isabs(written):
        raise SampleError(
            Reason.PATH_OUTSIDE, f"{written!r} is relative, but the dataset has no data_path; give it one"
        )
    root = os.path.normpath(data_path or "/")
    path = os.path.normpath(os.path.join(root, written))
    if os.path.commonpath([root, path]) != root:
        raise SampleError(Reason.PATH_OUTSIDE, f"{written!r} leaves data_path {root}; move the file or widen data_path")
    if not follow_links and os.path.realpath(path) != os.path.join(os.path.realpath(root), os.path.relpath(path, root)):
        raise SampleError(Reason.PATH_OUTSIDE, f"{written!r} goes through a link, and follow_links is false")
    return path


def path_flaw(path: str) -> str | None:
    """What keeps a text from being a path, if anything does."""
    if "\0" in path:
        return "holds a NUL character, which no path can"
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "is not UTF-8; rename the file or folder"
    return None


def stamp_file(source: MediaSource, *, hash_content: bool = False) -> FileStamp:
    """Size and modification time of the file, and on demand the hash of the medium's bytes.

    Raises SampleError (missing_file) where there is no regular file.
    """
    try:
        status = os.stat(source.path)
    except (OSError, ValueError) as error:
        raise read_error(source, error) from None
    if not stat.S_ISREG(status.st_mode):
        raise SampleError(Reason.MISSING_FILE, f"{source.path} is not a regular file")
    sha256 = ""
    if hash_content:
        with open_medium(source) as file:
            sha256 = sha256_of(file)
    mtime_ns = min(max(status.st_mtime_ns, _FIRST_TIME), _LAST_TIME)
    return FileStamp(num_bytes=status.st_size, mtime_ns=mtime_ns, sha256=sha256)


def check_unchanged(source: MediaSource, measured: FileStamp, key: str) -> None:
    """Raises FatalError, naming the sample by its `key`, where the file is not the one that was measured.

    Nothing that was planned for it holds then, and a mount that went away for an hour must not leave rejects for good.
    """
    try:
        now = stamp_file(source, hash_content=bool(measured.sha256))
        if now == measured or (measured.sha256 and now.sha256 == measured.sha256):
            return
        found = f"{source.path} is {_size_and_time(now)}"
    except SampleError as error:
        found = error.detail
    raise FatalError(
        f"{key}: {found}; it was {_size_and_time(measured)} when it was planned. Mend the mount or bring the file "
        "back, and run the same command again; or remove the output folder to measure all media again"
    )


def _size_and_time(stamp: FileStamp) -> str:
    content = f", sha256 {stamp.sha256[:8]}" if stamp.sha256 else ""
    return f"{stamp.num_bytes:,} bytes of {np.datetime64(stamp.mtime_ns, 'ns')}{content}"


@contextmanager
def naming(source: MediaSource) -> Iterator[None]:
    """What is wrong with a sample inside is wrong with this medium: its name goes before the detail."""
    try:
        yield
    except SampleError as error:
        raise SampleError(error.reason, f"{source}: {error.detail}") from None


def open_medium(source: MediaSource) -> IO[bytes]:
    """The bytes of a medium, opened for reading. Raises SampleError (missing_file) or FatalError (disk)."""
    if source.row >= 0:
        return io.BytesIO(_parquet_cell(source).as_py())
    try:
        return open(source.path, "rb")
    except (OSError, ValueError) as error:
        raise read_error(source, error) from None


def read_error(source: MediaSource, error: OSError | ValueError) -> SampleError | FatalError:
    """Tell a path that is wrong (a reject) from a disk or machine that fails (fatal)."""
    if isinstance(error, ValueError) or error.errno in _ABOUT_THE_PATH:
        return SampleError(Reason.MISSING_FILE, f"{source}: {getattr(error, 'strerror', None) or error}")
    return FatalError(f"{source}: {error}; the disk or machine failed, not this sample: mend it and run again")


def has_bytes(source: MediaSource) -> bool:
    """Whether a cell of a Parquet file holds a medium, and not only the path of one. Raises FatalError."""
    return _parquet_cell(source).is_valid


def _parquet_cell(source: MediaSource) -> pa.BinaryScalar:
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
