"""Which of several archives may hold a member: their indexes' keys in one table, so that a name is looked up once."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from preprocess.media.archives.index import ArchiveIndex, index_path
from preprocess.media.archives.listing import key_of
from shards.files.atomic import open_atomically

_SCHEMA = pa.schema([("key", pa.uint64()), ("owner", pa.int32())])


@dataclass(frozen=True, kw_only=True)
class MergedKeys:
    """Sorted by key. `owner`: the number of the archive in their order."""

    version: str
    keys: memoryview
    owners: memoryview

    def find(self, name: str) -> list[int]:
        """The archives that may hold a member of that name, each once."""
        key = key_of(name.encode("utf-8", "surrogateescape"))
        place = first = bisect_left(self.keys, key)
        while place < len(self.keys) and self.keys[place] == key:
            place += 1
        return list(dict.fromkeys(self.owners[first:place].tolist()))


def merged_path(cache: Path, archives: Sequence[str]) -> Path:
    return index_path(cache, "\0".join(archives)).with_suffix(".merged.arrow")


def version_of(indexes: Sequence[ArchiveIndex]) -> str:
    """Of the archives as they were indexed."""
    return hashlib.sha256(repr([index.files for index in indexes]).encode()).hexdigest()


def write_merged(path: Path, indexes: Sequence[ArchiveIndex]) -> None:
    keys = np.concatenate([np.frombuffer(index.columns[0], np.uint64) for index in indexes])
    owners = np.repeat(np.arange(len(indexes), dtype=np.int32), [len(index) for index in indexes])
    order = np.argsort(keys, kind="stable")
    batch = pa.RecordBatch.from_arrays([pa.array(keys[order]), pa.array(owners[order])], schema=_SCHEMA)
    schema = _SCHEMA.with_metadata({"merged": json.dumps({"version": version_of(indexes)})})
    with open_atomically(path) as file, pa.ipc.new_file(file, schema) as writer:
        writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def read_merged(path: Path) -> MergedKeys | None:
    """None where there is none, or no whole one: it is made again."""
    try:
        with pa.memory_map(str(path)) as file:
            batch = pa.ipc.open_file(file).get_batch(0)
        version = json.loads(batch.schema.metadata[b"merged"])["version"]
        keys, owners = (memoryview(column.to_numpy()) for column in batch.columns)
        return MergedKeys(version=version, keys=keys, owners=owners)
    except (FileNotFoundError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        return None
