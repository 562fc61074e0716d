"""How ranks write the files of a checkpoint together; the bytes are those that one process writes.

| `--checkpoint_writer` | who writes | what travels |
| --- | --- | --- |
| shared | every rank the values that it holds, where they belong; an equal part of what all hold | nothing |
| gather | the first rank | what ranks hold in parts, a weight at a time |

A part is a contiguous range of values (`train.weights.parts`), hence of the bytes of a safetensors file, whose layout
follows from names and shapes alone. So no rank needs what another holds, and the file is the same for any number of
ranks. Network disks may lose writes of several machines to one page of a file (NFS does, where it caches): `gather`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shards.files.atomic import sync_folder
from train.cluster.world import World
from train.weights.files import Layout, WeightToWrite, bytes_of, lay_out, write_file
from train.weights.parts import Part
from train.weights.writer import OneWriter, Writer

_SMALL_BYTES = 1 << 20  # the first rank writes what all hold and is smaller: not worth a call of each


def choose_writer(name: str, world: World) -> Writer:
    """`name`: one of CHECKPOINT_WRITERS."""
    if world.size == 1:
        return OneWriter()
    return SharedWriter(world) if name == "shared" else GatheringWriter(world)


@contextmanager
def together(world: World) -> Iterator[None]:
    """What all ranks do at once: waits for all, and raises OSError on every rank where one of them could not."""
    failure: OSError | None = None
    try:
        yield
    except OSError as error:
        failure = error
    codes = world.gather(float(failure.errno or errno.EIO) if failure else 0.0).astype(int)
    if failure:
        raise failure
    if failed := np.flatnonzero(codes).tolist():
        raise OSError(codes[failed[0]], f"rank {failed[0]} could not write: {os.strerror(codes[failed[0]])}")


class _RanksWriter:
    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def is_first(self) -> bool:
        return self.world.is_first

    def once(self, act: Callable[[], object]) -> None:
        with together(self.world):
            if self.is_first:
                act()


class GatheringWriter(_RanksWriter):
    def write_file(self, path: Path, weights: Sequence[WeightToWrite]) -> None:
        shared = [each for each in lay_out(weights).order if each.held]
        if not self.is_first:
            for each in shared:
                each.read()
        with together(self.world):
            if self.is_first:
                _write_gathered(path, weights, shared)


def _write_gathered(path: Path, weights: Sequence[WeightToWrite], shared: list[WeightToWrite]) -> None:
    """Where the disk fails, the other ranks give the rest all the same: they must not be left waiting."""
    waiting = {each.name: each for each in shared}

    def counted(weight: WeightToWrite) -> WeightToWrite:
        def read() -> npt.NDArray[Any]:
            waiting.pop(weight.name, None)
            return weight.read()

        return replace(weight, read=read)

    try:
        write_file(path, [counted(each) for each in weights])
    except OSError:
        for each in waiting.values():
            each.read()
        raise


class SharedWriter(_RanksWriter):
    def write_file(self, path: Path, weights: Sequence[WeightToWrite]) -> None:
        layout = lay_out(weights)
        unfinished = path.with_name(f".{path.name}.unfinished")
        try:
            self.once(partial(_create, unfinished, layout))
            with together(self.world):
                _write_own(unfinished, layout, self.world)
            self.once(partial(_publish, unfinished, path))
        except BaseException:
            if self.is_first:
                unfinished.unlink(missing_ok=True)
            raise


def _create(path: Path, layout: Layout) -> None:
    path.unlink(missing_ok=True)  # what a crash left
    with open(path, "xb") as file:
        file.write(layout.prefix)
        file.truncate(layout.num_bytes)


def _write_own(path: Path, layout: Layout, world: World) -> None:
    """What this rank holds, to the disk."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        advice = "this rank does not see it: give an output_dir that all nodes share, or --checkpoint_writer gather"
        raise OSError(errno.ENOENT, advice, str(path)) from None
    try:
        for weight in layout.order:
            first, values = _own_values(weight, world)
            _write_at(descriptor, values, layout.offsets[weight.name] + first * weight.item_bytes, path)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _own_values(weight: WeightToWrite, world: World) -> tuple[int, memoryview]:
    """The first value that this rank writes, and the bytes from there."""
    if weight.held:
        return weight.held.first, bytes_of(weight, weight.held.read(), (weight.held.last - weight.held.first,))
    if weight.num_bytes < _SMALL_BYTES:
        return 0, bytes_of(weight, weight.read(), weight.shape) if world.is_first else memoryview(b"")
    first, last = Part(shape=weight.shape, rank=world.rank, num_parts=world.size, gather=id).bounds
    whole = bytes_of(weight, weight.read(), weight.shape)
    return first, whole[first * weight.item_bytes : last * weight.item_bytes]


def _write_at(descriptor: int, content: memoryview, offset: int, path: Path) -> None:
    while content:
        try:
            written = os.pwrite(descriptor, content, offset)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        content, offset = content[written:], offset + written


def _publish(unfinished: Path, path: Path) -> None:
    os.replace(unfinished, path)
    sync_folder(path.parent)
