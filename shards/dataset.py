"""The packs of a run, in order and padded: as a Python iterable, and as a dataset of MindSpore.

    load_padded(shards, index, shape)   index -> Pack -> PaddedPack
    PackStream(shards, order)           the same for each index of an order     what train/ reads, in a thread
    mindspore_dataset(folder, ...)      the same rows, read ahead by MindSpore  for any other training script

A stream is one rank's share of a whole run, all epochs included. Where it starts costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from shards.batch import Batch, BatchShape, input_names, make_batch
from shards.errors import ShardError, UnreadableShard, reading_advice
from shards.model_constants import ModelConstants
from shards.order import PackOrder, num_positions
from shards.reader import ShardSet, open_packs, open_shards


class PaddedPack(NamedTuple):
    """One pack, ready for the device. The arrays are its own: no other pack's arrays ever use their memory."""

    batch: Batch
    pack_index: int  # in the dataset; -1 for an empty pack
    num_tokens: int  # without padding
    num_label_tokens: int  # supervised: their sum over the whole global batch divides the loss
    sample_keys: tuple[str, ...]  # where each segment came from


def column_names(constants: ModelConstants) -> tuple[str, ...]:
    """Of a MindSpore dataset: the arrays of a Batch, and numbers of the pack."""
    return (*input_names(constants), "pack_index", "num_tokens", "num_label_tokens")


def load_padded(shards: ShardSet, pack_index: int | None, shape: BatchShape) -> PaddedPack:
    """Read and pad one pack; an empty one for None.

    Raises ShardError where it can't be read, and RuntimeError, which is a bug, where it can't be padded.
    """
    if pack_index is None:
        return PaddedPack(make_batch(None, shape, shards.manifest.model), -1, 0, 0, ())
    try:
        pack = shards[pack_index]
        batch = make_batch(pack, shape, shards.manifest.model)
    except ShardError:
        raise
    except OSError as error:
        raise UnreadableShard(
            f"pack {pack_index} of {shards.folder} can't be read ({error}); {reading_advice(error)}"
        ) from error
    except Exception as error:
        raise RuntimeError(f"pack {pack_index} of {shards.folder} can't be padded: {error}") from error
    return PaddedPack(batch, pack_index, pack.num_tokens, pack.num_label_tokens, pack.sample_keys)


class PackStream:
    """What rank `rank` of `world_size` takes from step `first_step` of `order` on: iterates over PaddedPack.

    Each `iter()` starts anew, and raises what `load_padded` raises. Pickled, a stream is a path and numbers.
    """

    def __init__(
        self, shards: ShardSet, order: PackOrder, *, first_step: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        """Raises ValueError for an order, step or rank that doesn't fit, or packs that the ranks can't share."""
        if order.num_packs != len(shards):
            raise ValueError(f"the order is one of {order.num_packs} packs, {shards.folder} holds {len(shards)}")
        if not 0 <= first_step <= order.num_steps:
            raise ValueError(f"first_step is {first_step}, the run has steps 0 to {order.num_steps}")
        order.positions_of_step(0, rank=rank, world_size=world_size)  # checks both
        self.shards = shards
        self.order = order
        self.first_step = first_step
        self.rank = rank
        self.world_size = world_size
        self._shape = BatchShape.of(shards.manifest)

    def __len__(self) -> int:
        """Packs, empty ones included."""
        return (self.order.num_steps - self.first_step) * self.order.packs_per_step // self.world_size

    def __iter__(self) -> Iterator[PaddedPack]:
        for step in range(self.first_step, self.order.num_steps):
            for pack_index in self.order.packs_of_step(step, rank=self.rank, world_size=self.world_size):
                yield load_padded(self.shards, pack_index, self._shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.shards.folder, self.order, self.first_step, self.rank, self.world_size)


def _reopen(folder: Path, order: PackOrder, first_step: int, rank: int, world_size: int) -> PackStream:
    return PackStream(open_shards(folder), order, first_step=first_step, rank=rank, world_size=world_size)


def mindspore_dataset(
    folder: str | Path,
    *,
    packs_per_step: int,
    num_epochs: float = 1.0,
    max_steps: int | None = None,
    seed: int = 0,
    first_step: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Any:
    """A `mindspore.dataset.GeneratorDataset` with a row for each pack of a rank's share of a run, from `first_step` on.

    Columns (`column_names`): the arrays of a `shards.batch.Batch` in their order, then `pack_index` (-1 for an empty
    pack), `num_tokens` and `num_label_tokens`, int32 (). Shapes are static. `packs_per_step` counts all ranks and
    accumulation steps. Epochs follow each other within the dataset: iterate with `num_epochs=1`. MindSpore reads ahead
    in a thread, by `mindspore.dataset.config.get_prefetch_size()` rows (16).

    Raises ShardError for a folder that can't be used and ValueError for numbers that don't fit; the iterators of the
    dataset raise ShardError where a pack can't be read, and then drop rows before it that were read ahead. (Those of a
    dataset made from it by `batch` or `map` raise RuntimeError with a page of text that holds the same message.)
    """
    from mindspore.dataset import GeneratorDataset

    class PackDataset(GeneratorDataset):
        """Its iterators raise the stream's own error, not MindSpore's page about where it passed through."""

        def create_tuple_iterator(self, *args: Any, **options: Any) -> _Rows:
            return _Rows(super().create_tuple_iterator(*args, **options), self.source)

        def create_dict_iterator(self, *args: Any, **options: Any) -> _Rows:
            return _Rows(super().create_dict_iterator(*args, **options), self.source)

    shards = open_packs(folder)
    positions = num_positions(len(shards), packs_per_step=packs_per_step, num_epochs=num_epochs, max_steps=max_steps)
    order = PackOrder(num_packs=len(shards), seed=seed, packs_per_step=packs_per_step, num_positions=positions)
    stream = PackStream(shards, order, first_step=first_step, rank=rank, world_size=world_size)
    columns = list(column_names(shards.manifest.model))
    return PackDataset(_FlatRows(stream), column_names=columns, shuffle=False, num_parallel_workers=1)


class _FlatRows:
    """A stream as MindSpore wants it: tuples of arrays. It keeps the error that ended an iteration.

    GeneratorDataset (2.7.0) copies nothing: what it yields is this memory, so each row must have its own.
    """

    def __init__(self, stream: PackStream) -> None:
        self.stream = stream
        self.error: Exception | None = None

    def __len__(self) -> int:
        return len(self.stream)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        self.error = None
        try:
            for row in self.stream:
                numbers = (row.pack_index, row.num_tokens, row.num_label_tokens)
                yield (*row.batch, *map(np.int32, numbers))
        except Exception as error:
            self.error = error
            raise


class _Rows:
    """A MindSpore iterator that raises the error of its source as it was."""

    def __init__(self, rows: Any, source: _FlatRows) -> None:
        self._rows = rows
        self._source = source

    def __iter__(self) -> _Rows:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._rows)
        except RuntimeError:
            if self._source.error is not None:
                raise self._source.error from None
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rows, name)
