"""The layers that the vision tower and the language model share.

Parameters are named as in the Hugging Face checkpoints, and start as zeros: weights always come from a model folder.
They are float32, and every layer answers in the dtype of what it is given (`train.models.precision`).
Suffixes: N tokens or patches, C channels, H heads, D channels of a head, F rotary frequencies (D / 2).
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import nn, ops

from train.models.sharing import gathered_product, gathering, zeros_weight


def zeros_parameter(*shape: int) -> ms.Parameter:
    """Whole in every process; for weights with one axis, which are few values."""
    return ms.Parameter(ms.Tensor(np.zeros(shape, np.float32)))


class Linear(nn.Cell):
    """x_NC @ weight.T + bias, and what its adapter adds where it has one (`train.adapters.lora`)."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__()
        self.weight_shape = (out_channels, in_channels)
        self.weight = zeros_weight(*self.weight_shape)
        self.gather = gathering(self.weight)
        self.product = gathered_product(self.weight)
        self.bias = zeros_parameter(out_channels) if bias else None
        self.matmul = ops.MatMul(transpose_b=True)
        self.bias_add = ops.BiasAdd()
        self.adapter: nn.Cell | None = None

    def construct(self, x_NC: ms.Tensor) -> ms.Tensor:
        product = self.product
        y_NC = self.matmul(x_NC, self.whole(x_NC.dtype)) if product is None else product(x_NC, self.weight)
        if self.bias is not None:
            y_NC = self.bias_add(y_NC, ops.cast(self.bias, x_NC.dtype))
        return y_NC if self.adapter is None else y_NC + self.adapter(x_NC)

    def whole(self, compute: ms.Type) -> ms.Tensor:
        """The weight (outputs, inputs) for products in `compute`."""
        return ops.cast(self.weight, compute) if self.gather is None else self.gather(self.weight)


class RMSNorm(nn.Cell):
    """x / sqrt(mean(x**2) + eps) * weight, over channels, in float32. (`ops.rms_norm` has no CPU kernel.)"""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = zeros_parameter(channels)
        self.eps = eps
        self.mean = ops.ReduceMean(keep_dims=True)

    def construct(self, x_NC: ms.Tensor) -> ms.Tensor:
        wide_NC = ops.cast(x_NC, ms.float32)
        normed_NC = wide_NC * ops.rsqrt(self.mean(wide_NC * wide_NC, -1) + self.eps) * self.weight
        return ops.cast(normed_NC, x_NC.dtype)


class LayerNorm(nn.Cell):
    """(x - mean(x)) / sqrt(variance(x) + eps) * weight + bias, over channels, in float32."""

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.weight = zeros_parameter(channels)
        self.bias = zeros_parameter(channels)
        self.norm = ops.LayerNorm(begin_norm_axis=-1, begin_params_axis=-1, epsilon=eps)

    def construct(self, x_NC: ms.Tensor) -> ms.Tensor:
        normed_NC, _, _ = self.norm(ops.cast(x_NC, ms.float32), self.weight, self.bias)
        return ops.cast(normed_NC, x_NC.dtype)


class SwiGLU(nn.Cell):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, channels: int, inner_channels: int, *, bias: bool) -> None:
        super().__init__()
        self.gate_proj = Linear(channels, inner_channels, bias=bias)
        self.up_proj = Linear(channels, inner_channels, bias=bias)
        self.down_proj = Linear(inner_channels, channels, bias=bias)

    def construct(self, x_NC: ms.Tensor) -> ms.Tensor:
        return self.down_proj(ops.silu(self.gate_proj(x_NC)) * self.up_proj(x_NC))


def rotary_frequencies(num_channels: int, theta: float) -> npt.NDArray[np.float32]:
    """(num_channels / 2,) radians per position: theta ** (-2i / num_channels), in float32 as PyTorch computes it."""
    exponents = np.arange(0, num_channels, 2, dtype=np.float32) / np.float32(num_channels)
    return (np.float32(1) / np.float32(theta) ** exponents).astype(np.float32)


def rotate(x_NHD: ms.Tensor, angles_NF: ms.Tensor) -> ms.Tensor:
    """Turn channels (f, f + F) of every head by angle f, in float32."""
    cos_N1F = ops.expand_dims(ops.cos(angles_NF), 1)
    sin_N1F = ops.expand_dims(ops.sin(angles_NF), 1)
    first_NHF, second_NHF = ops.split(ops.cast(x_NHD, ms.float32), angles_NF.shape[1], -1)
    turned_NHD = ops.concat(
        (first_NHF * cos_N1F - second_NHF * sin_N1F, second_NHF * cos_N1F + first_NHF * sin_N1F), -1
    )
    return ops.cast(turned_NHD, x_NHD.dtype)
