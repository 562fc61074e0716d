"""The folder that a run keeps beside its output: indexes of archives, and what compressed ones hold.

One a process, told once when the process begins. Whatever stands in it can be made again from the media, so that anyone
may remove it while no run is going on; what would make it larger than it may become is not put there.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from preprocess.errors import FatalError
from shards.files.atomic import write_atomically
from shards.look.readable import readable_bytes

SUFFIX = ".media"  # of the folder's name by default, which begins as that of the output folder
_SIZE_NAME = "bytes"  # what was put there, in bytes, as a number in a file that is locked while it changes


@dataclass(frozen=True, kw_only=True, eq=False)  # told apart by identity: what was opened of one is not of another
class MediaCache:
    folder: Path
    most_bytes: int
    keeps_cells: bool = True  # of Parquet; a plan that nobody keeps needs none

    def reserve(self, num_bytes: int) -> bool:
        """Whether so many bytes more may be put there; from now on they count. Negative ones give room back."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / _SIZE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with suppress(OSError):  # some file systems have no locks: then the bound is about right
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            held = int(os.pread(descriptor, 32, 0) or b"0")
            if num_bytes > 0 and held + num_bytes > self.most_bytes:
                return False
            os.pwrite(descriptor, b"%-31d\n" % max(held + num_bytes, 0), 0)
            return True
        finally:
            os.close(descriptor)

    def held_line(self) -> str | None:
        """What to say of it after a run; None where it holds next to nothing."""
        try:
            held = int((self.folder / _SIZE_NAME).read_bytes())
        except (OSError, ValueError):
            return None
        if not held:
            return None
        return f"{self.folder} holds {readable_bytes(held)} of media that were compressed; it may be removed"

    def recount(self) -> None:
        """By what stands there: processes that were killed had reserved more."""
        held = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file() and path.name != _SIZE_NAME)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / _SIZE_NAME, b"%-31d\n" % held)


def folder_beside(output_dir: Path) -> Path:
    """Where it is by default."""
    whole = output_dir.resolve()
    return whole.with_name(f"{whole.name}{SUFFIX}")


_used: list[MediaCache] = []


def use(cache: MediaCache) -> None:
    """From now on, in this process."""
    _used[:] = [cache]


def if_any() -> MediaCache | None:
    return _used[0] if _used else None


def in_use() -> MediaCache:
    """Raises FatalError where the process was told of none."""
    if not _used:
        raise FatalError("media in archives need the run's folder for their index, and none was named here")
    return _used[0]
