"""A compressed tar, unpacked once: the plain tar in the cache folder, and what it holds.

What is in it can only be found by unpacking all of it, so this is done in one stream, and the plain tar is read at
random like any other. None of its members is written as a file.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from preprocess.errors import FatalError
from preprocess.media.archives.listing import ArchiveError, Listing
from preprocess.media.archives.parts import PartsReader
from preprocess.media.archives.tar import list_tar
from preprocess.media.cache import MediaCache
from shards.look.readable import readable_bytes

_MAGIC = b"\x1f\x8b\x08"  # of gzip, RFC 1952, with deflate
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_READ_BYTES = _WRITE_BYTES = 1 << 22
_RESERVED_BYTES = 1 << 26  # taken from the bound at a time
_MOST_TIMES, _BUT_AT_LEAST = 200, 1 << 30  # what a tar of media may grow to; gzip goes up to a thousand times
_MOST_BEHIND = 1 << 26  # bytes after the last member, which are padding
_SAY_SECONDS = 60.0
_BYTES_A_SECOND = 150e6  # about, of one core
_UNFINISHED = ".unfinished"


def looks_compressed(start: bytes) -> bool:
    return start.startswith(_MAGIC)


def cost_line(archive: str, num_files: int, num_bytes: int, cache: MediaCache) -> str:
    parts = f"{num_files} parts, " if num_files > 1 else ""
    minutes = num_bytes / _BYTES_A_SECOND / 60
    time_taken = f"about {minutes:,.0f} min" if minutes >= 1 else "less than a minute"
    return (
        f"{archive} ({parts}{readable_bytes(num_bytes)}) is compressed, and is unpacked once: that takes "
        f"{time_taken} and at least {readable_bytes(num_bytes)} in {cache.folder}, which may hold "
        f"{readable_bytes(cache.most_bytes)} (media_cache, media_cache_bytes) and may be removed after the run"
    )


def unpack(
    archive: str, reader: PartsReader, path: Path, cache: MediaCache, tell: Callable[[str], None] = lambda _: None
) -> Listing:
    """Write the plain tar to `path`, whole or not at all. Raises ArchiveError, or FatalError over the bound."""
    for left in path.parent.glob(f"{path.name}*"):  # of an earlier version, or of a process that was killed
        left.unlink()
    cache.recount()
    unfinished = path.with_name(f"{path.name}.{os.getpid()}{_UNFINISHED}")
    stream = _Unpacked(archive, reader, os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), cache, tell)
    try:
        listing = list_tar(archive, stream.read_at)
        stream.finish()
        os.rename(unfinished, path)
    except FileNotFoundError:
        stream.give_up()
        raise FatalError(f"{archive}: another process unpacks it now; run the same command again") from None
    except BaseException:
        stream.give_up()
        unfinished.unlink(missing_ok=True)
        raise
    finally:
        stream.close()
    return listing


class _Unpacked:
    """The plain tar, as far as it was asked for; it is written on the way."""

    def __init__(
        self, archive: str, reader: PartsReader, file: int, cache: MediaCache, tell: Callable[[str], None]
    ) -> None:
        self._archive = archive
        self._reader = reader
        self._file = file
        self._cache = cache
        self._tell = tell
        self._decoder = zlib.decompressobj(_GZIP_WINDOW)
        self._pending = b""  # compressed
        self._num_read = self._num_unpacked = self._reserved = 0
        self._is_at_end = False
        self._said = time.monotonic()

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        while self._num_unpacked < offset + num_bytes and not self._is_at_end:
            self._unpack_more()
        return os.pread(self._file, num_bytes, offset)

    def finish(self) -> None:
        """To the end of the stream, whose checksums come last."""
        until = self._num_unpacked + _MOST_BEHIND
        while not self._is_at_end:
            self._unpack_more()
            if self._num_unpacked > until:
                raise ArchiveError(self._archive, "goes on long after its last member")
        os.fsync(self._file)
        self._cache.reserve(self._num_unpacked - self._reserved)
        self._reserved = self._num_unpacked

    def give_up(self) -> None:
        self._cache.reserve(-self._reserved)

    def close(self) -> None:
        os.close(self._file)

    def _unpack_more(self) -> None:
        if not self._pending:
            self._pending = self._reader.read_at(self._num_read, _READ_BYTES)
            self._num_read += len(self._pending)
            if not self._pending:
                self._end()
                return
        try:
            if self._decoder.eof:
                self._begin_another()
                return
            piece = self._decoder.decompress(self._pending, _WRITE_BYTES)
        except zlib.error as error:
            raise ArchiveError(self._archive, f"is damaged before byte {self._num_read:,} ({error})") from None
        self._pending = self._decoder.unconsumed_tail or self._decoder.unused_data
        self._write(piece)

    def _begin_another(self) -> None:
        """Several gzip streams may follow one another; so may padding."""
        self._pending = self._pending.lstrip(b"\0")
        if self._pending:
            self._decoder = zlib.decompressobj(_GZIP_WINDOW)
            piece = self._decoder.decompress(self._pending, _WRITE_BYTES)
            self._pending = self._decoder.unconsumed_tail or self._decoder.unused_data
            self._write(piece)

    def _end(self) -> None:
        if not self._decoder.eof:
            raise ArchiveError(self._archive, "is cut short: its compressed data end in the middle", "fetch all of it")
        self._is_at_end = True

    def _write(self, piece: bytes) -> None:
        self._num_unpacked += len(piece)
        if self._num_unpacked > max(_MOST_TIMES * self._num_read, _BUT_AT_LEAST):
            raise ArchiveError(
                self._archive,
                f"becomes more than {_MOST_TIMES} times as large when it is unpacked, which media do not",
                "unpack it yourself if you trust it",
            )
        while self._reserved < self._num_unpacked:
            step = min(_RESERVED_BYTES, max(self._cache.most_bytes // 16, 1))
            if not self._cache.reserve(step):
                raise FatalError(
                    f"{self._archive}: unpacked, it takes more room than media_cache_bytes "
                    f"({self._cache.most_bytes:,}) leaves in {self._cache.folder}; raise that, remove what is not "
                    "needed there, or unpack it yourself and say the folder"
                )
            self._reserved += step
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        if time.monotonic() - self._said > _SAY_SECONDS:
            self._said = time.monotonic()
            far = f"{readable_bytes(self._num_read)} of {readable_bytes(self._reader.num_bytes)}"
            self._tell(f"{self._archive}: {far} unpacked")
