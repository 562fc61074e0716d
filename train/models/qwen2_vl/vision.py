"""The vision tower: uint8 patches -> visual embeddings. Every patch sees all those of its frame.

Arithmetic: transformers 4.57.1, `Qwen2VisionTransformerPretrainedModel`, whose parameter names are kept.
Suffixes: those of `train.models.qwen_vl.tower`, and V merged cells, M channels of the language model.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from shards import ModelConstants
from shards.architecture.qwen2_vl import VisionConfig
from train.models.attention import sequence_attention
from train.models.layers import LayerNorm, Linear
from train.models.precision import Precision
from train.models.qwen_vl.tower import (
    NORM_EPS,
    PatchAngles,
    PatchEmbed,
    PatchMerger,
    TowerOrder,
    VisionAttention,
    VisionBlock,
)


class QuickGeluMLP(nn.Cell):
    """fc2(y * sigmoid(1.702 * y)), y = fc1(x)."""

    def __init__(self, channels: int, inner_channels: int) -> None:
        super().__init__()
        self.fc1 = Linear(channels, inner_channels, bias=True)
        self.fc2 = Linear(inner_channels, channels, bias=True)

    def construct(self, x_NC: ms.Tensor) -> ms.Tensor:
        y_NC = self.fc1(x_NC)
        return self.fc2(y_NC * ops.sigmoid(y_NC * 1.702))


class VisionTower(nn.Cell):
    def __init__(self, config: VisionConfig, constants: ModelConstants, precision: Precision) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config, constants, precision)
        self.blocks = nn.CellList([_block(config, precision.compute) for _ in range(config.depth)])
        self.merger = PatchMerger(config, LayerNorm(config.hidden_size, NORM_EPS))
        self.order = TowerOrder()
        self.angles = PatchAngles(config.head_dim)

    def construct(
        self,
        image_patches: ms.Tensor,
        video_patches: ms.Tensor,
        patch_index: ms.Tensor,
        patch_positions: ms.Tensor,
        patch_keys: ms.Tensor,
        patch_ends: ms.Tensor,
    ) -> ms.Tensor:
        """Map the fields of a `Batch` to visual embeddings (V, M)."""
        x_PE = self.order(self.patch_embed(image_patches, video_patches), patch_index)
        angles_PF = self.angles(patch_positions)
        for block in self.blocks:
            x_PE = block(x_PE, angles_PF, patch_keys, patch_ends)
        return self.merger(x_PE)


def _block(config: VisionConfig, compute: ms.Type) -> VisionBlock:
    attend = sequence_attention(config.num_heads, config.head_dim, compute, causal=False)
    return VisionBlock(
        LayerNorm(config.hidden_size, NORM_EPS),
        LayerNorm(config.hidden_size, NORM_EPS),
        VisionAttention(config, attend),
        QuickGeluMLP(config.hidden_size, config.intermediate_size),
    )
