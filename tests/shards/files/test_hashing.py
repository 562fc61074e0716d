"""A file knows its own hash without being read again."""

from __future__ import annotations

import hashlib
import os
from io import BytesIO
from pathlib import Path

import pytest

import shards.files.hashing
from shards.files.hashing import HashedFile, sha256_of, sha256_of_file


def test_the_hash_of_a_file_is_that_of_what_is_left_of_it(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000  # several blocks
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    file = BytesIO(content)
    file.seek(5)
    assert sha256_of(file) == hashlib.sha256(content[5:]).hexdigest()


def test_a_file_is_hashed_as_it_is_written_and_synced_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes_synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes_synced.append(os.fstat(descriptor).st_size))
    monkeypatch.setattr(shards.files.hashing, "_SYNC_BYTES", 25)
    with HashedFile(tmp_path / "file") as file:
        for number in range(6):
            file.write(bytes([number]) * 10)
        file.sync()
        assert file.sha256 == sha256_of_file(tmp_path / "file")
    assert (tmp_path / "file").stat().st_size == 60
    assert sizes_synced == [30, 60, 60]


def test_a_hashed_file_is_never_one_that_exists(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        HashedFile(tmp_path / "file")
