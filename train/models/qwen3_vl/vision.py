"""The vision tower: uint8 patches -> visual embeddings, and one more set of them for each DeepStack merger.

Arithmetic: transformers 4.57.1, `Qwen3VLVisionModel`, whose parameter names are kept.
Suffixes: those of `train.models.qwen_vl.tower`, and V merged cells, M channels of the language model, R rows of the
table of learned positions.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import nn, ops

from shards import ModelConstants
from shards.architecture.qwen3_vl import VisionConfig
from train.models.attention import sequence_attention
from train.models.layers import LayerNorm, Linear
from train.models.precision import Precision
from train.models.qwen_vl.tower import NORM_EPS, PatchAngles, PatchEmbed, TowerOrder, VisionAttention, VisionBlock
from train.models.sharing import gathering, zeros_weight

NUM_CORNERS = 4


class LearnedPositions(nn.Cell):
    """Rows of a table, mixed: each patch takes its four nearest, by weights that `shards.families.qwen3_vl` gives."""

    def __init__(self, num_rows: int, channels: int) -> None:
        super().__init__()
        self.weight = zeros_weight(num_rows, channels)
        self.whole = gathering(self.weight, ms.float32)
        self.channels = channels

    def construct(self, position_index: ms.Tensor, position_weight: ms.Tensor) -> ms.Tensor:
        """(P, 4) int32 and (P, 4) float32 to (P, E) float32."""
        table_RE = self.weight if self.whole is None else self.whole(self.weight)
        corners: tuple[ms.Tensor, ...] = ()
        for corner in range(NUM_CORNERS):
            # Tiled: a binary operator that broadcasts keeps two index arrays (README.md).
            share_PE = ops.tile(position_weight[:, corner : corner + 1], (1, self.channels))
            corners += (ops.gather(table_RE, position_index[:, corner], 0) * share_PE,)
        return (corners[0] + corners[1]) + (corners[2] + corners[3])


class TanhGeluMLP(nn.Cell):
    """linear_fc2(gelu(linear_fc1(x))), GELU by its approximation with tanh."""

    def __init__(self, channels: int, inner_channels: int) -> None:
        super().__init__()
        self.linear_fc1 = Linear(channels, inner_channels, bias=True)
        self.linear_fc2 = Linear(inner_channels, channels, bias=True)
        self.gelu = nn.GELU(approximate=True)

    def construct(self, x_NC: ms.Tensor) -> ms.Tensor:
        return self.linear_fc2(self.gelu(self.linear_fc1(x_NC)))


class PatchMerger(nn.Cell):
    """Every `merge_unit` patches in a row become one embedding of the language model.

    The norm is over each patch, or over all of them together where `joined`: so in the mergers of DeepStack.
    """

    def __init__(self, config: VisionConfig, *, joined: bool) -> None:
        super().__init__()
        self.merged_channels = config.merged_size
        self.normed_channels = config.merged_size if joined else config.hidden_size
        self.norm = LayerNorm(self.normed_channels, NORM_EPS)
        self.linear_fc1 = Linear(config.merged_size, config.merged_size, bias=True)
        self.gelu = nn.GELU(approximate=False)
        self.linear_fc2 = Linear(config.merged_size, config.out_hidden_size, bias=True)

    def construct(self, x_PE: ms.Tensor) -> ms.Tensor:
        normed = self.norm(ops.reshape(x_PE, (-1, self.normed_channels)))
        return self.linear_fc2(self.gelu(self.linear_fc1(ops.reshape(normed, (-1, self.merged_channels)))))


class VisionTower(nn.Cell):
    def __init__(self, config: VisionConfig, constants: ModelConstants, precision: Precision) -> None:
        super().__init__()
        self.branching = config.deepstack_visual_indexes
        self.compute = precision.compute
        self.patch_embed = PatchEmbed(config, constants, precision, bias=True)
        self.pos_embed = LearnedPositions(config.num_position_embeddings, config.hidden_size)
        self.blocks = nn.CellList([_block(config, precision.compute) for _ in range(config.depth)])
        self.merger = PatchMerger(config, joined=False)
        self.deepstack_merger_list = nn.CellList([PatchMerger(config, joined=True) for _ in self.branching])
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
        position_index: ms.Tensor,
        position_weight: ms.Tensor,
    ) -> tuple[ms.Tensor, ...]:
        """Map the fields of a `Batch` to visual embeddings (V, M): those of the text, then those of its layers."""
        x_PE = self.order(self.patch_embed(image_patches, video_patches), patch_index)
        x_PE = x_PE + ops.cast(self.pos_embed(position_index, position_weight), self.compute)
        angles_PF = self.angles(patch_positions)
        branches: tuple[ms.Tensor, ...] = ()
        for index, block in enumerate(self.blocks):
            x_PE = block(x_PE, angles_PF, patch_keys, patch_ends)
            if index in self.branching:
                branches += (self.deepstack_merger_list[len(branches)](x_PE),)
        return (self.merger(x_PE), *branches)


def _block(config: VisionConfig, compute: ms.Type) -> VisionBlock:
    attend = sequence_attention(config.num_heads, config.head_dim, compute, causal=False)
    return VisionBlock(
        LayerNorm(config.hidden_size, NORM_EPS),
        LayerNorm(config.hidden_size, NORM_EPS),
        VisionAttention(config, attend),
        TanhGeluMLP(config.hidden_size, config.intermediate_size),
    )
