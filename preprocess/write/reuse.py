"""Reuse: patches of media that an earlier run decoded, copied from its shards.

Every run records where the patches of each medium stand (`plan/media/shard-N.arrow`), under a key made of all that
determines them: the source file, its grid, and for a video the chosen frames. A later run with `--reuse OLD_DIR` looks
its own keys up there. What it writes is byte for byte what decoding would have given. An old shard is verified by
whoever first copies from it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from preprocess.errors import ConfigError, FatalError
from preprocess.media.store import reuse_key
from preprocess.plan.tables import read_table, write_table
from preprocess.plan.versions import versions_of_patches
from preprocess.sample import MeasuredImage, MeasuredVideo
from shards import ModelConstants, Pack, ShardError, open_shards
from shards.files.differences import differences
from shards.files.hashing import sha256_of_file
from shards.files.names import INPUTS_NAME, MANIFEST_NAME, PLAN_DIR
from shards.formats.writer import shard_index

MEDIA_DIR = "media"
_INDEX_NAME = "index.arrow"
_OPEN_PACKS = 256  # views into mapped files; media of one pack are wanted at different times

# A key is 16 bytes of BLAKE2b, kept as two halves so that NumPy can sort and search them.
_KEY = [("key_high", pa.uint64()), ("key_low", pa.uint64())]
_PLACE = [("row", pa.int64()), ("first_patch", pa.int64())]
MEDIA_SCHEMA = pa.schema([*_KEY, *_PLACE])
INDEX_SCHEMA = pa.schema([*_KEY, ("shard", pa.int64()), *_PLACE])

Medium = MeasuredImage | MeasuredVideo
Key = tuple[int, int]


def content_key(medium: Medium) -> Key:
    """By the hash of the medium's bytes."""
    return _digest(["content", medium.stamp.sha256, _pixels(medium)])


def source_key(medium: Medium) -> Key:
    """By where it is, its size and version."""
    return _digest(["file", *reuse_key(medium.source, medium.stamp), _pixels(medium)])


def _pixels(medium: Medium) -> list[object]:
    """What determines the patches of given bytes."""
    frames = medium.frame_indices if isinstance(medium, MeasuredVideo) else None
    return [medium.height, medium.width, getattr(medium, "orientation", 1), medium.grid_thw, frames]


def _digest(what: object) -> Key:
    digest = hashlib.blake2b(json.dumps(what).encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def _keys(medium: Medium) -> Iterator[Key]:
    """All under which it is recorded."""
    if medium.stamp.sha256:
        yield content_key(medium)
    yield source_key(medium)


def media_path(plan: Path, index: int) -> Path:
    return plan / MEDIA_DIR / f"shard-{index:06d}.arrow"


def write_media(plan: Path, index: int, places: Iterable[tuple[Medium, int, int]]) -> None:
    """Record (medium, row in the shard, first patch among the row's image or video patches) for one shard."""
    rows = [(*key, row, first) for medium, row, first in places for key in _keys(medium)]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(MEDIA_SCHEMA)
    path = media_path(plan, index)
    path.parent.mkdir(exist_ok=True)
    write_table(path, pa.table([pa.array(c, f.type) for c, f in zip(columns, MEDIA_SCHEMA, strict=True)], MEDIA_SCHEMA))


def build_index(old_dir: Path, plan: Path) -> None:
    """Gather what `old_dir` records into one table below `plan`, sorted by key. Raises ConfigError."""
    path = _notes_dir(old_dir, plan) / _INDEX_NAME
    if path.exists():
        return
    tables = []
    for number, entry in enumerate(open_shards(old_dir).manifest.shards):
        recorded = media_path(old_dir / PLAN_DIR, shard_index(entry.name))
        try:
            table = read_table(recorded)
        except FileNotFoundError:
            raise ConfigError(f"--reuse {old_dir}: {recorded} is missing; leave --reuse out") from None
        tables.append(table.add_column(2, "shard", pa.array(np.full(len(table), number), pa.int64())))
    index = pa.concat_tables(tables)
    order = np.lexsort((index["key_low"].to_numpy(), index["key_high"].to_numpy()))
    path.parent.mkdir(exist_ok=True)
    # In one chunk, its columns are NumPy views into the mapped file, which all processes share.
    write_table(path, index.take(pa.array(order)).cast(INDEX_SCHEMA).combine_chunks(), max(len(index), 1))


def _notes_dir(old_dir: Path, plan: Path) -> Path:
    """Where a run keeps what it knows of a run that it reuses; the hash of that one's manifest names it."""
    return plan / f"reuse-{sha256_of_file(old_dir / MANIFEST_NAME)[:16]}"


def check_old_run(old_dir: Path, constants: ModelConstants, versions: dict[str, str | None]) -> None:
    """Refuse an old run whose patches are not those that this run would make. Raises ConfigError or ShardError."""
    manifest = open_shards(old_dir).manifest
    made_by, now = versions_of_patches(manifest.inputs["versions"]), versions_of_patches(versions)
    if made_by != now:
        changes = (f"{name} {old} instead of {new}" for name, old, new in differences(made_by, now))
        raise ConfigError(f"--reuse {old_dir}: it was decoded by {', '.join(changes)}; leave --reuse out")
    sizes = ("patch_size", "merge_size", "temporal_patch_size")
    if any(getattr(manifest.model, size) != getattr(constants, size) for size in sizes):
        raise ConfigError(f"--reuse {old_dir}: its model cuts images into other patches; leave --reuse out")
    for name in (INPUTS_NAME, MEDIA_DIR):
        if not (old_dir / PLAN_DIR / name).exists():
            raise ConfigError(
                f"--reuse {old_dir}: {PLAN_DIR}/{name} is missing there; copy it too, or leave --reuse out"
            )


class OldPatches:
    """Finds patches by medium, in shards of either format. One per process."""

    def __init__(self, old_dir: Path, plan: Path) -> None:
        self._old_dir = old_dir
        self._notes_dir = _notes_dir(old_dir, plan)
        self._shards = open_shards(old_dir)
        self._verified: set[int] = set()
        self._pack = lru_cache(maxsize=_OPEN_PACKS)(self._read_pack)
        index = read_table(self._notes_dir / _INDEX_NAME)
        self._columns = [index[name].to_numpy() for name in INDEX_SCHEMA.names]
        inputs = json.loads((old_dir / PLAN_DIR / INPUTS_NAME).read_text(encoding="utf-8"))
        self._has_content_keys = bool(inputs.get("hash_media"))

    def find(self, medium: Medium) -> npt.NDArray[np.uint8] | None:
        """(patches, bytes) of `medium`: a view into the old shard, or None where it was not decoded before.

        Where both runs hashed media, only the content counts. Raises FatalError where the old shard is damaged.
        """
        highs, lows, shards, rows, first_patches = self._columns
        by_content = self._has_content_keys and medium.stamp.sha256
        high, low = content_key(medium) if by_content else source_key(medium)
        position = int(np.searchsorted(highs, np.uint64(high)))
        while position < len(highs) and highs[position] == high:
            if lows[position] == low:
                pack = self._pack(int(shards[position]), int(rows[position]))
                patches = pack.image_patches if isinstance(medium, MeasuredImage) else pack.video_patches
                first = int(first_patches[position])
                return patches[first : first + prod(medium.grid_thw)]
            position += 1
        return None

    def _read_pack(self, shard: int, row: int) -> Pack:
        if shard not in self._verified:
            self._verify(shard)
            self._verified.add(shard)
        try:
            return self._shards.shard(shard)[row]
        except ShardError as error:
            raise FatalError(f"{error}; or run without --reuse {self._old_dir}") from None

    def _verify(self, shard: int) -> None:
        """Against the manifest, unless any process of this run did so before and the files were not touched since."""
        entry = self._shards.manifest.shards[shard]
        paths = [self._old_dir / file.name for file in entry.files()]
        touched = "".join(f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n" for stat in map(os.stat, paths))
        with open(self._notes_dir / f"{entry.name}.verified", "a+") as mark:
            with suppress(OSError):  # file systems without locks: several processes may do the same
                fcntl.flock(mark, fcntl.LOCK_EX)
            mark.seek(0)
            if mark.read() == touched:
                return
            for path, file in zip(paths, entry.files(), strict=True):
                if sha256_of_file(path) != file.sha256:
                    raise FatalError(f"{path} does not match its manifest; run without --reuse {self._old_dir}")
            mark.truncate(0)
            mark.write(touched)
