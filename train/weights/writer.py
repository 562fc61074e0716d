"""Who writes the files of a folder: this process alone, or ranks that share what goes into them. Needs no MindSpore.

Every rank makes the same calls in the same order, whatever part of the weights it holds, and all learn of a failure.
Writers for several ranks: `train.checkpoints.writers`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from shards.files.atomic import write_atomically
from train.weights.companions import INDEX_FILE
from train.weights.files import SINGLE_FILE, WeightToWrite, write_file

MAX_SHARD_BYTES = 5 * 10**9  # of one file's tensors, as transformers 4.57.1 splits them


class Writer(Protocol):
    """The same bytes come out, whoever writes them. What one rank can't write is an OSError on all of them."""

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that does what is done once."""

    def once(self, act: Callable[[], object]) -> None:
        """Have one process do it, and all wait for it."""

    def write_file(self, path: Path, weights: Sequence[WeightToWrite]) -> None:
        """One safetensors file, whole or not at all, as `train.weights.files.write_file` makes it."""


class OneWriter:
    """A process that holds all it writes."""

    is_first = True

    def once(self, act: Callable[[], object]) -> None:
        act()

    def write_file(self, path: Path, weights: Sequence[WeightToWrite]) -> None:
        write_file(path, weights)


ALONE = OneWriter()


def write_weights(
    folder: Path,
    weights: Sequence[WeightToWrite],
    *,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    writer: Writer = ALONE,
) -> list[Path]:
    """Write model.safetensors, or where it would exceed `max_shard_bytes`, several files and then their index.

    Every file is on disk before it gets its name. Returns the paths, last the one without which a folder holds no
    weights. A tensor larger than `max_shard_bytes` has a file of its own.
    """
    shards = _split(weights, max_shard_bytes)
    if len(shards) == 1:
        writer.write_file(folder / SINGLE_FILE, weights)
        return [folder / SINGLE_FILE]
    names = [f"model-{index:05d}-of-{len(shards):05d}.safetensors" for index in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        writer.write_file(folder / name, shard)
    index = {
        "metadata": {"total_size": sum(weight.num_bytes for weight in weights)},
        "weight_map": {weight.name: name for name, shard in zip(names, shards, strict=True) for weight in shard},
    }
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    writer.once(partial(write_atomically, folder / INDEX_FILE, text))
    return [*(folder / name for name in names), folder / INDEX_FILE]


def _split(weights: Iterable[WeightToWrite], max_shard_bytes: int) -> list[list[WeightToWrite]]:
    """In order, a new file where the next tensor has no room."""
    shards: list[list[WeightToWrite]] = [[]]
    room = max_shard_bytes
    for weight in weights:
        if shards[-1] and weight.num_bytes > room:
            shards.append([])
            room = max_shard_bytes
        shards[-1].append(weight)
        room -= weight.num_bytes
    return shards
