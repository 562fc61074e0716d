"""Pieces of vision towers: uint8 patches -> embeddings in the tower's order -> blocks -> visual embeddings.

Parameters are called as in transformers 4.57.1. Suffixes: those of `shards.batch`, and E channels of the tower, H
heads, D channels of a head, F rotary frequencies (D / 2), f half of them, X values of a patch.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.ops.primitive import constexpr

from shards import ModelConstants
from shards.architecture.qwen_vl import VisionConfig
from train.models.gathers import GatherOnce, inverse_of
from train.models.layers import Linear, rotary_frequencies, rotate, zeros_parameter
from train.models.precision import Precision
from train.models.sharing import gathering, zeros_weight

# Neither is in config.json: transformers 4.57.1 has them in its code, the same for all families (the norms of
# `...VisionBlock` and `...PatchMerger`, `...VisionRotaryEmbedding`).
NORM_EPS = 1e-6
ROTARY_THETA = 10000.0


class PatchProjection(nn.Cell):
    """`patch_embed.proj` of the vision tower: the convolution whose stride is its kernel, as a matrix product.

    An image patch is stored once and counts as two equal frames, so that it meets the sum of the weights of both.
    """

    def __init__(
        self, config: VisionConfig, constants: ModelConstants, precision: Precision, *, bias: bool = False
    ) -> None:
        super().__init__()
        self.compute = precision.compute
        frames, side = config.temporal_patch_size, config.patch_size
        self.channels = config.hidden_size
        self.weight = zeros_weight(config.hidden_size, *config.patch_shape)
        self.gather = gathering(self.weight, ms.float32)
        self.bias = zeros_parameter(config.hidden_size) if bias else None
        self.bias_add = ops.BiasAdd()
        self.image_mean, self.image_std = mean_and_std(constants, side * side)
        self.video_mean, self.video_std = mean_and_std(constants, frames * side * side)
        self.matmul = ops.MatMul(transpose_b=True)

    def construct(self, image_patches: ms.Tensor, video_patches: ms.Tensor) -> ms.Tensor:
        """Map uint8 patches of images (Pi, X) and of videos (Pv, frames * X) to embeddings (Pi + Pv, E)."""
        weight = self.weight if self.gather is None else self.gather(self.weight)
        image_weight_EX = ops.cast(ops.reshape(weight.sum(2), (self.channels, -1)), self.compute)
        video_weight_EX = ops.cast(ops.reshape(weight, (self.channels, -1)), self.compute)
        images = ops.cast(normalise(image_patches, self.image_mean, self.image_std), self.compute)
        videos = ops.cast(normalise(video_patches, self.video_mean, self.video_std), self.compute)
        embedded = ops.concat((self.matmul(images, image_weight_EX), self.matmul(videos, video_weight_EX)), 0)
        return embedded if self.bias is None else self.bias_add(embedded, ops.cast(self.bias, self.compute))


def normalise(patches: ms.Tensor, mean: ms.Tensor, std: ms.Tensor) -> ms.Tensor:
    """uint8 (N, X) to float32 (u8 / 255 - mean) / std, the bits that the reference image processor gives.

    A product with 1/255 in place of the division differs by up to 4.8e-7.
    """
    return (ops.div(ops.cast(patches, ms.float32), 255.0) - mean) / std


def mean_and_std(constants: ModelConstants, values_per_channel: int) -> tuple[ms.Tensor, ms.Tensor]:
    """Of each of a patch's values (X,), whose outermost order is the channel; float32."""
    mean = np.repeat(np.asarray(constants.image_mean, np.float32), values_per_channel)
    std = np.repeat(np.asarray(constants.image_std, np.float32), values_per_channel)
    return ms.Tensor(mean), ms.Tensor(std)


class PatchEmbed(nn.Cell):
    """Nothing but a level in the parameters' names."""

    def __init__(
        self, config: VisionConfig, constants: ModelConstants, precision: Precision, *, bias: bool = False
    ) -> None:
        super().__init__()
        self.proj = PatchProjection(config, constants, precision, bias=bias)

    def construct(self, image_patches: ms.Tensor, video_patches: ms.Tensor) -> ms.Tensor:
        return self.proj(image_patches, video_patches)


class TowerOrder(nn.Cell):
    """Embedded patches, images before videos, -> the sequence that the blocks see; padding at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.gather = GatherOnce()

    def construct(self, embedded: ms.Tensor, patch_index: ms.Tensor) -> ms.Tensor:
        """Padding takes row 0, which is real nowhere but at the start: it begins the first frame of an image."""
        is_real_P = ops.logical_or(patch_index > 0, _is_first(patch_index.shape[0]))
        return self.gather(embedded, patch_index, inverse_of(patch_index, is_real_P, embedded.shape[0]))


@constexpr
def _is_first(length: int) -> ms.Tensor:
    return ms.Tensor(np.arange(length) == 0)


class PatchAngles(nn.Cell):
    """(P, 2) rows and columns -> (P, F): half of a head's frequencies turn with the row, the others with the column."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.frequencies = ms.Tensor(rotary_frequencies(head_dim // 2, ROTARY_THETA))

    def construct(self, patch_positions: ms.Tensor) -> ms.Tensor:
        angles_P2f = ops.expand_dims(ops.cast(patch_positions, ms.float32), 2) * self.frequencies
        return ops.reshape(angles_P2f, (patch_positions.shape[0], -1))


class VisionAttention(nn.Cell):
    """Multi-head attention; `attend` maps queries, keys, values (P, H, D) and `segments` to (P, H, D)."""

    def __init__(self, config: VisionConfig, attend: nn.Cell) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.head_dim = config.head_dim
        self.qkv = Linear(config.hidden_size, 3 * config.hidden_size, bias=True)
        self.proj = Linear(config.hidden_size, config.hidden_size, bias=True)
        self.attend = attend

    def construct(self, x_PE: ms.Tensor, angles_PF: ms.Tensor, *segments: ms.Tensor) -> ms.Tensor:
        num_patches = x_PE.shape[0]
        heads = (num_patches, self.num_heads, self.head_dim)
        q_PE, k_PE, v_PE = ops.split(self.qkv(x_PE), x_PE.shape[1], 1)
        q_PHD = rotate(ops.reshape(q_PE, heads), angles_PF)
        k_PHD = rotate(ops.reshape(k_PE, heads), angles_PF)
        out_PHD = self.attend(q_PHD, k_PHD, ops.reshape(v_PE, heads), *segments)
        return self.proj(ops.reshape(out_PHD, (num_patches, self.num_heads * self.head_dim)))


class VisionBlock(nn.Cell):
    """Attention and MLP, each behind a norm and beside a residual."""

    def __init__(self, norm1: nn.Cell, norm2: nn.Cell, attn: nn.Cell, mlp: nn.Cell) -> None:
        super().__init__()
        self.norm1 = norm1
        self.norm2 = norm2
        self.attn = attn
        self.mlp = mlp

    def construct(self, x_PE: ms.Tensor, angles_PF: ms.Tensor, *segments: ms.Tensor) -> ms.Tensor:
        x_PE = x_PE + self.attn(self.norm1(x_PE), angles_PF, *segments)
        return x_PE + self.mlp(self.norm2(x_PE))


class PatchMerger(nn.Cell):
    """Every `merge_unit` patches in a row become one embedding of the language model, in Qwen2-VL and Qwen2.5-VL."""

    def __init__(self, config: VisionConfig, ln_q: nn.Cell) -> None:
        super().__init__()
        self.merged_channels = config.merged_size
        self.ln_q = ln_q
        self.mlp = nn.SequentialCell(
            Linear(config.merged_size, config.merged_size, bias=True),
            nn.GELU(approximate=False),
            Linear(config.merged_size, config.out_hidden_size, bias=True),
        )

    def construct(self, x_PE: ms.Tensor) -> ms.Tensor:
        return self.mlp(ops.reshape(self.ln_q(x_PE), (-1, self.merged_channels)))
