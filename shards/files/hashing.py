"""Content hashes, and files that are on the disk for sure."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from shards.errors import naming_file
from shards.files.plain import open_own, open_plain

_BLOCK_BYTES = 1 << 20
_SYNC_BYTES = 16 << 20


def sha256_of(file: IO[bytes]) -> str:
    """Hexadecimal sha256 of the rest of an open file."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def sha256_of_file(path: Path) -> str:
    """Of a plain file. Raises what `open_plain` raises."""
    with open_plain(path) as file:
        return sha256_of(file)


def sha256_of_own_file(path: Path) -> str:
    """Of a file of a folder that belongs together. Raises what `open_own` raises."""
    with open_own(path) as file:
        return sha256_of(file)


def sha256_of_json(record: Mapping[str, Any]) -> str:
    """Hexadecimal; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def sync_file(path: Path) -> None:
    """Bring a file that someone else wrote to the disk."""
    with open(path, "rb") as file:
        _sync(file)


def _sync(file: IO[bytes] | io.FileIO) -> None:
    """To the disk, and out of the page cache: whoever writes shards does not read them, but the media beside them.

    It takes time, too, to find memory for ever more pages: 0.4 ms of a core for each MB, where it was up to 2.
    """
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class HashedFile(io.FileIO):
    """A new file, written front to back and hashed on the way.

    It goes to the disk in pieces, so that the last sync, for which someone waits, has little left to do; unless
    `syncs` is False, when the system brings it there some time.
    """

    def __init__(self, path: Path, *, syncs: bool = True) -> None:
        super().__init__(path, "xb")
        self._syncs = syncs
        self._path = path
        self._digest = hashlib.sha256()
        self._num_unsynced = 0

    def write(self, block: Any) -> int:
        with naming_file(self._path):
            written = super().write(block)
        self._digest.update(memoryview(block)[:written])
        self._num_unsynced += written
        if self._num_unsynced >= _SYNC_BYTES:
            self.sync()
        return written

    def sync(self) -> None:
        if self._syncs:
            with naming_file(self._path):
                _sync(self)
        self._num_unsynced = 0

    @property
    def sha256(self) -> str:
        """Hexadecimal, of what was written so far."""
        return self._digest.hexdigest()
