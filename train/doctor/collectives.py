"""What ranks exchange, in graphs (`train.cluster.collectives`) and outside (`World`): right, and in what time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import nn

from train.cluster.collectives import all_gather, all_reduce, reduce_scatter
from train.cluster.world import World
from train.doctor.findings import Finding, failed, ok, skipped
from train.doctor.timing import median_seconds

_LARGE_BYTES = {"CPU": 4 << 20, "Ascend": 256 << 20}
_SMALL_BYTES = 4 << 10


@dataclass(frozen=True, kw_only=True)
class _Collective:
    name: str
    make: Callable[[World], Any]
    expect: Callable[[npt.NDArray[np.float32], World], npt.NDArray[np.float32]]  # of the (ranks, n) that ranks give
    dtype: ms.Type = ms.float32


def check(world: World) -> Iterator[Finding]:
    if world.size == 1:
        yield skipped("collectives", "one process has none; --nproc 2 tests them")
        return
    for each in _collectives(world):
        yield _check_one(each, world)
    yield _check_world(world)


def _collectives(world: World) -> list[_Collective]:
    found = [
        _Collective(name="all-reduce", make=all_reduce, expect=lambda given, world: given.sum(0)),
        _Collective(name="all-gather", make=all_gather, expect=lambda given, world: given.reshape(-1)),
        _Collective(
            name="reduce-scatter",
            make=_scatter_rows,
            expect=lambda given, world: given.sum(0).reshape(world.size, -1)[world.rank],
        ),
    ]
    if world.device == "Ascend":  # what stage 3 gathers with --bf16
        name, expect = "all-gather of bfloat16", found[1].expect
        found.append(_Collective(name=name, make=all_gather, expect=expect, dtype=ms.bfloat16))
    return found


class _scatter_rows(nn.Cell):  # noqa: N801  (made as the functions beside it are called)
    """(n,) -> (n / ranks,)"""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.size = world.size
        self.scatter = reduce_scatter(world)

    def construct(self, flat: ms.Tensor) -> ms.Tensor:
        return self.scatter(flat.reshape((self.size, -1)))


def _check_one(each: _Collective, world: World) -> Finding:
    made = each.make(world)

    @ms.jit
    def exchange(values: ms.Tensor) -> ms.Tensor:
        return made(values)

    times = []
    for num_bytes in (_SMALL_BYTES, _LARGE_BYTES[world.device]):
        num_values = num_bytes // 4 // world.size * world.size
        given = np.stack([_numbers(num_values, rank) for rank in range(world.size)])
        mine = ms.Tensor(given[world.rank]).astype(each.dtype)
        got = exchange(mine).astype(ms.float32).asnumpy()
        expected = each.expect(given, world)
        if got.shape != expected.shape:
            return failed(each.name, f"gives the shape {got.shape}, not {expected.shape}")
        wrong = np.flatnonzero(got != expected)
        if len(wrong):
            first = f"value {wrong[0]} is {got[wrong[0]]:g}, not {expected[wrong[0]]:g}"
            return failed(each.name, f"{len(wrong)} of {expected.size} values are wrong: {first}")
        seconds = median_seconds(lambda mine=mine: exchange(mine))  # type: ignore[misc]
        times.append(f"{num_bytes >> 10} KB in {seconds * 1000:.2f} ms ({num_bytes / seconds / 1e9:.2f} GB/s)")
    return ok(each.name, ", ".join(times))


def _numbers(count: int, rank: int) -> npt.NDArray[np.float32]:
    """Whole numbers that bfloat16 holds, and whose sums float32 does."""
    return (np.arange(count) * (2 * rank + 3) % 101 + rank % 101).astype(np.float32)


def _check_world(world: World) -> Finding:
    """Bits of float64 must arrive, and a flag of one rank reach all."""
    name = "exchange outside of graphs"
    bits = np.array([[0.1 + rank, 1e300, 5e-324, -0.0] for rank in range(world.size)])
    gathered = world.gather(bits[world.rank])
    if gathered.tobytes() != bits.tobytes():
        return failed(name, f"gathered {gathered.tolist()} of {bits.tolist()}")
    stops = world.agree_to_stop(world.rank == world.size - 1), world.agree_to_stop(False)
    if stops != (True, False):
        return failed(name, f"ranks agreed to stop: {stops}, not (True, False)")
    begin = time.perf_counter()
    for _ in range(10):
        world.barrier()
    return ok(name, f"barrier in {(time.perf_counter() - begin) * 100:.2f} ms")
