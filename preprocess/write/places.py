"""Where the patches of each medium stand in the shards of a run: `plan/media/shard-N.arrow`, for a later `--reuse`.

A medium is recorded under a key made of all that determines its patches: the source file, its grid, and for a video the
chosen frames. In the metadata of each file stand the plan and the shard that it is of, and a hash of its columns:
places that were altered, or are another shard's, would give the pixels of other images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from preprocess.errors import FatalError
from preprocess.media.store import reuse_key
from preprocess.plan.tables import decode_metadata, read_table, write_table
from preprocess.sample import MeasuredImage, MeasuredVideo

MEDIA_DIR = "media"

# A key is 16 bytes of BLAKE2b, kept as two halves so that NumPy can sort and search them.
KEY_FIELDS = [("key_high", pa.uint64()), ("key_low", pa.uint64())]
PLACE_FIELDS = [("row", pa.int64()), ("first_patch", pa.int64())]
MEDIA_SCHEMA = pa.schema([*KEY_FIELDS, *PLACE_FIELDS])

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


def write_media(plan: Path, index: int, places: Iterable[tuple[Medium, int, int]], fingerprint: str) -> None:
    """Record (medium, row in the shard, first patch among the row's image or video patches) for one shard.

    `fingerprint` is of the plan.
    """
    rows = [(*key, row, first) for medium, row, first in places for key in _keys(medium)]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(MEDIA_SCHEMA)
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, MEDIA_SCHEMA, strict=True)], MEDIA_SCHEMA)
    path = media_path(plan, index)
    path.parent.mkdir(exist_ok=True)
    write_table(path, table.replace_schema_metadata(_says(table, index, fingerprint)))


def _says(table: pa.Table, index: int, fingerprint: str) -> dict[str, str]:
    """The metadata of a file with these places."""
    digest = hashlib.sha256()
    for column in table.columns:
        digest.update(column.to_numpy().tobytes())
    return {"fingerprint": fingerprint, "shard": str(index), "sha256": digest.hexdigest()}


def is_hashed(plan: Path, index: int) -> bool:
    """False for what was recorded before files of places had a hash. Raises FatalError where the file is damaged."""
    return "sha256" in decode_metadata(read_table(media_path(plan, index)).schema)


def read_media(plan: Path, index: int, fingerprint: str) -> pa.Table:
    """The places of a shard. Raises FileNotFoundError, or FatalError where they are not those that were written."""
    path = media_path(plan, index)
    table = read_table(path)
    is_whole = table.schema.equals(MEDIA_SCHEMA) and not any(column.null_count for column in table.columns)
    if not is_whole or decode_metadata(table.schema) != _says(table, index, fingerprint):
        raise FatalError(
            f"{path} was altered, or is of another run or shard, so that it may name the pixels of other images; run "
            "without --reuse"
        )
    return table
