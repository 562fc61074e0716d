"""The index of an archive: by the hash of a member's name, where its bytes are.

An Arrow file, mapped into memory: what is looked up is read, and processes share it. It is of one version of the
archive, told by sizes and times of its files. Columns, sorted by `key`: key (64 bits of BLAKE2b of the name), name,
offset, size, stored size, checksum, packing, as `Listing` has them. About 50 bytes a member, and its name.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_left
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from preprocess.media.archives.listing import Listing, Packing, key_of
from preprocess.media.archives.parts import PartFile
from shards.files.atomic import open_atomically

ARCHIVES_DIR = "archives"  # in the cache
_COLUMNS = (
    ("key", pa.uint64()),
    ("offset", pa.int64()),
    ("size", pa.int64()),
    ("stored_size", pa.int64()),
    ("checksum", pa.int64()),
    ("packing", pa.int8()),
    ("name", pa.large_binary()),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    name: str
    offset: int  # bytes; see `Listing`
    size: int
    stored_size: int
    checksum: int
    packing: Packing


@dataclass(frozen=True, kw_only=True, eq=False)
class ArchiveIndex:
    archive: str  # what sources call it
    files: tuple[PartFile, ...]  # as they were when it was made
    plain_tar: Path | None  # in the cache, if offsets are of that and not of the archive itself
    num_refused: int
    columns: tuple[memoryview, ...]  # all but the names; `bisect` in them is faster than NumPy's, for one
    name_ends: memoryview
    name_bytes: memoryview

    def __len__(self) -> int:
        return len(self.columns[0])

    def find(self, name: str) -> list[Member]:
        """The members of that name, mostly one or none."""
        wanted = name.encode("utf-8", "surrogateescape")
        keys, *others = self.columns
        key = key_of(wanted)
        place = bisect_left(keys, key)
        found = []
        while place < len(keys) and keys[place] == key:
            if self._name(place) == wanted:
                offset, size, stored_size, checksum, packing = (column[place] for column in others)
                found.append(
                    Member(
                        name=name,
                        offset=offset,
                        size=size,
                        stored_size=stored_size,
                        checksum=checksum,
                        packing=Packing(packing),
                    )
                )
            place += 1
        return found

    def _name(self, place: int) -> memoryview:
        return self.name_bytes[self.name_ends[place] : self.name_ends[place + 1]]

    def name(self, place: int) -> str:
        """Of the member that is number `place` in the order of the keys."""
        return bytes(self._name(place)).decode("utf-8", "surrogateescape")


def index_path(cache: Path, archive: str) -> Path:
    return cache / ARCHIVES_DIR / f"{hashlib.sha256(os.fsencode(archive)).hexdigest()[:16]}.arrow"


def write_index(path: Path, archive: str, files: tuple[PartFile, ...], listing: Listing, unpacked: str = "") -> None:
    """`unpacked`: the name of the plain tar beside it, if there is one."""
    order = np.argsort(np.frombuffer(listing.keys, listing.keys.typecode), kind="stable")
    columns = (
        listing.keys,
        listing.offsets,
        listing.sizes,
        listing.stored_sizes,
        listing.checksums,
        listing.packings,
    )
    sorted_columns = [
        pa.array(np.frombuffer(column, column.typecode)[order], type_)
        for column, (_, type_) in zip(columns, _COLUMNS, strict=False)
    ]
    ends, text = pa.py_buffer(listing.name_ends), pa.py_buffer(listing.names)
    names = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(listing), [None, ends, text]).take(pa.array(order))
    record = {
        "archive": archive,
        "files": [asdict(file) for file in files],
        "unpacked": unpacked,
        "num_refused": listing.num_refused,
    }
    schema = pa.schema(list(_COLUMNS), metadata={"archive": json.dumps(record)})
    batch = pa.RecordBatch.from_arrays([*sorted_columns, names], schema=schema)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_atomically(path) as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(batch)


def read_index(path: Path) -> ArchiveIndex | None:
    """None where there is none, or no whole one: it is made again."""
    try:
        with pa.memory_map(str(path)) as file:  # what was mapped stays, without a file that is open
            batch = pa.ipc.open_file(file).get_batch(0)
        _, ends, text = batch.column("name").buffers()
        record = json.loads(batch.schema.metadata[b"archive"])
        return ArchiveIndex(
            archive=record["archive"],
            files=tuple(PartFile(**file) for file in record["files"]),
            plain_tar=path.with_name(record["unpacked"]) if record["unpacked"] else None,
            num_refused=record["num_refused"],
            columns=tuple(memoryview(batch.column(name).to_numpy()) for name, _ in _COLUMNS[:-1]),
            name_ends=memoryview(ends).cast("q")[: len(batch) + 1],
            name_bytes=memoryview(b"" if text is None else text).cast("B"),
        )
    except (FileNotFoundError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        return None
