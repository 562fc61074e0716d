"""Files that are mapped into memory: what is checked before one is read, because nothing can be caught afterwards.

Where a file became shorter than its mapping, touching what is gone ends the process (SIGBUS). So its size is compared
when it is mapped and again before each row; only a file that is cut while a row is being read still does that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shards.errors import DamagedShard, UnreadableShard
from shards.files.plain import open_own


@contextmanager
def opened(path: Path, num_bytes: int | None = None) -> Iterator[BinaryIO]:
    """The plain file at `path`, of that size where one is given.

    Raises DamagedShard where it is missing or of another size, and UnreadableShard where the system refuses.
    """
    try:
        with open_own(path) as file:
            if num_bytes is not None:
                _compare(path, os.fstat(file.fileno()).st_size, num_bytes)
            yield file
    except FileNotFoundError:
        raise DamagedShard(f"{path} is missing; preprocess again, or copy the whole folder") from None
    except OSError as error:
        if error.errno is None:  # no call to the system failed: the content is to blame, and the caller says so
            raise
        raise UnreadableShard.of(path, error) from None


def check_size(path: Path, num_bytes: int) -> None:
    """Raises DamagedShard or UnreadableShard where the file at `path` is no longer one of `num_bytes`."""
    try:
        found = os.stat(path).st_size
    except FileNotFoundError:
        raise DamagedShard(f"{path} was removed while it was in use; preprocess again, or copy it again") from None
    except OSError as error:
        raise UnreadableShard.of(path, error) from None
    _compare(path, found, num_bytes)


def _compare(path: Path, found: int, num_bytes: int) -> None:
    if found != num_bytes:
        raise DamagedShard(f"{path} has {found} bytes, not {num_bytes} as before; copy it again or preprocess again")
