"""Files below a folder that are reached through no link: media of datasets with `follow_links: false`.

`MediaSource.path` is the absolute path and `column` the folder, through which links may lead, above `path`; the other
fields are not used. That no link is on the way is checked where it counts: each folder is opened from the one before
it, without following, so what is read is what was checked, whoever swaps files for links meanwhile.
"""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import IO

from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media import files
from preprocess.media.paths import resolve_path, root_of
from preprocess.media.places import Place
from preprocess.sample import MediaSource, MediaStamp

_AS_LINK = {errno.ELOOP, errno.ENOTDIR}  # what opening a link gives, as a file and as a folder


def owns(source: MediaSource) -> bool:
    return source.row < 0 and bool(source.column)


def locate(written: str, place: Place | None, *, follow_links: bool) -> MediaSource | None:
    """None where links are followed. Raises SampleError (path_outside, missing_file)."""
    if follow_links or not isinstance(place, Path | None):
        return None
    return MediaSource(path=resolve_path(written, place, follow_links=False), column=root_of(place))


def describe(source: MediaSource) -> str:
    return source.path


def open_medium(source: MediaSource) -> IO[bytes]:
    try:
        return files.plain_file(_open(source), describe(source))
    except OSError as error:
        raise read_error(source, error) from None


def open_stamped(source: MediaSource) -> tuple[io.FileIO, MediaStamp]:
    try:
        return files.stamped_file(_open(source), describe(source))
    except OSError as error:
        raise read_error(source, error) from None


def local_path(source: MediaSource) -> str:
    return source.path


def stamp_of(source: MediaSource) -> MediaStamp:
    with open_medium(source) as file:
        return files.stamp_of_status(os.fstat(file.fileno()))


stamped = describe
describe_version = files.describe_version


def read_error(source: MediaSource, error: OSError | ValueError) -> SampleError | FatalError:
    return files.error_of_file(describe(source), error)


def _open(source: MediaSource) -> int:
    """A descriptor. Raises OSError, or SampleError (path_outside)."""
    *folders, name = os.path.relpath(source.path, source.column).split("/")
    folder = os.open(source.column, os.O_PATH | os.O_DIRECTORY)
    try:
        for each in folders:
            inner = os.open(each, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(name, files.HOW | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno in _AS_LINK and os.path.realpath(source.path) != _without_links(source):
            detail = f"{source.path!r} goes through a link, and follow_links is false"
            raise SampleError(Reason.PATH_OUTSIDE, detail, describe(source)) from None
        raise
    finally:
        os.close(folder)


def _without_links(source: MediaSource) -> str:
    return os.path.join(os.path.realpath(source.column), os.path.relpath(source.path, source.column))
