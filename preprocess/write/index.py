"""The places of all shards of an earlier run in one table, sorted by key, which the processes of a run share.

It is made once, in memory that does not grow with the number of media: rows go into a file, each into the bucket of the
first bits of its key; buckets are sorted one by one; and what a process maps of a file, the system takes back at need.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from preprocess.errors import ConfigError, FatalError
from preprocess.plan.tables import read_table, write_table
from preprocess.write.places import KEY_FIELDS, PLACE_FIELDS, media_path, read_media
from shards import open_shards
from shards.files.atomic import write_atomically
from shards.files.hashing import sha256_of_own_file
from shards.files.names import MANIFEST_NAME, PLAN_DIR
from shards.formats.writer import shard_index
from shards.inputs import without_format
from shards.manifest import fingerprint_of

INDEX_SCHEMA = pa.schema([*KEY_FIELDS, ("shard", pa.int64()), *PLACE_FIELDS])
_INDEX_NAME = "index.arrow"
_HASH_NAME = "index.sha256"
_FIRST_BITS = 16  # of a key: as many buckets as they tell apart, or fewer
_BUCKET_ROWS = 1 << 20  # at most, unless so many have the same first bits; sorting takes 24 bytes each

Columns = list[npt.NDArray[np.integer]]  # (rows,) each, as in INDEX_SCHEMA


def notes_dir(old_dir: Path, plan: Path) -> Path:
    """Where a run keeps what it knows of a run that it reuses; the hash of that one's manifest names it."""
    return plan / f"reuse-{sha256_of_own_file(old_dir / MANIFEST_NAME)[:16]}"


def has_index(old_dir: Path, plan: Path) -> bool:
    notes = notes_dir(old_dir, plan)
    return (notes / _HASH_NAME).exists() and (notes / _INDEX_NAME).exists()


def build_index(old_dir: Path, plan: Path) -> None:
    """Gather what `old_dir` records into one table below `plan`, unless that was done before.

    Rows of equal keys stay in the order of the shards. Raises ConfigError, or FatalError where a record was altered.
    """
    if has_index(old_dir, plan):
        return
    notes = notes_dir(old_dir, plan)
    notes.mkdir(exist_ok=True)
    ends = _bucket_ends(old_dir)
    num_rows = int(ends[-1])
    with tempfile.TemporaryFile(dir=notes) as file:
        # A mapped file must have its room on the disk beforehand: where there is none, a page fault ends the process.
        os.posix_fallocate(file.fileno(), 0, max(num_rows, 1) * len(INDEX_SCHEMA) * 8)
        spool = np.memmap(file, np.int64, "r+", shape=(len(INDEX_SCHEMA), max(num_rows, 1)))[:, :num_rows]
        _scatter(old_dir, spool, ends)
        columns = [
            column.view(np.uint64 if pa.types.is_unsigned_integer(t) else np.int64)
            for column, t in zip(spool, INDEX_SCHEMA.types, strict=True)
        ]
        _sort_buckets(columns, np.unique(ends))
        # In one chunk, its columns are NumPy views into the mapped file, which all processes share.
        write_table(notes / _INDEX_NAME, pa.table(columns, INDEX_SCHEMA), max(num_rows, 1))
    write_atomically(notes / _HASH_NAME, sha256_of_own_file(notes / _INDEX_NAME) + "\n")


def _recorded(old_dir: Path) -> Iterator[Columns]:
    """What each shard of the run in `old_dir` records."""
    manifest = open_shards(old_dir).manifest
    fingerprint = fingerprint_of(without_format(manifest.inputs))
    for number, entry in enumerate(manifest.shards):
        index = shard_index(entry.name)
        try:
            table = read_media(old_dir / PLAN_DIR, index, fingerprint)
        except FileNotFoundError:
            missing = media_path(old_dir / PLAN_DIR, index)
            raise ConfigError(f"--reuse {old_dir}: {missing} is missing; leave --reuse out") from None
        high, low, *place = [column.to_numpy() for column in table.columns]
        yield [high, low, np.full(len(table), number), *place]


def _first_bits(highs: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    return (highs.view(np.uint64) >> np.uint64(64 - _FIRST_BITS)).astype(np.int64)


def _bucket_ends(old_dir: Path) -> npt.NDArray[np.int64]:
    """(2**_FIRST_BITS,): for the first bits of a key, where its bucket ends among the rows of all."""
    counts = np.zeros(1 << _FIRST_BITS, np.int64)
    for high, *_ in _recorded(old_dir):
        counts += np.bincount(_first_bits(high), minlength=len(counts))
    ends = np.cumsum(counts)
    bucket = (ends - 1) // _BUCKET_ROWS  # that each would be in if rows were cut anywhere
    last = np.append(bucket[1:] != bucket[:-1], True)
    return ends[last][np.cumsum(last) - last]


def _scatter(old_dir: Path, spool: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> None:
    """Put every row into its bucket of `spool` (columns, rows), those of a bucket in the order that they come in."""
    all_ends, bucket_of_bits = np.unique(ends, return_inverse=True)
    free = np.concatenate([[0], all_ends[:-1]])  # the first free row of each bucket
    for columns in _recorded(old_dir):
        buckets = bucket_of_bits[_first_bits(columns[0])]
        order = np.argsort(buckets, kind="stable")
        counts = np.bincount(buckets, minlength=len(free))
        rows = np.arange(len(order)) + np.repeat(free - (np.cumsum(counts) - counts), counts)
        for target, column in zip(spool, columns, strict=True):
            target[rows] = column.view(np.int64)[order]
        free += counts


def _sort_buckets(columns: Columns, ends: npt.NDArray[np.int64]) -> None:
    high, low, *_ = columns
    first = 0
    for end in ends:
        order = np.lexsort((low[first:end], high[first:end]))
        for column in columns:
            column[first:end] = column[first:end][order]
        first = end


def read_index(old_dir: Path, plan: Path) -> Columns:
    """As `build_index` wrote it. Raises FatalError where it was altered."""
    notes = notes_dir(old_dir, plan)
    path = notes / _INDEX_NAME
    expected = (notes / _HASH_NAME).read_text(encoding="utf-8", errors="replace").strip()
    flaw = f"is not what this run gathered; remove {notes}, and run the same command again"
    verify_once(notes / f"{path.name}.verified", {path: expected}, flaw)
    index = read_table(path)
    return [index[name].to_numpy() for name in INDEX_SCHEMA.names]


def verify_once(mark: Path, hashes: Mapping[Path, str], flaw: str) -> None:
    """Compare files with their hashes (sha256, hexadecimal), unless any process of this run did so before and they
    were not touched since: then `mark` says so. Raises FatalError: the path of one that differs, and `flaw`.
    """
    touched = "".join(f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n" for stat in map(os.stat, hashes))
    with open(mark, "a+") as file:
        with suppress(OSError):  # file systems without locks: several processes may do the same
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if file.read() == touched:
            return
        for path, sha256 in hashes.items():
            if sha256_of_own_file(path) != sha256:
                raise FatalError(f"{path} {flaw}")
        file.truncate(0)
        file.write(touched)
