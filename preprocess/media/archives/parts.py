"""The files that an archive stands in: one, or parts with numbers, which are read one after another as one stream.

Parts are called `x.tar.gz_part1`, `x.tar.gz.part001`, `x.tar_part-aa`, `x.zip.001`, `x.tar.gz.aa` and the like.
"""

from __future__ import annotations

import os
import re
import weakref
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from preprocess.errors import ConfigError

_ARCHIVE = r"\.(?:tar|tar\.gz|tgz|zip)"
_IS_ARCHIVE = re.compile(rf".+{_ARCHIVE}", re.IGNORECASE)
_IS_PART = re.compile(rf"(.+{_ARCHIVE})(?:[._-]?part[._-]?|\.)([0-9]+|[a-z]{{2,3}})", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class PartFile:
    path: str
    num_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str) -> PartFile:
        """As it is now. Raises OSError."""
        status = os.stat(path)
        return cls(path=path, num_bytes=status.st_size, mtime_ns=status.st_mtime_ns)


def is_archive(path: str) -> bool:
    """Whether its name is that of an archive, or of a part of one."""
    name = os.path.basename(path)
    return bool(_IS_ARCHIVE.fullmatch(name) or _IS_PART.fullmatch(name))


def archive_of(path: str) -> str:
    """The archive that a file is, or is a part of."""
    folder, name = os.path.split(path)
    part = _IS_PART.fullmatch(name)
    return path if part is None or _IS_ARCHIVE.fullmatch(name) else os.path.join(folder, part[1])


def files_of(archive: str) -> tuple[str, ...]:
    """The file of that name, or the parts in their order; none where there is neither. Raises ConfigError for gaps."""
    if os.path.isfile(archive):
        return (archive,)
    folder, name = os.path.split(archive)
    try:
        names = os.listdir(folder)
    except OSError:
        return ()
    found = {match[2].lower(): each for each in names if (match := _IS_PART.fullmatch(each)) and match[1] == name}
    if not found:
        return ()
    ordered = sorted(found, key=lambda suffix: (len(suffix.lstrip("0")), suffix) if suffix.isdigit() else (0, suffix))
    _check_numbers(archive, ordered)
    return tuple(os.path.join(folder, found[suffix]) for suffix in ordered)


def _check_numbers(archive: str, suffixes: list[str]) -> None:
    numbers = [_number(suffix) for suffix in suffixes]
    first = numbers[0]
    gap = next((number for number, got in enumerate(numbers, first) if number != got), None)
    if first > 1 or gap is not None:
        missing = f"number {gap}" if first <= 1 else "the first"
        raise ConfigError(f"{archive}: of its {len(suffixes)} parts {missing} is missing; fetch it")


def _number(suffix: str) -> int:
    if suffix.isdigit():
        return int(suffix)
    number = 0
    for letter in suffix:
        number = number * 26 + ord(letter) - ord("a")
    return number


def archive_beside(folder: str) -> str | None:
    """An archive that is called as a folder which is not there, as `coco.tar.gz` beside `coco`."""
    parent, name = os.path.split(folder)
    try:
        names = os.listdir(parent)
    except OSError:
        return None
    found = {archive_of(os.path.join(parent, each)) for each in names if is_archive(each)}
    called = re.compile(re.escape(name) + _ARCHIVE, re.IGNORECASE)
    return min((each for each in found if called.fullmatch(os.path.basename(each))), default=None)


def archive_near(folder: str) -> str | None:
    """One of the archives that lie where a folder is missing."""
    parent = os.path.dirname(folder)
    try:
        found = [name for name in os.listdir(parent) if is_archive(name)]
    except OSError:
        return None
    return archive_of(os.path.join(parent, min(found))) if found else None


class PartsReader:
    """Bytes at any place of the files as of one. They stay open."""

    def __init__(self, paths: Iterable[str]) -> None:
        """Raises OSError."""
        self._files: list[int] = []
        self._close = weakref.finalize(self, _close_all, self._files)
        sizes: list[int] = []
        try:
            for path in paths:
                self._files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
                sizes.append(os.fstat(self._files[-1]).st_size)
        except OSError:
            self.close()
            raise
        self._ends = list(accumulate(sizes))
        self.num_bytes = self._ends[-1]

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        """Fewer bytes where they end. Raises OSError."""
        if len(self._files) == 1:
            got = os.pread(self._files[0], num_bytes, offset)
            if len(got) == num_bytes or not got:
                return got
        else:
            got = b""
        pieces = [got]
        offset, num_bytes = offset + len(got), num_bytes - len(got)
        while num_bytes > 0 and offset < self.num_bytes:
            part = bisect_right(self._ends, offset)
            before = self._ends[part - 1] if part else 0
            got = os.pread(self._files[part], min(num_bytes, self._ends[part] - offset), offset - before)
            if not got:
                break
            pieces.append(got)
            offset, num_bytes = offset + len(got), num_bytes - len(got)
        return b"".join(pieces)

    def close(self) -> None:
        self._close()

    def __enter__(self) -> PartsReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def files_now(archive: str) -> tuple[PartFile, ...]:
    """As they are now. Raises ConfigError where there are none."""
    try:
        files = tuple(map(PartFile.of, files_of(archive)))
    except OSError as error:
        raise ConfigError(f"{archive}: {error.strerror}; check data_path") from None
    if not files:
        raise ConfigError(f"{archive}: there is no such archive; check data_path in the registry")
    return files


def archives_like(pattern: str) -> tuple[str, ...]:
    """The archives that a path with *, ? or [] names, sorted; parts of one count once. Raises ConfigError."""
    found = sorted(map(str, Path("/").glob(pattern.lstrip("/"))))
    other = next((path for path in found if not is_archive(path)), None)
    if other is not None:
        raise ConfigError(f"data_path {pattern} also names {other}, which is no archive; say *.zip, for example")
    return tuple(dict.fromkeys(map(archive_of, found)))
