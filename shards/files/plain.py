"""Files of ours are plain files: a FIFO or a device under the name of one would be read for ever, or not at all.

Of links, those count that lead into the folder in which they stand or, as in the Hub's cache, into that of its
repository: `datasets--ORG--NAME/snapshots/REVISION/manifest.json -> ../../blobs/HASH`. Whatever else a link leads to
was never part of the folder.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_NOT_PLAIN = "not a plain file, but a FIFO, socket, device or folder; remove it"
_A_LINK_OUT = "a link out of its folder, to {}; put the file itself there (cp -L)"
_SNAPSHOTS = "snapshots"  # of the Hub's cache
_A_LINK = "a link, and only plain files are copied; put the file itself there (cp -L)"


def open_plain(path: Path, *, follow_links: bool = True) -> BinaryIO:
    """Open for reading. Raises OSError: EINVAL for what is no plain file, ELOOP for a link that is not to be followed.

    Opening does not wait, as it would for the writer of a FIFO; what is checked is what was opened.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow_links:
            raise OSError(errno.ELOOP, _A_LINK, str(path)) from None
        if error.errno == errno.ENXIO:  # a socket
            raise OSError(errno.EINVAL, _NOT_PLAIN, str(path)) from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, _NOT_PLAIN, str(path))
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def link_out(path: Path) -> Path | None:
    """Where a link leads that leaves the folder, and the repository, in which it stands; None for all else."""
    if not path.is_symlink():
        return None
    folder, target = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path))
    repositories = (above.parent for above in folder.parents if above.name == _SNAPSHOTS)
    return None if next(repositories, folder) in target.parents else target


def open_own(path: Path) -> BinaryIO:
    """Open a file of a folder that belongs together. Raises OSError: what `open_plain` raises, ELOOP for a link out."""
    target = link_out(path)
    if target is not None:
        raise OSError(errno.ELOOP, _A_LINK_OUT.format(target), str(path))
    return open_plain(path)


def read_own(path: Path) -> bytes:
    """The whole content. Raises what `open_own` raises."""
    with open_own(path) as file:
        return file.read()


def plain_tree(folder: Path) -> Iterator[Path]:
    """Every file below `folder`, by its path relative to it; no link is followed.

    Raises OSError, naming the file, where anything below is neither a plain file nor a folder, or `folder` is a link.
    """
    for parent, _, names in _walk(folder):
        for name in names:
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise OSError(errno.ELOOP, _A_LINK, str(path))
            if not stat.S_ISREG(mode):
                raise OSError(errno.EINVAL, _NOT_PLAIN, str(path))
            yield path.relative_to(folder)


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    if folder.is_symlink():
        raise OSError(errno.ELOOP, _A_LINK, str(folder))

    def stop(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=stop):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        yield parent, folders, [*names, *links]


def copy_plain_tree(source: Path, target: Path, *, skip: Callable[[Path], bool] = lambda path: False) -> None:
    """Copy every file below `source`, but those whose relative path `skip` accepts. Raises what `plain_tree` raises."""
    for path in plain_tree(source):
        if not skip(path):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            copy_plain(source / path, target / path)


def copy_plain(source: Path, target: Path) -> None:
    """The content of one plain file, no link. Raises what `open_plain` raises."""
    with open_plain(source, follow_links=False) as content, open(target, "wb") as copy:
        while block := content.read(1 << 20):
            copy.write(block)
