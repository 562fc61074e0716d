"""Published folders of made-up packs, for the tests of whatever reads folders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from shards import Manifest, Pack, PackCounts, PackMaxima, ShardEntry, count_pack, measure_pack, write_manifest
from shards.formats.mindrecord import largest_row_bytes
from shards.formats.writer import write_shard
from tests.shards.packs import CONSTANTS, make_pack


def write_dataset(folder: Path, shards: Sequence[Sequence[Pack]], format: str = "arrow", **fields: Any) -> Manifest:
    """Publish `shards` in `folder`; `fields` replace those of the manifest."""
    packs = [pack for shard in shards for pack in shard]
    maxima = reduce(PackMaxima.merge, (measure_pack(pack, CONSTANTS) for pack in packs), PackMaxima())
    row_bytes = largest_row_bytes(maxima, CONSTANTS)
    written = [
        write_shard(folder, index, packs, CONSTANTS, format=format, largest_row_bytes=row_bytes)
        for index, packs in enumerate(shards)
    ]
    values = {
        "format": format,
        "pack_length": max(100, maxima.tokens),
        "pack_patches": max(100, maxima.patches),
        "maxima": maxima,
        "totals": sum(map(count_pack, packs), PackCounts()),
        "shards": tuple(shard.entry for shard in written if shard.entry),
        **fields,
    }
    manifest = make_manifest(**values)
    write_manifest(folder, manifest)
    return manifest


def make_manifest(shards: tuple[ShardEntry, ...] = (), **fields: Any) -> Manifest:
    values: dict[str, Any] = {
        "format": "arrow",
        "fingerprint": "",
        "inputs": {},
        "model": CONSTANTS,
        "pack_length": 100,
        "pack_patches": 100,
        "maxima": PackMaxima(),
        "totals": PackCounts(),
        "datasets": {},
    }
    return Manifest(**{**values, **fields}, shards=shards)


def some_packs(*seeds: int) -> list[Pack]:
    return [make_pack(texts=(2 + seed, 3), images=[(1, 2, 2 * seed)] if seed % 2 else [], seed=seed) for seed in seeds]
