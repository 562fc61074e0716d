"""Reuse: patches of media that an earlier run decoded, copied from its shards.

Every run records where the patches of each medium stand (`plan/media/shard-N.arrow`), under a key made of all that
determines them: the source file, its grid, and for a video the chosen frames. A later run with `--reuse OLD_DIR` looks
its own keys up there. What it writes is byte for byte what decoding would have given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from preprocess.errors import ConfigError
from preprocess.plan_tables import PLAN_DIR, read_table, write_table
from preprocess.sample import MeasuredImage, MeasuredVideo
from shards import DamagedShard, Manifest, ModelConstants, open_shards
from shards.hashing import sha256_of_file
from shards.writer import shard_index

MEDIA_DIR = "media"
INDEX_NAME = "reuse.arrow"

# A key is 16 bytes of BLAKE2b, kept as two halves so that NumPy can sort and search them.
_KEY = [("key_high", pa.uint64()), ("key_low", pa.uint64())]
_PLACE = [("row", pa.int64()), ("first_patch", pa.int64())]
MEDIA_SCHEMA = pa.schema([*_KEY, *_PLACE])
INDEX_SCHEMA = pa.schema([*_KEY, ("shard", pa.int64()), *_PLACE])

Medium = MeasuredImage | MeasuredVideo
Key = tuple[int, int]


def medium_keys(medium: Medium) -> Iterator[Key]:
    """The medium's keys, the surest first: by content where it was hashed, and by path, size and time."""
    frames = medium.frame_indices if isinstance(medium, MeasuredVideo) else None
    pixels = [medium.height, medium.width, getattr(medium, "orientation", 1), medium.grid_thw, frames]
    if medium.stamp.sha256:
        yield _digest(["content", medium.stamp.sha256, pixels])
    source, stamp = medium.source, medium.stamp
    place = [source.path, source.row, source.column, source.item]
    yield _digest(["file", place, stamp.num_bytes, stamp.mtime_ns, pixels])


def _digest(what: object) -> Key:
    digest = hashlib.blake2b(json.dumps(what).encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def media_path(plan: Path, task: int) -> Path:
    return plan / MEDIA_DIR / f"shard-{task:06d}.arrow"


def write_media(plan: Path, task: int, places: Iterable[tuple[Medium, int, int]]) -> None:
    """Record (medium, row in the shard, first patch among the row's image or video patches) for one shard."""
    rows = [(*key, row, first) for medium, row, first in places for key in medium_keys(medium)]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(MEDIA_SCHEMA)
    path = media_path(plan, task)
    path.parent.mkdir(exist_ok=True)
    write_table(path, pa.table([pa.array(c, f.type) for c, f in zip(columns, MEDIA_SCHEMA, strict=True)], MEDIA_SCHEMA))


def build_index(old_dir: Path, plan: Path, constants: ModelConstants, versions: object) -> None:
    """Gather what `old_dir` records into `plan/reuse.arrow`, sorted by key. Its shards are verified first.

    Raises ConfigError where they were decoded by other versions, ShardError where they are damaged.
    """
    manifest = check_old_run(old_dir, constants, versions)
    _verify(old_dir, manifest)
    tables = []
    for number, entry in enumerate(manifest.shards):
        task = shard_index(entry.name)
        try:
            table = read_table(media_path(old_dir / PLAN_DIR, task))
        except FileNotFoundError:
            raise ConfigError(f"--reuse {old_dir}: {media_path(old_dir / PLAN_DIR, task)} is missing") from None
        tables.append(table.add_column(2, "shard", pa.array(np.full(len(table), number), pa.int64())))
    index = pa.concat_tables(tables)
    order = np.lexsort((index["key_low"].to_numpy(), index["key_high"].to_numpy()))
    # In one chunk, its columns are NumPy views into the mapped file, which all processes share.
    write_table(plan / INDEX_NAME, index.take(pa.array(order)).cast(INDEX_SCHEMA).combine_chunks(), max(len(index), 1))


def check_old_run(old_dir: Path, constants: ModelConstants, versions: object) -> Manifest:
    """Whether the patches of `old_dir` are those that this run would make. Raises ConfigError or ShardError."""
    manifest = open_shards(old_dir).manifest
    made_by = manifest.inputs["versions"]
    if made_by != versions:
        raise ConfigError(f"--reuse {old_dir}: it was decoded by {made_by}, this is {versions}; leave --reuse out")
    sizes = ("patch_size", "merge_size", "temporal_patch_size")
    if any(getattr(manifest.model, size) != getattr(constants, size) for size in sizes):
        raise ConfigError(f"--reuse {old_dir}: its model cuts images into other patches; leave --reuse out")
    return manifest


def _verify(folder: Path, manifest: Manifest) -> None:
    with ThreadPoolExecutor() as pool:
        files = [file for entry in manifest.shards for file in entry.files()]
        hashes = pool.map(sha256_of_file, (folder / file.name for file in files))
        for file, digest in zip(files, hashes, strict=True):
            if digest != file.sha256:
                raise DamagedShard(f"{folder / file.name} does not match the manifest; leave --reuse {folder} out")


class OldPatches:
    """Finds patches by medium, in shards of either format. One per process."""

    def __init__(self, old_dir: Path, plan: Path) -> None:
        self._shards = open_shards(old_dir)
        index = read_table(plan / INDEX_NAME)
        self._columns = [index[name].to_numpy() for name in INDEX_SCHEMA.names]

    def find(self, medium: Medium) -> npt.NDArray[np.uint8] | None:
        """(patches, bytes) of `medium`: a view into the old shard, or None where it was not decoded before."""
        highs, lows, shards, rows, first_patches = self._columns
        for high, low in medium_keys(medium):
            start, stop = (int(np.searchsorted(highs, np.uint64(high), side)) for side in ("left", "right"))
            for position in range(start, stop):
                if lows[position] == low:
                    pack = self._shards.shard(int(shards[position]))[int(rows[position])]
                    patches = pack.image_patches if isinstance(medium, MeasuredImage) else pack.video_patches
                    first = int(first_patches[position])
                    return patches[first : first + prod(medium.grid_thw)]
        return None
