from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from train.models.layers import LayerNorm
from train.models.qwen_vl.tower import NORM_EPS


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_a_layer_norm_adds_epsilon_to_the_variance(scale: float) -> None:
    """Values so small that epsilon decides show where it stands, and which one it is."""
    random = np.random.RandomState(0)
    x, weight, bias = (random.standard_normal(shape).astype(np.float32) for shape in ((5, 8), 8, 8))
    x *= scale
    layer = LayerNorm(8, NORM_EPS)
    layer.weight.set_data(ms.Tensor(weight))
    layer.bias.set_data(ms.Tensor(bias))
    wide = x.astype(np.float64)
    spread = np.sqrt(wide.var(axis=1, keepdims=True) + 1e-6)
    expected = (wide - wide.mean(axis=1, keepdims=True)) / spread * weight + bias
    np.testing.assert_allclose(layer(ms.Tensor(x)).asnumpy(), expected, rtol=1e-5, atol=1e-5)


def test_a_layer_norm_answers_in_the_dtype_of_what_it_is_given() -> None:
    assert LayerNorm(8, NORM_EPS)(ms.ops.ones((2, 8), ms.float16)).dtype == ms.float16
