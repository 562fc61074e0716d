"""What an archive holds, as its headers say."""

from __future__ import annotations

import hashlib
import posixpath
from array import array
from enum import IntEnum

from preprocess.errors import FatalError
from shards.files.paths import path_flaw

MOST_MEMBERS = 1 << 24  # of one archive; its index takes about 2 GB


class ArchiveError(FatalError):
    """An archive that can't be used as a whole."""

    def __init__(
        self, archive: str, flaw: str, advice: str = "fetch it again, or unpack it and name the folder"
    ) -> None:
        super().__init__(f"{archive} {flaw}; {advice}")


class Packing(IntEnum):
    """How the bytes of a member stand in the archive; from LINK on they can't be had."""

    PLAIN = 0
    STORED = 1  # in a zip: behind a header of their own, with a checksum
    DEFLATED = 2
    LINK = 10
    SPECIAL = 11  # devices, pipes, sparse files
    ENCRYPTED = 12
    UNKNOWN = 13  # another way of compressing


class Listing:
    """The members of an archive, in the order in which they stand there."""

    def __init__(self, archive: str) -> None:
        self._archive = archive
        self.keys = array("Q")  # hashes of names
        self.names = bytearray()  # one after another
        self.name_ends = array("q", [0])  # in `names`, from the start of the first
        self.offsets = array("q")  # in bytes: of the content of a tar's member, of the header of a zip's
        self.sizes = array("q")  # in bytes, of the content
        self.stored_sizes = array("q")  # the same as it stands in the archive
        self.checksums = array("q")  # CRC-32, of zips; else -1
        self.packings = array("b")
        self.links: list[tuple[bytes, bytes]] = []  # second names of members, and their first
        self.num_refused = 0  # members whose names are no paths below the archive

    def __len__(self) -> int:
        return len(self.keys)

    def add(
        self, name: bytes, offset: int, size: int, packing: Packing, stored_size: int = -1, checksum: int = -1
    ) -> None:
        """Raises ArchiveError where there are too many."""
        path = member_path(name)
        if path is None:
            self.num_refused += 1
            return
        self._refuse_more()
        self.keys.append(key_of(path))
        self.names += path
        self.name_ends.append(len(self.names))
        self.offsets.append(offset)
        self.sizes.append(size)
        self.stored_sizes.append(size if stored_size < 0 else stored_size)
        self.checksums.append(checksum)
        self.packings.append(packing)

    def add_link(self, name: bytes, target: bytes) -> None:
        """A second name of a member, which counts once `resolve_links` was called."""
        self._refuse_more()
        self.links.append((name, target))

    def resolve_links(self) -> None:
        """Second names become members like the first; those of what is no member can't be had."""
        links, self.links = self.links, []
        numbers = {key: number for number, key in enumerate(self.keys)} if links else {}
        for name, target in links:
            path = member_path(target)
            number = numbers.get(key_of(path), -1) if path else -1
            if number < 0:
                self.add(name, 0, 0, Packing.LINK)
            else:
                self.add(name, self.offsets[number], self.sizes[number], Packing(self.packings[number]))

    def _refuse_more(self) -> None:
        if len(self.keys) + len(self.links) >= MOST_MEMBERS:
            raise ArchiveError(self._archive, f"has more than {MOST_MEMBERS:,} members", "divide it")


def key_of(path: bytes) -> int:
    """64 bits."""
    return int.from_bytes(hashlib.blake2b(path, digest_size=8).digest(), "little")


def member_path(name: bytes) -> bytes | None:
    """The path of a member, relative and without `.`; None for what leaves the archive's folder or is no path."""
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if text.startswith("/") or path_flaw(text):
        return None
    path = posixpath.normpath(text)
    return None if path == "." or path.split("/", 1)[0] == ".." else path.encode()
