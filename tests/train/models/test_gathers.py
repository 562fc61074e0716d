"""The backward of a gather that takes no row twice, against MindSpore's own."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import ops

from train.models.gathers import GatherOnce, inverse_of

NUM_ROWS, CHANNELS = 7, 3
INDEX = np.array([4, 0, 6, 2, 0, 0], np.int32)  # rows 1, 3 and 5 are not taken; the last two entries are padding
IS_REAL = np.array([True, True, True, True, False, False])


def test_the_gradient_is_that_of_a_gather_where_padding_has_none() -> None:
    random = np.random.default_rng(0)
    x = ms.Tensor(random.standard_normal((NUM_ROWS, CHANNELS)).astype(np.float32))
    dout = random.standard_normal((len(INDEX), CHANNELS)).astype(np.float32)
    dout[~IS_REAL] = 0
    index, weight = ms.Tensor(INDEX), ms.Tensor(dout)
    gather = GatherOnce()

    def ours(x: ms.Tensor) -> ms.Tensor:
        return (gather(x, index, inverse_of(index, ms.Tensor(IS_REAL), NUM_ROWS)) * weight).sum()

    def theirs(x: ms.Tensor) -> ms.Tensor:
        return (ops.gather(x, index, 0) * weight).sum()

    results = []
    for function in (ours, theirs):
        value, gradient = ms.jit(ms.value_and_grad(function))(x)
        results.append((value.asnumpy(), gradient.asnumpy()))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert not results[0][1][[1, 3, 5]].any() and results[0][1][[0, 2, 4, 6]].all()


def test_rows_of_padding_do_not_hide_the_real_ones() -> None:
    inverse = inverse_of(ms.Tensor(INDEX), ms.Tensor(IS_REAL), NUM_ROWS).asnumpy()
    assert [int(inverse[row]) for row in (4, 0, 6, 2)] == [0, 1, 2, 3]
