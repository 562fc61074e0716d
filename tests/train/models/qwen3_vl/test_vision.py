"""Learned positions: rows of a table, mixed, and their gradient."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import ops

from train.models.qwen3_vl.vision import LearnedPositions


def test_a_patch_takes_its_four_rows_by_their_weights_and_gives_them_back() -> None:
    random = np.random.RandomState(0)
    table = random.standard_normal((9, 6)).astype(np.float32)
    index = random.randint(0, 9, (7, 4)).astype(np.int32)
    index[3] = index[2]  # a row that many want, and one patch four times
    index[4] = 5
    weight = random.uniform(0, 1, (7, 4)).astype(np.float32)
    weight[-2:] = 0  # padding
    above = random.standard_normal((7, 6)).astype(np.float32)
    layer = LearnedPositions(9, 6)
    layer.weight.set_data(ms.Tensor(table))

    def weighed() -> ms.Tensor:
        return (layer(ms.Tensor(index), ms.Tensor(weight)) * ms.Tensor(above)).sum()

    np.testing.assert_allclose(
        layer(ms.Tensor(index), ms.Tensor(weight)).asnumpy(), np.einsum("pc,pce->pe", weight, table[index]), atol=1e-6
    )
    gradient = ops.grad(weighed, grad_position=None, weights=ms.ParameterTuple([layer.weight]))()[0].asnumpy()
    expected = np.zeros((9, 6))
    np.add.at(expected, index, weight[..., None] * above[:, None])
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
