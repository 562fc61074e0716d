"""Gathers in which no row is wanted twice, with a backward that gathers too.

The gradient of `ops.gather` adds rows up wherever they land (UnsortedSegmentSum: atomic additions on a device, in
whatever dtype the rows have). Where every row that counts is taken once, its gradient stands in one place, and the
inverse index finds it: no additions, any dtype, the same bits each time.

Suffixes: N rows to gather from, M rows of the result, C whatever stands in a row.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.ops.primitive import constexpr

# Primitives, since this runs in a `bprop` (see `train.models.attention`).
_concat_rows = ops.Concat(0)
_equal = ops.Equal()
_gather = ops.Gather()
_reshape = ops.Reshape()
_scatter = ops.TensorScatterUpdate()
_select = ops.Select()
_zeros = ops.Zeros()


class GatherOnce(nn.Cell):
    """x_NC[index], for an index that takes no row twice but in rows of the result that nothing reads (padding)."""

    def construct(self, x_NC: ms.Tensor, index_M: ms.Tensor, inverse_N: ms.Tensor) -> ms.Tensor:
        """`inverse_N` says in which row of the result (flattened, where `index_M` has two axes) each row stands.

        For rows that are not taken it may say anything: `index_M` is asked whether it is so.
        """
        return _gather(x_NC, index_M, 0)

    def bprop(
        self, x_NC: ms.Tensor, index_M: ms.Tensor, inverse_N: ms.Tensor, out: ms.Tensor, dout: ms.Tensor
    ) -> tuple[ms.Tensor, ...]:
        num_rows, num_results = x_NC.shape[0], index_M.size
        is_taken_N = _equal(_gather(_reshape(index_M, (-1,)), inverse_N, 0), _count_up(num_rows))
        # Rows that are not taken find a row of zeros behind the others.
        places_N = _select(is_taken_N, inverse_N, _repeat(num_results, num_rows))
        row = x_NC.shape[1:]
        dout_MC = _concat_rows((_reshape(dout, (num_results, *row)), _zeros((1, *row), dout.dtype)))
        return _gather(dout_MC, places_N, 0), ops.zeros_like(index_M), ops.zeros_like(inverse_N)


def inverse_of(index_M: ms.Tensor, is_real_M: ms.Tensor, num_rows: int) -> ms.Tensor:
    """(N,) int32 for `GatherOnce`: where the rows stand that the real entries of `index_M` take; else 0."""
    num_results = index_M.shape[0]
    places_M = _select(is_real_M, index_M, _repeat(num_rows, num_results))
    inverse = _scatter(_repeat(0, num_rows + 1), _reshape(places_M, (num_results, 1)), _count_up(num_results))
    return inverse[:num_rows]


@constexpr
def _count_up(length: int) -> ms.Tensor:
    return ms.Tensor(np.arange(length, dtype=np.int32))


@constexpr
def _repeat(value: int, length: int) -> ms.Tensor:
    return ms.Tensor(np.full(length, value, np.int32))
