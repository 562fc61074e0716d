"""What is counted of a Qwen2.5-VL before there is one: the shapes of its vision tower, and pairs of patches."""

from __future__ import annotations

from shards.architecture.qwen2_5_vl import VisionConfig
from shards.batch import Batch
from train.models.qwen_vl.flops import frame_pairs, pairs_of
from train.models.qwen_vl.sizes import TowerShapes, gated, linear
from train.models.sizes import Shapes


def tower_shapes(vision: VisionConfig) -> TowerShapes:
    width, merged = vision.hidden_size, vision.merged_size
    block: Shapes = {"norm1.weight": (width,), "norm2.weight": (width,)}
    block |= linear("attn.qkv", width, 3 * width) | linear("attn.proj", width, width)
    block |= gated("mlp", width, vision.intermediate_size, bias=True)
    merger: Shapes = {"merger.ln_q.weight": (width,)}
    merger |= linear("merger.mlp.0", merged, merged) | linear("merger.mlp.2", merged, vision.out_hidden_size)
    return TowerShapes(
        patches={"patch_embed.proj.weight": (width, *vision.patch_shape)},
        block=block,
        cells=merger,
    )


def patch_pairs(vision: VisionConfig, batch: Batch, num_patches: int) -> int:
    """See `train.models.qwen_vl.flops.Counts`."""
    num_full = len(set(vision.fullatt_block_indexes))
    windows = batch.tower.window_keys.reshape(-1, 2)[batch.tower.window_position[:num_patches]]
    return num_full * frame_pairs(batch, num_patches) + (vision.depth - num_full) * pairs_of(windows)
