"""Ranks that write one file together. They are threads here, whose `gather` waits for all."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from train.checkpoints.writers import GatheringWriter, SharedWriter, choose_writer
from train.cluster.world import World
from train.weights.files import WeightToWrite, bytes_of, from_float32, write_file
from train.weights.parts import HeldPart, Part
from train.weights.writer import ALONE, Writer

RANDOM = np.random.default_rng(0)
SHAPES = {"in.parts": (53, 37), "narrow.parts": (3, 5, 7), "whole": (600, 700), "small": (1,), "last.parts": (2, 3)}
VALUES = {name: RANDOM.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
WRITERS = {"shared": SharedWriter, "gather": GatheringWriter}
SECONDS = 20


class Meeting:
    """Where `size` threads gather."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size)
        self.brought: list[object] = [None] * size

    def gather(self, rank: int, value: object) -> list[object]:
        self.brought[rank] = value
        self.barrier.wait(SECONDS)
        found = list(self.brought)
        self.barrier.wait(SECONDS)
        return found


class Rank:
    """What a writer asks of a `World`."""

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting, self.rank, self.size = meeting, rank, meeting.size
        self.is_first = rank == 0

    def gather(self, value: float) -> np.ndarray:
        return np.array(self.meeting.gather(self.rank, value))

    def weights(self) -> list[WeightToWrite]:
        return [self.weight(name) for name in VALUES]

    def weight(self, name: str) -> WeightToWrite:
        dtype = "BF16" if name.startswith("narrow") else "F32"
        values = from_float32(VALUES[name], dtype)
        if not name.endswith("parts"):
            return WeightToWrite(name=name, dtype=dtype, shape=values.shape, read=lambda: values)
        first, last = Part(shape=values.shape, rank=self.rank, num_parts=self.size, gather=id).bounds
        mine = values.reshape(-1)[first:last]
        return WeightToWrite(
            name=name,
            dtype=dtype,
            shape=values.shape,
            read=lambda: np.concatenate(self.meeting.gather(self.rank, mine)).reshape(values.shape),
            held=HeldPart(first=first, last=last, read=lambda: mine),
        )


def on_ranks(size: int, act: Callable[[Rank], None]) -> list[Exception | None]:
    """What each rank raised; none may be left waiting."""
    meeting = Meeting(size)
    errors: list[Exception | None] = [None] * size

    def run(rank: int) -> None:
        try:
            act(Rank(meeting, rank))
        except Exception as error:
            errors[rank] = error

    threads = [threading.Thread(target=run, args=(rank,), name=f"rank {rank}") for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * SECONDS)
    assert not any(isinstance(error, threading.BrokenBarrierError) for error in errors)
    return errors


@pytest.mark.parametrize("size", [2, 3, 8])
@pytest.mark.parametrize("name", WRITERS)
def test_the_bytes_are_those_of_one_process(name: str, size: int, tmp_path: Path) -> None:
    everything = on_ranks(1, lambda rank: write_file(tmp_path / "alone.safetensors", rank.weights()))
    errors = on_ranks(size, lambda rank: WRITERS[name](rank).write_file(tmp_path / "x.safetensors", rank.weights()))
    assert [*everything, *errors] == [None] * (size + 1)
    assert (tmp_path / "x.safetensors").read_bytes() == (tmp_path / "alone.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.safetensors", "x.safetensors"]
    np.testing.assert_array_equal(load_file(tmp_path / "x.safetensors")["in.parts"], VALUES["in.parts"])


def test_ranks_that_share_write_what_they_hold_and_nothing_travels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = [0] * 4
    pwrite = os.pwrite

    def count(descriptor: int, content: memoryview, offset: int) -> int:
        written[int(threading.current_thread().name.split()[1])] += len(content)
        return pwrite(descriptor, content, offset)

    monkeypatch.setattr(os, "pwrite", count)

    def write(rank: Rank) -> None:
        names = [name for name in VALUES if name.endswith("parts") or name == "whole"]
        weights = [rank.weight(name) for name in names]
        for each in weights:
            if each.held:
                object.__setattr__(each, "read", None)  # asks all ranks
        SharedWriter(rank).write_file(tmp_path / "x.safetensors", weights)

    assert on_ranks(4, write) == [None] * 4
    assert max(written) < 1.02 * sum(written) / 4


@pytest.mark.parametrize("failing", [0, 2])
@pytest.mark.parametrize("name", WRITERS)
def test_a_rank_that_cannot_write_stops_all_and_leaves_the_earlier_file(
    name: str, failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    path.write_text("earlier")

    def fails(write: Callable[..., object]) -> Callable[..., object]:
        def fail(*arguments: object) -> object:
            if threading.current_thread().name == f"rank {failing}":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            return write(*arguments)

        return fail

    monkeypatch.setattr(os, "pwrite", fails(os.pwrite))
    monkeypatch.setattr("train.weights.files.bytes_of", fails(bytes_of))  # the first rank has others' parts to come
    errors = on_ranks(3, lambda rank: WRITERS[name](rank).write_file(path, rank.weights()))
    if name == "gather" and failing:
        assert errors == [None] * 3, "only the first rank writes"
        return
    assert [type(error) for error in errors] == [OSError] * 3
    assert {error.errno for error in errors} == {errno.ENOSPC}
    others = [str(error) for rank, error in enumerate(errors) if rank != failing]
    assert all(f"rank {failing} could not write: No space left on device" in each for each in others)
    assert [each.name for each in tmp_path.iterdir()] == ["x.safetensors"]
    assert path.read_text() == "earlier"


def test_what_is_done_once_is_done_by_the_first_rank_and_fails_on_all(tmp_path: Path) -> None:
    done = []
    assert on_ranks(3, lambda rank: SharedWriter(rank).once(lambda: done.append(rank.rank))) == [None] * 3
    assert done == [0]
    errors = on_ranks(3, lambda rank: SharedWriter(rank).once(tmp_path.mkdir))
    assert [error.errno for error in errors] == [errno.EEXIST] * 3


def test_a_rank_that_does_not_see_the_file_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_file = os.open

    def fail(path: Path, *flags: int) -> int:
        if threading.current_thread().name == "rank 1":
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return open_file(path, *flags)

    monkeypatch.setattr(os, "open", fail)
    errors = on_ranks(2, lambda rank: SharedWriter(rank).write_file(tmp_path / "x.safetensors", rank.weights()))
    assert "--checkpoint_writer gather" in str(errors[1])
    assert list(tmp_path.iterdir()) == []


def test_one_process_writes_alone() -> None:
    def kind(name: str, size: int) -> type[Writer]:
        return type(choose_writer(name, World(rank=0, size=size, device="CPU")))

    assert {kind(name, 1) for name in WRITERS} == {type(ALONE)}
    assert [kind(name, 2) for name in WRITERS] == list(WRITERS.values())
