"""Weights that ranks share (`--zero_stage 3`): each holds a part, and the whole exists while it is used.

    with sharing(...):                          what is built inside has parts in place of weights of several axes
        model = build_model(folder)

    gathering(weight)           part -> whole; backward: the gradient summed over ranks, this rank's part of it
    gathered_product(weight)    x, part -> x @ whole.T; gathers once more in the backward, and keeps nothing until then

Which of them saves memory depends on recomputation. With it, a layer is computed anew in the backward, gathers
included, so that nothing is kept; the compiler refuses `gathered_product` there ("Graph cycle exists"). Without it, a
gathered weight would be kept until the backward, for every layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from train.weights.parts import Part, part_of

_cast = ops.Cast()
_concat = ops.Concat(0)
_depend = ops.Depend()
_matmul = ops.MatMul()
_matmul_nt = ops.MatMul(transpose_b=True)
_matmul_tn = ops.MatMul(transpose_a=True)
_reshape = ops.Reshape()
_slice = ops.Slice()  # see `train.models.attention`
_zeros = ops.Zeros()


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """Who shares, and how: `all_gather` and `reduce_scatter` make what `train.cluster.collectives` describes."""

    rank: int
    size: int
    all_gather: Callable[[], Any]
    reduce_scatter: Callable[[], Any]
    compute: ms.Type  # what products are computed in
    recomputes: bool  # layers are computed again in the backward


_current: ContextVar[Sharing | None] = ContextVar("sharing", default=None)


@contextmanager
def sharing(how: Sharing) -> Iterator[None]:
    token = _current.set(how)
    try:
        yield
    finally:
        _current.reset(token)


def zeros_weight(*shape: int) -> ms.Parameter:
    """A weight of several axes: whole, or this rank's part of it, which is all that is ever made."""
    how = _current.get()
    if how is None:
        return ms.Parameter(ms.Tensor(np.zeros(shape, np.float32)))
    part = Part(shape=shape, rank=how.rank, num_parts=how.size, gather=how.all_gather())
    parameter = ms.Parameter(ms.Tensor(np.zeros(part.length, np.float32)))
    parameter.part = part
    return parameter


def gathering(weight: ms.Parameter, compute: ms.Type | None = None) -> nn.Cell | None:
    """The cell that makes `weight` whole, in `compute` or else in what products are computed in; None if it is."""
    how, part = _current.get(), part_of(weight)
    return None if how is None or part is None else _Gather(part, how, compute or how.compute)


def gathered_product(weight: ms.Parameter) -> nn.Cell | None:
    """None where a product is to be made of `gathering`, or of a weight that is whole."""
    how, part = _current.get(), part_of(weight)
    return None if how is None or part is None or how.recomputes else _GatheredProduct(part, how)


class _Gather(nn.Cell):
    def __init__(self, part: Part, how: Sharing, compute: ms.Type) -> None:
        super().__init__()
        self.shape, self.num_values, self.size = part.shape, part.num_values, how.size
        self.paddings = _paddings_of(part)
        self.compute = compute
        self.all_gather = how.all_gather()
        self.reduce_scatter = how.reduce_scatter()

    def construct(self, part: ms.Tensor) -> ms.Tensor:
        flat = self.all_gather(_cast(part, self.compute))
        return _reshape(_slice(flat, (0,), (self.num_values,)), self.shape)

    def bprop(self, part: ms.Tensor, out: ms.Tensor, dout: ms.Tensor) -> tuple[ms.Tensor]:
        return (self.reduce_scatter(_to_rows(dout, self.size, self.paddings)),)


class _GatheredProduct(nn.Cell):
    def __init__(self, part: Part, how: Sharing) -> None:
        super().__init__()
        self.shape, self.num_values, self.size = part.shape, part.num_values, how.size
        self.paddings = _paddings_of(part)
        self.compute = how.compute
        self.all_gather = how.all_gather()
        self.reduce_scatter = how.reduce_scatter()

    def construct(self, x_NC: ms.Tensor, part: ms.Tensor) -> ms.Tensor:
        flat = self.all_gather(_cast(part, self.compute))
        return _matmul_nt(x_NC, _reshape(_slice(flat, (0,), (self.num_values,)), self.shape))

    def bprop(self, x_NC: ms.Tensor, part: ms.Tensor, out: ms.Tensor, dout: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        # Without Depend, the compiler takes the weight that the forward gathered, and keeps it until here.
        flat = self.all_gather(_cast(_depend(part, dout), self.compute))
        dx_NC = _matmul(dout, _reshape(_slice(flat, (0,), (self.num_values,)), self.shape))
        return dx_NC, self.reduce_scatter(_to_rows(_matmul_tn(dout, x_NC), self.size, self.paddings))


def _paddings_of(part: Part) -> tuple[int, ...]:
    """None, or the one: in a `bprop`, a loop is what a branch would be (see `train.models.attention`)."""
    return (part.padding,) if part.padding else ()


def _to_rows(dweight: ms.Tensor, size: int, paddings: tuple[int, ...]) -> ms.Tensor:
    """A gradient as float32 (size, length): a row for each rank."""
    flat = _reshape(_cast(dweight, ms.float32), (-1,))
    for padding in paddings:
        flat = _concat((flat, _zeros((padding,), ms.float32)))
    return _reshape(flat, (size, -1))
