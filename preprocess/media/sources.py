"""Where media bytes come from: path rules, file stamps, and cells of Parquet files."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import numpy as np

from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media.parquet_cells import read_cell
from preprocess.sample import FileStamp, MediaSource
from shards.files.hashing import sha256_of

if TYPE_CHECKING:
    pass

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
        return io.BytesIO(read_cell(source).as_py())
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
    return read_cell(source).is_valid
