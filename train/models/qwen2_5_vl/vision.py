"""The vision tower: uint8 patches -> visual embeddings, in window order.

Arithmetic: transformers 4.57.1, `Qwen2_5_VisionTransformerPretrainedModel`, whose parameter names are kept.
Suffixes: those of `train.models.qwen_vl.tower`, and V merged cells, M channels of the language model.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn

from shards import ModelConstants
from shards.architecture.qwen2_5_vl import VisionConfig
from train.models.attention import WindowAttention, sequence_attention
from train.models.layers import RMSNorm, SwiGLU
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


class VisionTower(nn.Cell):
    def __init__(self, config: VisionConfig, constants: ModelConstants, precision: Precision) -> None:
        super().__init__()
        self.full_blocks = config.fullatt_block_indexes
        self.patch_embed = PatchEmbed(config, constants, precision)
        self.blocks = nn.CellList(
            [_block(config, precision.compute, full=index in self.full_blocks) for index in range(config.depth)]
        )
        self.merger = PatchMerger(config, RMSNorm(config.hidden_size, NORM_EPS))
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
        *windows: ms.Tensor,
    ) -> ms.Tensor:
        """Map the fields of a `Batch` to visual embeddings (V, M), in window order."""
        x_PE = self.order(self.patch_embed(image_patches, video_patches), patch_index)
        angles_PF = self.angles(patch_positions)
        for index, block in enumerate(self.blocks):
            segments = (patch_keys, patch_ends) if index in self.full_blocks else windows
            x_PE = block(x_PE, angles_PF, *segments)
        return self.merger(x_PE)


def _block(config: VisionConfig, compute: ms.Type, *, full: bool) -> VisionBlock:
    """With attention within temporal slices where `full`, else within windows."""
    attend = (
        sequence_attention(config.num_heads, config.head_dim, compute, causal=False)
        if full
        else WindowAttention(config.head_dim)
    )
    return VisionBlock(
        RMSNorm(config.hidden_size, NORM_EPS),
        RMSNorm(config.hidden_size, NORM_EPS),
        VisionAttention(config, attend),
        SwiGLU(config.hidden_size, config.intermediate_size, bias=True),
    )
