"""The vision tower: uint8 patches -> visual embeddings, in window order.

Arithmetic: transformers 4.57.1, `Qwen2_5_VisionTransformerPretrainedModel`, whose parameter names are kept.
Suffixes: those of `shards.batch`, and E channels of the tower, H heads, D channels of a head, F rotary frequencies
(D / 2), f half of them, V merged cells, M channels of the language model, X values of a patch.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from shards import ModelConstants
from train.models.attention import WindowAttention, sequence_attention
from train.models.gathers import GatherOnce, inverse_of, places_that_agree
from train.models.layers import Linear, RMSNorm, SwiGLU, rotary_frequencies, rotate
from train.models.precision import Precision
from train.models.qwen2_5_vl.config import COLOUR_CHANNELS, VisionConfig
from train.models.sharing import gathering, zeros_weight

# Neither is in config.json: transformers 4.57.1 has them in its code (Qwen2_5_VLVisionBlock, Qwen2_5_VLPatchMerger,
# Qwen2_5_VisionRotaryEmbedding).
NORM_EPS = 1e-6
ROTARY_THETA = 10000.0


class PatchProjection(nn.Cell):
    """`visual.patch_embed.proj`: the convolution whose stride is its kernel, as a matrix product.

    An image patch is stored once and counts as two equal frames, so that it meets the sum of the weights of both.
    """

    def __init__(self, config: VisionConfig, constants: ModelConstants, precision: Precision) -> None:
        super().__init__()
        self.compute = precision.compute
        frames, side = config.temporal_patch_size, config.patch_size
        self.channels = config.hidden_size
        self.weight = zeros_weight(config.hidden_size, COLOUR_CHANNELS, frames, side, side)
        self.gather = gathering(self.weight, ms.float32)
        self.image_mean, self.image_std = mean_and_std(constants, side * side)
        self.video_mean, self.video_std = mean_and_std(constants, frames * side * side)
        self.matmul = ops.MatMul(transpose_b=True)

    def construct(self, image_patches: ms.Tensor, video_patches: ms.Tensor) -> ms.Tensor:
        """Map uint8 patches (Pi, 588) and (Pv, 1176) to embeddings (Pi + Pv, E)."""
        weight = self.weight if self.gather is None else self.gather(self.weight)
        image_weight_EX = ops.cast(ops.reshape(weight.sum(2), (self.channels, -1)), self.compute)
        video_weight_EX = ops.cast(ops.reshape(weight, (self.channels, -1)), self.compute)
        images = ops.cast(normalise(image_patches, self.image_mean, self.image_std), self.compute)
        videos = ops.cast(normalise(video_patches, self.video_mean, self.video_std), self.compute)
        return ops.concat((self.matmul(images, image_weight_EX), self.matmul(videos, video_weight_EX)), 0)


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

    def __init__(self, config: VisionConfig, constants: ModelConstants, precision: Precision) -> None:
        super().__init__()
        self.proj = PatchProjection(config, constants, precision)

    def construct(self, image_patches: ms.Tensor, video_patches: ms.Tensor) -> ms.Tensor:
        return self.proj(image_patches, video_patches)


class VisionAttention(nn.Cell):
    """Multi-head attention within windows, or within temporal slices where `full`."""

    def __init__(self, config: VisionConfig, compute: ms.Type, *, full: bool) -> None:
        super().__init__()
        self.full = full
        self.num_heads = config.num_heads
        self.head_dim = config.head_dim
        self.qkv = Linear(config.hidden_size, 3 * config.hidden_size, bias=True)
        self.proj = Linear(config.hidden_size, config.hidden_size, bias=True)
        if full:
            self.attend = sequence_attention(config.num_heads, config.head_dim, compute, causal=False)
        else:
            self.attend = WindowAttention(config.head_dim)

    def construct(
        self,
        x_PE: ms.Tensor,
        angles_PF: ms.Tensor,
        patch_keys: ms.Tensor,
        patch_ends: ms.Tensor,
        window_index: ms.Tensor,
        window_keys: ms.Tensor,
        window_position: ms.Tensor,
    ) -> ms.Tensor:
        num_patches = x_PE.shape[0]
        qkv_P3HD = ops.reshape(self.qkv(x_PE), (num_patches, 3, self.num_heads, self.head_dim))
        q_PHD = rotate(qkv_P3HD[:, 0], angles_PF)
        k_PHD = rotate(qkv_P3HD[:, 1], angles_PF)
        v_PHD = qkv_P3HD[:, 2]
        if self.full:
            out_PHD = self.attend(q_PHD, k_PHD, v_PHD, patch_keys, patch_ends)
        else:
            out_PHD = self.attend(q_PHD, k_PHD, v_PHD, window_index, window_keys, window_position)
        return self.proj(ops.reshape(out_PHD, (num_patches, self.num_heads * self.head_dim)))


class VisionBlock(nn.Cell):
    def __init__(self, config: VisionConfig, compute: ms.Type, *, full: bool) -> None:
        super().__init__()
        self.norm1 = RMSNorm(config.hidden_size, NORM_EPS)
        self.norm2 = RMSNorm(config.hidden_size, NORM_EPS)
        self.attn = VisionAttention(config, compute, full=full)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size, bias=True)

    def construct(self, x_PE: ms.Tensor, angles_PF: ms.Tensor, *segments: ms.Tensor) -> ms.Tensor:
        x_PE = x_PE + self.attn(self.norm1(x_PE), angles_PF, *segments)
        return x_PE + self.mlp(self.norm2(x_PE))


class PatchMerger(nn.Cell):
    """Every `merge_unit` patches in a row become one embedding of the language model."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.merged_channels = config.hidden_size * config.merge_unit
        self.ln_q = RMSNorm(config.hidden_size, NORM_EPS)
        self.mlp = nn.SequentialCell(
            Linear(self.merged_channels, self.merged_channels, bias=True),
            nn.GELU(approximate=False),
            Linear(self.merged_channels, config.out_hidden_size, bias=True),
        )

    def construct(self, x_PE: ms.Tensor) -> ms.Tensor:
        return self.mlp(ops.reshape(self.ln_q(x_PE), (-1, self.merged_channels)))


class VisionTower(nn.Cell):
    def __init__(self, config: VisionConfig, constants: ModelConstants, precision: Precision) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config, constants, precision)
        self.blocks = nn.CellList(
            [
                VisionBlock(config, precision.compute, full=index in config.fullatt_block_indexes)
                for index in range(config.depth)
            ]
        )
        self.merger = PatchMerger(config)
        self.gather = GatherOnce()
        # Half of a head's frequencies turn with the row, the other half with the column.
        self.frequencies = ms.Tensor(rotary_frequencies(config.head_dim // 2, ROTARY_THETA))

    def construct(
        self,
        image_patches: ms.Tensor,
        video_patches: ms.Tensor,
        patch_index: ms.Tensor,
        patch_positions: ms.Tensor,
        patch_keys: ms.Tensor,
        patch_ends: ms.Tensor,
        *windows: ms.Tensor,
    ) -> ms.Tensor:
        """Map the fields of a `Batch` to visual embeddings (V, M), in window order."""
        embedded = self.patch_embed(image_patches, video_patches)
        window_index, _, window_position = windows
        is_real_P = places_that_agree(window_index, window_position)
        x_PE = self.gather(embedded, patch_index, inverse_of(patch_index, is_real_P, embedded.shape[0]))
        angles_P2f = ops.expand_dims(ops.cast(patch_positions, ms.float32), 2) * self.frequencies
        angles_PF = ops.reshape(angles_P2f, (patch_positions.shape[0], -1))
        for block in self.blocks:
            x_PE = block(x_PE, angles_PF, patch_keys, patch_ends, *windows)
        return self.merger(x_PE)
