"""Open a published folder and read packs by their global index."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

from shards.arrow import ArrowShard
from shards.errors import DamagedShard
from shards.manifest import Manifest, ShardEntry, read_manifest
from shards.pack import Pack


class ShardSet:
    """All packs of a dataset, in stored order: `len(shards)`, `shards[i] -> Pack`, `shards.manifest`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._ends = list(accumulate(entry.num_packs for entry in manifest.shards))
        self._open: dict[int, ArrowShard] = {}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Pack:
        if not 0 <= index < len(self):
            raise IndexError(f"pack {index} of {len(self)} in {self.folder}")
        shard = bisect_right(self._ends, index)
        first = self._ends[shard] - self.manifest.shards[shard].num_packs
        return self._shard(shard)[index - first]

    def _shard(self, shard: int) -> ArrowShard:
        if shard not in self._open:
            entry = self.manifest.shards[shard]
            opened = ArrowShard(self.folder / entry.name, self.manifest.model)
            if len(opened) != entry.num_packs:
                raise DamagedShard(
                    f"{self.folder / entry.name} holds {len(opened)} packs, the manifest says {entry.num_packs}; "
                    "it belongs to another run: preprocess again"
                )
            self._open[shard] = opened
        return self._open[shard]


def open_shards(folder: str | Path) -> ShardSet:
    """Open a dataset. Checks the manifest and every shard's presence and size; reads no payload.

    Raises NotADataset, UnsupportedVersion or DamagedShard.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    for entry in manifest.shards:
        _check_size(folder / entry.name, entry)
    return ShardSet(folder, manifest)


def _check_size(path: Path, entry: ShardEntry) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise DamagedShard(f"{path} is missing; preprocess again, or copy the whole folder") from None
    if size != entry.num_bytes:
        raise DamagedShard(
            f"{path} has {size} bytes, the manifest says {entry.num_bytes}; copy it again or preprocess again"
        )
