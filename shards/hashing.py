"""Content hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO

_BLOCK_BYTES = 1 << 20


def sha256_of(file: IO[bytes]) -> str:
    """Hexadecimal sha256 of the rest of an open file."""
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def sha256_of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return sha256_of(file)
