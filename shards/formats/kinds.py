"""The file formats of a shard, and the one place that chooses between them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from shards.files.formats import ARROW_ZSTD, MINDRECORD
from shards.formats import arrow, mindrecord
from shards.model_constants import ModelConstants
from shards.pack import Pack, PatchColumn


class Shard(Protocol):
    """Random access to the packs of one file."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Pack: ...

    def patches(self, row: int, name: PatchColumn, first: int, number: int) -> npt.NDArray[np.uint8]:
        """`number` patches of a pack, from `first` on: (number, bytes), without reading the others."""
        ...


class ShardWriter(Protocol):
    """Appends packs to one shard, whose files are whole and on the disk when the context ends without an exception."""

    @property
    def hashes(self) -> Sequence[str]:
        """The sha256 of each of its `files_of_shard`, once the context has ended."""
        ...

    def write(self, pack: Pack) -> None: ...

    def __enter__(self) -> ShardWriter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def open_shard(path: Path, constants: ModelConstants, num_bytes: int | None = None) -> Shard:
    """Its suffix says of which format it is, and an Arrow file itself whether it is compressed.

    `num_bytes`: the size of the file, where it is known. Raises DamagedShard or UnreadableShard."""
    if path.suffix == mindrecord.SUFFIX:
        return mindrecord.MindRecordShard(path, constants, num_bytes)
    return arrow.ArrowShard(path, constants, num_bytes)


def create_shard(
    path: Path, constants: ModelConstants, format: str, largest_row_bytes: int, *, syncs: bool = True
) -> ShardWriter:
    """`path` has the suffix of `format`. `syncs` is False where someone syncs the files later."""
    if format == MINDRECORD:
        return mindrecord.MindRecordShardWriter(path, constants, mindrecord.page_bytes(largest_row_bytes), syncs=syncs)
    return arrow.ArrowShardWriter(path, constants, compress=format == ARROW_ZSTD, syncs=syncs)


def check_row_fits(format: str, largest_row_bytes: int) -> None:
    """Raise RowTooLarge, with the number, where `format` can't hold a row of that size."""
    if format == MINDRECORD:
        mindrecord.page_bytes(largest_row_bytes)


def load_format(format: str) -> None:
    """Import now what writing the first shard would import; ImportError where it is not installed."""
    if format == MINDRECORD:
        import mindspore.mindrecord  # noqa: F401


def files_of_shard(name: str) -> tuple[str, ...]:
    """The files that shard `name` consists of, its own first."""
    return (name, mindrecord.index_name(name)) if name.endswith(mindrecord.SUFFIX) else (name,)
