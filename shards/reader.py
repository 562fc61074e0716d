"""Open a published folder and read packs by their global index."""

from __future__ import annotations

import os
import resource
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

from shards.errors import DamagedShard, InvalidPack, ShardError, UnknownFamily, UnreadableShard
from shards.families import family_of
from shards.files.names import LEDGER_NAME, MANIFEST_NAME
from shards.formats.kinds import Shard, open_shard
from shards.manifest import Manifest, ShardEntry, index_name, read_manifest
from shards.model_constants import ModelConstants
from shards.pack import Outline, Pack, check_pack, outline_of

_OPEN_SHARDS = 128  # each holds an open file and a mapping
Checked = TypeVar("Checked", Pack, Outline)


class ShardSet:
    """All packs of a dataset, in stored order: `len(shards)`, `shards[i] -> Pack`, `shards.manifest`.

    Threads may share it. Pickled, it is a path: whoever unpickles it opens the folder again. Few shards are open at a
    time; a pack stays valid after its shard was closed, because its arrays hold the mapping. Every pack is checked
    (`check_pack`): whoever takes one may index with its numbers.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._ends = list(accumulate(entry.num_packs for entry in manifest.shards))
        self.shard = lru_cache(maxsize=_most_open())(self._open)

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return open_shards, (self.folder,)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Pack:
        def whole(pack: Pack) -> Pack:
            check_pack(pack, self.manifest.model)
            return pack

        return self._checked(index, whole)

    def outline(self, index: int) -> Outline:
        """Of pack `index`, whose content is neither read nor checked. Raises what reading it raises."""
        return self._checked(index, lambda pack: outline_of(pack, self.manifest.model))

    def _checked(self, index: int, check: Callable[[Pack], Checked]) -> Checked:
        if not 0 <= index < len(self):
            raise IndexError(f"pack {index} of {len(self)} in {self.folder}")
        number = bisect_right(self._ends, index)
        row = index - (self._ends[number] - self.manifest.shards[number].num_packs)
        pack = self.shard(number)[row]
        try:
            return check(pack)
        except InvalidPack as error:
            path = self.folder / self.manifest.shards[number].name
            raise DamagedShard(f"{path}, row {row}: {error}; preprocess again") from None

    def _open(self, number: int) -> Shard:
        return open_entry(self.folder, self.manifest.shards[number], self.manifest.model)


def open_entry(folder: Path, entry: ShardEntry, constants: ModelConstants) -> Shard:
    """A shard of a manifest; its rows are not checked. Raises DamagedShard or UnreadableShard."""
    opened = open_shard(folder / entry.name, constants, entry.num_bytes)
    if len(opened) != entry.num_packs:
        raise DamagedShard(
            f"{folder / entry.name} holds {len(opened)} packs, the manifest says {entry.num_packs}; "
            "it belongs to another run: preprocess again"
        )
    return opened


def _most_open() -> int:
    """Of the files that this process may open, a quarter: there may be two datasets, and others need some."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _OPEN_SHARDS if soft == resource.RLIM_INFINITY else max(1, min(_OPEN_SHARDS, soft // 4))


def open_shards(folder: str | Path) -> ShardSet:
    """Open a dataset. Checks the manifest and every file's presence and size; reads no payload.

    Raises NotADataset, UnsupportedVersion, UnknownFamily, DamagedShard or UnreadableShard.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    try:
        family_of(manifest.model.model_type)
    except UnknownFamily as error:
        what = f"model.{error}; read it with a newer version of this project"
        raise UnknownFamily(f"{folder / MANIFEST_NAME}: {what}") from None
    check_sizes(folder, manifest)
    return ShardSet(folder, manifest)


def open_packs(folder: str | Path) -> ShardSet:
    """The same for training, which needs a pack at least. Raises ShardError where there is none."""
    shards = open_shards(folder)
    if not len(shards):
        raise ShardError(f"{shards.folder} holds no pack; preprocess again, its {LEDGER_NAME} says what was left out")
    return shards


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Raise DamagedShard, naming the file, where one is missing or has another size than when it was written."""
    expected: dict[str, int] = {}
    for entry in manifest.shards:
        expected[entry.name] = entry.num_bytes
        if entry.index_bytes is not None:
            expected[index_name(entry.name)] = entry.index_bytes
    try:
        found = _file_sizes(folder)
    except OSError as error:
        raise UnreadableShard.of(folder, error) from None
    for name, num_bytes in expected.items():
        if name not in found:
            raise DamagedShard(f"{folder / name} is missing; preprocess again, or copy the whole folder")
        if found[name] != num_bytes:
            raise DamagedShard(
                f"{folder / name} has {found[name]} bytes, the manifest says {num_bytes}; "
                "copy it again or preprocess again"
            )


def _file_sizes(folder: Path) -> dict[str, int]:
    """Of all files, by name. Listing first and asking in that order is what network file systems read ahead for."""
    sizes = {}
    descriptor = os.open(folder, os.O_RDONLY)  # names relative to it are looked up in one step
    try:
        for name in os.listdir(descriptor):
            with suppress(FileNotFoundError):  # a broken link
                sizes[name] = os.stat(name, dir_fd=descriptor).st_size
    finally:
        os.close(descriptor)
    return sizes
