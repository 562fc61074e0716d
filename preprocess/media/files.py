"""Media that are files of their own: the kind of source that takes whatever no other kind does.

`MediaSource.path` is the absolute path; the other fields are not used. The version of a file is the time of its last
change, in nanoseconds since 1970.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media.archives.parts import archive_beside, archive_near
from preprocess.media.paths import resolve_path
from preprocess.media.places import Place
from preprocess.media.values.names import case_hint, find_name, likely_names
from preprocess.sample import MediaSource, MediaStamp

HOW = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # opening a pipe must not wait for somebody to write
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


def owns(_: MediaSource) -> bool:
    return True


def locate(written: str, place: Place | None, *, follow_links: bool) -> MediaSource:
    """Raises SampleError (path_outside, missing_file); touches no file unless links must not be followed."""
    assert place is None or isinstance(place, Path), f"no kind knows {place}"
    return MediaSource(path=resolve_path(written, place, follow_links=follow_links))


def describe(source: MediaSource) -> str:
    return source.path


def open_medium(source: MediaSource) -> IO[bytes]:
    try:
        return plain_file(os.open(source.path, HOW), describe(source))
    except (OSError, ValueError) as error:
        raise read_error(source, error) from None


def open_stamped(source: MediaSource) -> tuple[io.FileIO, MediaStamp]:
    try:
        return stamped_file(os.open(source.path, HOW), describe(source))
    except (OSError, ValueError) as error:
        stamp_of(source)  # says it where there is something else than a file
        raise read_error(source, error) from None


def local_path(source: MediaSource) -> str:
    return source.path


def stamp_of(source: MediaSource) -> MediaStamp:
    return stamp_of_file(source.path, describe(source))


def stamped(source: MediaSource) -> str:
    return source.path


def describe_version(version: int) -> str:
    return str(np.datetime64(version, "ns"))


def read_error(source: MediaSource, error: OSError | ValueError) -> SampleError | FatalError:
    return error_of_file(describe(source), error)


def plain_file(descriptor: int, medium: str) -> IO[bytes]:
    """What was opened, to read; closed again where it is no file of a disk. Raises SampleError (missing_file)."""
    return io.BufferedReader(stamped_file(descriptor, medium)[0])


def stamped_file(descriptor: int, medium: str) -> tuple[io.FileIO, MediaStamp]:
    """The same, unbuffered, and its stamp."""
    try:
        status = os.fstat(descriptor)
        _check_plain(status, medium)
        return io.FileIO(descriptor), stamp_of_status(status)
    except BaseException:
        os.close(descriptor)
        raise


def stamp_of_file(path: str, medium: str) -> MediaStamp:
    """Size and time of the file in which a medium stands that messages call `medium`.

    Raises SampleError (missing_file) where there is no regular file.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise error_of_file(medium, error) from None
    _check_plain(status, medium)
    return stamp_of_status(status)


def stamp_of_status(status: os.stat_result) -> MediaStamp:
    return MediaStamp(num_bytes=status.st_size, version=min(max(status.st_mtime_ns, _FIRST_TIME), _LAST_TIME))


def _check_plain(status: os.stat_result, medium: str) -> None:
    """Pipes would keep a reader waiting, devices never end, and /proc/self/mem, called regular, fails like a disk."""
    if not stat.S_ISREG(status.st_mode) or status.st_dev in _kernel_file_systems():
        raise SampleError(Reason.MISSING_FILE, f"{medium} is not a regular file", medium)


def _hint(path: str) -> str:
    """Where a folder on the way is missing, an archive near it; else a name that differs in case."""
    missing = ""
    while path != (folder := os.path.dirname(path)) and not os.path.isdir(folder):
        path = missing = folder
    if missing:
        return _hint_for_folder(missing)
    return next((case_hint(other) for other in likely_names(path) if os.path.lexists(other)), "")


@lru_cache(maxsize=256)  # folders that are missing are so mostly for many files
def _hint_for_folder(missing: str) -> str:
    if archive := archive_beside(missing):
        return f"; there is {archive}: add that to data_path, or unpack it"
    if archive := archive_near(missing):
        return f"; near it there is {archive}: if it is in an archive, data_path must name that"
    with suppress(SampleError):  # several names fit
        if found := find_name(missing, os.path.dirname(missing), ignore_case=True, follow_links=True):
            return case_hint(found)
    return ""


@cache
def _kernel_file_systems() -> frozenset[int]:
    return frozenset(os.stat(path).st_dev for path in ("/proc", "/sys") if os.path.ismount(path))


def error_of_file(medium: str, error: OSError | ValueError) -> SampleError | FatalError:
    """Tell a path that is wrong (a reject) from a disk or machine that fails (fatal)."""
    if isinstance(error, ValueError) or error.errno in _ABOUT_THE_PATH:
        hint = _hint(medium) if getattr(error, "errno", None) == errno.ENOENT else ""
        return SampleError(Reason.MISSING_FILE, f"{medium}: {getattr(error, 'strerror', None) or error}{hint}", medium)
    return FatalError(f"{medium}: {error}; the disk or machine failed, not this sample: mend it and run again")
