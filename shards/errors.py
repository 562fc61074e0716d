"""What can be wrong with a folder of shards.

ShardError                 base: names the file and what to do
├── NotADataset            no manifest: preprocessing did not finish, or this is another folder
├── UnsupportedVersion     written by a newer format than this code reads
├── DamagedShard           missing, truncated, renamed or altered file
├── UnreadableShard        the system does not let us read: permission, number of open files, disk; no damage
├── ModelMismatch          the shards were made for another model
├── UnknownFamily          the shards are for a kind of model that this code does not know
├── RowTooLarge            a pack that the chosen file format can't hold
└── ConversionError        a conversion that can't be done into this folder, or stopped
InvalidPack                a row breaks an invariant of the format: a bug in whoever built it, never bad input
FlagError                  a flag, or a line of a configuration file, that means nothing
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ShardError(Exception):
    """A dataset that can't be used; the message names the file and what to do."""


class NotADataset(ShardError):
    pass


class UnsupportedVersion(ShardError):
    pass


class DamagedShard(ShardError):
    pass


class UnreadableShard(ShardError):
    @classmethod
    def of(cls, path: Path, error: OSError) -> UnreadableShard:
        return cls(f"{path} can't be read ({error.strerror or error}); {reading_advice(error)}")


def reading_advice(error: OSError) -> str:
    """What to do where the system refused to read: no content is to blame."""
    match error.errno:
        case errno.EMFILE | errno.ENFILE:
            return "raise the number of open files (ulimit -n)"
        case errno.EACCES | errno.EPERM:
            return "get the permission to read it"
        case errno.ENOMEM:
            return "memory is short"
        case errno.EINVAL | errno.ELOOP | errno.EISDIR:
            return "put the file itself there"
    return "check the disk, or copy the folder again"


class ModelMismatch(ShardError):
    pass


class UnknownFamily(ShardError):
    pass


class RowTooLarge(ShardError):
    pass


class ConversionError(ShardError):
    pass


class InvalidPack(AssertionError):
    """A pack that breaks an invariant of `shards.pack`."""


class FlagError(Exception):
    """A flag or a configuration file that can't be understood; one line that says where it stands and what to do."""


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Add the path to an OSError that lacks it: opening a file names it, writing to an open one does not."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None
