"""Members of archives: the kind of source whose bytes are some of those of a larger file.

`MediaSource.path` is `archive:` and the absolute path of the archive, `column` the member's name; the other fields are
not used. Size and version are those of the archive: the sum of its files' sizes, and the time of the last change.
"""

from __future__ import annotations

import io
import os
import zlib
from functools import lru_cache
from typing import IO, Any

from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media import cache, files
from preprocess.media.archives.folded import folded_names
from preprocess.media.archives.index import ArchiveIndex, Member, index_path, read_index
from preprocess.media.archives.listing import Packing
from preprocess.media.archives.merged import MergedKeys, merged_path, read_merged
from preprocess.media.archives.parts import PartFile, PartsReader
from preprocess.media.archives.zip import content_at, inflate
from preprocess.media.places import Archives, Place
from preprocess.media.values.names import case_hint, likely_names
from preprocess.sample import MediaSource, MediaStamp
from shards.files.paths import path_flaw

SCHEME = "archive:"
MOST_INFLATED_BYTES = 1 << 28  # of a compressed member, which is inflated in memory
_MOST_READ_BYTES = 1 << 24  # read at once; of larger members, what is asked for
_BUFFER_BYTES = 1 << 20
_FLAWS = {
    Packing.LINK: (Reason.MISSING_FILE, "is a link, and links in archives are not followed"),
    Packing.SPECIAL: (Reason.MISSING_FILE, "is no plain file"),
    Packing.ENCRYPTED: (Reason.UNDECODABLE, "is encrypted; unpack the archive and name the folder"),
    Packing.UNKNOWN: (Reason.UNDECODABLE, "is compressed in another way than deflate; pack it again"),
}


def owns(source: MediaSource) -> bool:
    return source.path.startswith(SCHEME)


def locate(written: str, place: Place | None, *, follow_links: bool) -> MediaSource | None:
    """The member, by its name there, else by the rule of `_rests`; None where media don't lie in archives.

    Raises SampleError (path_outside, missing_file, ambiguous_path).
    """
    if not isinstance(place, Archives):
        return None
    path = _path(written, place)
    found = [(archive, path) for archive in _having(place, path)]
    if not found:
        rests = {name: None for folder in _folders(place) for name in _rests(path, folder)}
        found = [
            (archive, name)
            for name in rests
            for archive in _having(place, name)
            if name in _rests(path, os.path.dirname(archive))
        ]
    if not found:
        hint = next((case_hint(name) for name in likely_names(path) if _having(place, name)), "")
        raise SampleError(Reason.MISSING_FILE, f"{written!r} is in none of {_described_place(place)}{hint}", written)
    return _only(written, found)


def locate_otherwise(written: str, place: Archives, *, ignore_case: bool) -> MediaSource | None:
    """The member whose name is equal but for case or composed accents; None where there is none. Raises SampleError."""
    path = _path(written, place)
    tables = {archive: folded_names(_index(archive), ignore_case) for archive in place.archives}
    found = [(archive, name) for archive, table in tables.items() for name in table.find(path)]
    if not found:
        found = [
            (archive, name)
            for archive, table in tables.items()
            for rest in _rests(path, os.path.dirname(archive))
            for name in table.find(rest)
        ]
    return _only(written, found) if found else None


def _only(written: str, found: list[tuple[str, str]]) -> MediaSource:
    """The member of that archive and name, if it is one alone and can be read. Raises SampleError."""
    if len(found) > 1:
        both = " and ".join(_described(archive, name) for archive, name in found[:2])
        raise SampleError(Reason.AMBIGUOUS_PATH, f"{written!r} fits {both}; name the archive that is meant")
    [(archive, name)] = found
    member = _member(archive, name)
    if member.packing in _FLAWS:
        reason, flaw = _FLAWS[member.packing]
        raise SampleError(reason, f"{_described(archive, name)} {flaw}", _described(archive, name))
    return MediaSource(path=f"{SCHEME}{archive}", column=name)


def _path(written: str, place: Archives) -> str:
    """Relative and without `.`. Raises SampleError."""
    flaw = path_flaw(written)
    if flaw:
        raise SampleError(Reason.MISSING_FILE, f"{written!r} {flaw}")
    if os.path.isabs(written):
        raise SampleError(Reason.PATH_OUTSIDE, f"{written!r} is absolute, and {place} holds relative paths")
    path = os.path.normpath(written)
    if path == ".." or path.startswith("../"):
        raise SampleError(Reason.PATH_OUTSIDE, f"{written!r} leaves data_path {place}")
    return path


@lru_cache(maxsize=64)
def _folders(place: Archives) -> tuple[str, ...]:
    """In which its archives lie."""
    return tuple(dict.fromkeys(map(os.path.dirname, place.archives)))


def _having(place: Archives, name: str) -> list[str]:
    """The archives that have a member of that name."""
    if len(place.archives) == 1:
        return [archive for archive in place.archives if _find(archive, name)]
    candidates = [place.archives[number] for number in _merged_in(cache.in_use(), place.archives).find(name)]
    return [archive for archive in candidates if _find(archive, name)]


@lru_cache(maxsize=64)
def _merged_in(used: cache.MediaCache, archives: tuple[str, ...]) -> MergedKeys:
    merged = read_merged(merged_path(used.folder, archives))
    if merged is None:
        raise FatalError(f"{archives[0]}: an index of it in {used.folder} is gone; run the same command again")
    return merged


def _rests(path: str, folder: str) -> list[str]:
    """What the member is called if its archive, which lies in `folder`, was to be unpacked there or above: the rest of
    the path, where its first folders are the last ones of `folder`, or of one above that.

    `allava_laion/images/1.jpeg` is `images/1.jpeg` in an archive in `allava_laion/image_chunks`.
    """
    names, above = path.split("/"), folder.split("/")[1:]
    return [
        "/".join(names[count:])
        for count in range(1, len(names))
        if any(above[end - count : end] == names[:count] for end in range(count, len(above) + 1))
    ]


def describe(source: MediaSource) -> str:
    return _described(_archive(source), source.column)


def open_medium(source: MediaSource) -> IO[bytes]:
    member, reader = _member(_archive(source), source.column), _reader(_archive(source))
    if member.packing == Packing.DEFLATED:
        return io.BytesIO(_inflated(source, member, reader))
    start = _start(source, member, reader)
    if member.size > _MOST_READ_BYTES:
        return io.BufferedReader(_Window(reader, start, member.size), _BUFFER_BYTES)
    return io.BytesIO(_checked(source, member, _read(source, reader, start, member.size)))


def open_stamped(source: MediaSource) -> tuple[IO[bytes], MediaStamp]:
    stamp = stamp_of(source)
    member, reader = _member(_archive(source), source.column), _reader(_archive(source))
    if member.packing == Packing.DEFLATED:
        return io.BytesIO(_inflated(source, member, reader)), stamp
    return _Window(reader, _start(source, member, reader), member.size), stamp  # type: ignore[return-value]


def local_path(_: MediaSource) -> None:
    """The path is that of another file."""


def stamp_of(source: MediaSource) -> MediaStamp:
    try:
        now = [os.stat(file.path) for file in _index(_archive(source)).files]
    except OSError as error:
        raise read_error(source, error) from None
    if len(now) == 1:
        return files.stamp_of_status(now[0])
    return MediaStamp(num_bytes=sum(each.st_size for each in now), version=max(each.st_mtime_ns for each in now))


def stamped(source: MediaSource) -> str:
    return _archive(source)


describe_version = files.describe_version


def read_error(source: MediaSource, error: OSError | ValueError) -> SampleError | FatalError:
    return files.error_of_file(describe(source), error)


def _archive(source: MediaSource) -> str:
    return source.path.removeprefix(SCHEME)


def _described(archive: str, name: str) -> str:
    return f"{name} in {archive}"


def _described_place(place: Archives) -> str:
    index = _index(place.archives[0])
    holds = f" (which hold {index.name(0)}, for example)" if len(index) else ""
    return f"{place}{holds}" if len(place.archives) == 1 else f"the {len(place.archives)} archives {place}{holds}"


def _index(archive: str) -> ArchiveIndex:
    return _index_in(cache.in_use(), archive)


@lru_cache(maxsize=1 << 14)
def _index_in(used: cache.MediaCache, archive: str) -> ArchiveIndex:
    index = read_index(index_path(used.folder, archive))
    if index is None:
        raise FatalError(f"{archive}: its index in {used.folder} is gone; run the same command again")
    return index


def _find(archive: str, name: str) -> list[Member]:
    return _find_in(cache.in_use(), archive, name)


@lru_cache(maxsize=1 << 10)  # a medium is asked for several times in a row
def _find_in(used: cache.MediaCache, archive: str, name: str) -> list[Member]:
    return _index_in(used, archive).find(name)


def _member(archive: str, name: str) -> Member:
    found = _find(archive, name)
    if not found:
        raise SampleError(
            Reason.MISSING_FILE, f"{_described(archive, name)}: no such member", _described(archive, name)
        )
    if len(found) > 1:
        detail = f"{_described(archive, name)} stands there {len(found)} times; leave one"
        raise SampleError(Reason.AMBIGUOUS_PATH, detail, _described(archive, name))
    return found[0]


def _reader(archive: str) -> PartsReader:
    return _reader_in(cache.in_use(), archive)


@lru_cache(maxsize=64)
def _reader_in(used: cache.MediaCache, archive: str) -> PartsReader:
    index = _index_in(used, archive)
    try:
        if tuple(PartFile.of(file.path) for file in index.files) != index.files:
            raise FatalError(f"{archive} changed since its index was made; run the same command again")
        return PartsReader([str(index.plain_tar)] if index.plain_tar else [file.path for file in index.files])
    except OSError as error:
        raise FatalError(f"{archive}: {error}; mend that and run again") from None


def _start(source: MediaSource, member: Member, reader: PartsReader) -> int:
    """Where its bytes begin. Raises SampleError."""
    if member.packing == Packing.PLAIN:
        return member.offset
    start, flaw = content_at(reader, member.offset, member.name.encode())
    if flaw is None and member.packing == Packing.STORED and member.stored_size != member.size:
        flaw = f"it says two sizes, {member.stored_size:,} and {member.size:,} bytes"
    if flaw is not None:
        raise _damaged(source, flaw)
    return start


def _inflated(source: MediaSource, member: Member, reader: PartsReader) -> bytes:
    if max(member.size, member.stored_size) > MOST_INFLATED_BYTES:
        raise SampleError(
            Reason.DECOMPRESSION_BOMB,
            f"{describe(source)} has {member.size:,} bytes, compressed; at most {MOST_INFLATED_BYTES:,} are inflated: "
            "pack it without compression",
            describe(source),
        )
    stored = _read(source, reader, _start(source, member, reader), member.stored_size)
    content = inflate(stored, member.size)
    if content is None:
        raise _damaged(source, f"its data do not inflate to the {member.size:,} bytes that are promised")
    return _checked(source, member, content)


def _checked(source: MediaSource, member: Member, content: bytes) -> bytes:
    if member.checksum >= 0 and zlib.crc32(content) != member.checksum:
        raise _damaged(source, "its bytes do not give its checksum")
    return content


def _read(source: MediaSource, reader: PartsReader, start: int, num_bytes: int) -> bytes:
    try:
        content = reader.read_at(start, num_bytes)
    except OSError as error:
        raise read_error(source, error) from None
    if len(content) < num_bytes:
        raise _damaged(source, "the archive ends in it")
    return content


def _damaged(source: MediaSource, flaw: str) -> SampleError:
    return SampleError(Reason.UNDECODABLE, f"{describe(source)}: {flaw}; fetch the archive again", describe(source))


class _Window(io.RawIOBase):
    """Some bytes of an archive as a file."""

    def __init__(self, reader: PartsReader, start: int, num_bytes: int) -> None:
        self._reader = reader
        self._start = start
        self._num_bytes = num_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._num_bytes}[whence]
        if base + offset < 0:
            raise OSError(22, "before the start")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(self._num_bytes - self._position, 0))
        got = self._reader.read_at(self._start + self._position, wanted) if wanted else b""
        buffer[: len(got)] = got
        self._position += len(got)
        return len(got)
