"""Open a published folder and read packs by their global index."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path

from shards.errors import DamagedShard
from shards.formats import Shard, open_shard
from shards.manifest import Manifest, PayloadFile, read_manifest
from shards.pack import Pack

_OPEN_SHARDS = 128  # each holds an open file or two and a mapping; a process may have 1,024 files
_STAT_THREADS = 16  # on a network file system each answer takes a while
_FILES_AT_ONCE = 1000


class ShardSet:
    """All packs of a dataset, in stored order: `len(shards)`, `shards[i] -> Pack`, `shards.manifest`.

    Threads may share it. Pickled, it is a path: whoever unpickles it opens the folder again. Few shards are open at a
    time; a pack stays valid after its shard was closed, because its arrays hold the mapping.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._ends = list(accumulate(entry.num_packs for entry in manifest.shards))
        self.shard = lru_cache(maxsize=_OPEN_SHARDS)(self._open)

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return open_shards, (self.folder,)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Pack:
        if not 0 <= index < len(self):
            raise IndexError(f"pack {index} of {len(self)} in {self.folder}")
        number = bisect_right(self._ends, index)
        first = self._ends[number] - self.manifest.shards[number].num_packs
        return self.shard(number)[index - first]

    def _open(self, number: int) -> Shard:
        """Shard `number` of the manifest. Raises DamagedShard."""
        entry = self.manifest.shards[number]
        opened = open_shard(self.folder / entry.name, self.manifest.model)
        if len(opened) != entry.num_packs:
            raise DamagedShard(
                f"{self.folder / entry.name} holds {len(opened)} packs, the manifest says {entry.num_packs}; "
                "it belongs to another run: preprocess again"
            )
        return opened


def open_shards(folder: str | Path) -> ShardSet:
    """Open a dataset. Checks the manifest and every file's presence and size; reads no payload.

    Raises NotADataset, UnsupportedVersion or DamagedShard.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    check_sizes(folder, manifest)
    return ShardSet(folder, manifest)


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Raise DamagedShard, naming the file, where one is missing or has another size than when it was written."""
    files = [file for entry in manifest.shards for file in entry.files()]
    portions = [files[first : first + _FILES_AT_ONCE] for first in range(0, len(files), _FILES_AT_ONCE)]
    if len(portions) > 1:
        with ThreadPoolExecutor(_STAT_THREADS) as pool:
            list(pool.map(partial(_check_sizes, str(folder)), portions))
    else:
        _check_sizes(str(folder), files)


def _check_sizes(folder: str, files: Sequence[PayloadFile]) -> None:
    for name, num_bytes, _ in files:
        path = os.path.join(folder, name)
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            raise DamagedShard(f"{path} is missing; preprocess again, or copy the whole folder") from None
        if size != num_bytes:
            raise DamagedShard(
                f"{path} has {size} bytes, the manifest says {num_bytes}; copy it again or preprocess again"
            )
