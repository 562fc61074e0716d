"""Collectives inside of compiled graphs, each chosen once for a `World`; and the one outside, which `World` needs.

| made by | a rank gives | and gets |
| --- | --- | --- |
| `all_reduce(world)` | any shape | that shape: the sum over ranks |
| `all_gather(world)` | (n, ...) | (size * n, ...): that of rank 0 first |
| `reduce_scatter(world)` | (size, n), a row for each rank | (n,): its own row of the sum |

One rank has no collectives: its graphs are what they were. What is made branches nowhere, so that HyperMap takes it.
Every rank must run the same collectives in the same order. Use float32: on CPU, a float64 AllGather gives back numbers
that went through float32. MindSpore's own gradient of AllGather is a ReduceScatter, which CPU lacks: write a `bprop`.

Exceptions of MindSpore's CPU backend (2.7.0), all of them here: it has no ReduceScatter, which is `_RowOfSum` there,
with the same result; it has no Barrier, so `World.barrier` is a gather, on every device.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import nn, ops

if TYPE_CHECKING:
    from train.cluster.world import World

_reshape = ops.Reshape()


def all_reduce(world: World) -> Any:
    return ops.AllReduce() if world.size > 1 else ops.Identity()


def all_gather(world: World) -> Any:
    return ops.AllGather() if world.size > 1 else ops.Identity()


def reduce_scatter(world: World) -> Any:
    if world.size == 1:
        return _OnlyRow()
    return _RowOfSum(world.rank) if world.device == "CPU" else _ReduceScatter()


class _ReduceScatter(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.reduce_scatter = ops.ReduceScatter()

    def construct(self, rows: ms.Tensor) -> ms.Tensor:
        return _reshape(self.reduce_scatter(rows), (-1,))


class _RowOfSum(nn.Cell):
    """ReduceScatter for CPU: sums all rows, and takes one."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank
        self.all_reduce = ops.AllReduce()

    def construct(self, rows: ms.Tensor) -> ms.Tensor:
        return self.all_reduce(rows)[self.rank]


class _OnlyRow(nn.Cell):
    def construct(self, rows: ms.Tensor) -> ms.Tensor:
        return _reshape(rows, (-1,))


def gather_words(words: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """(n,) of every rank -> (size * n,), outside of graphs. As int32, since every backend moves those bit for bit."""
    return _gather()(ms.Tensor(words)).asnumpy()


@cache
def _gather() -> Any:
    return ops.AllGather()
