"""What is counted of a Qwen3-VL before there is one: the shapes of its vision tower."""

from __future__ import annotations

from shards.architecture.qwen3_vl import VisionConfig
from train.models.qwen_vl.sizes import TowerShapes, linear, norms
from train.models.sizes import Shapes


def tower_shapes(vision: VisionConfig) -> TowerShapes:
    width, inner = vision.hidden_size, vision.intermediate_size
    mergers = _merger_shapes(vision, "merger", vision.hidden_size)
    for index in range(len(vision.deepstack_visual_indexes)):
        mergers |= _merger_shapes(vision, f"deepstack_merger_list.{index}", vision.merged_size)
    return TowerShapes(
        patches={"patch_embed.proj.weight": (width, *vision.patch_shape), "patch_embed.proj.bias": (width,)},
        tables={"pos_embed.weight": (vision.num_position_embeddings, width)},
        block=norms(("norm1", "norm2"), width)
        | linear("attn.qkv", width, 3 * width)
        | linear("attn.proj", width, width)
        | linear("mlp.linear_fc1", width, inner)
        | linear("mlp.linear_fc2", inner, width),
        cells=mergers,
    )


def _merger_shapes(vision: VisionConfig, name: str, normed_size: int) -> Shapes:
    merged = vision.merged_size
    return (
        norms((f"{name}.norm",), normed_size)
        | linear(f"{name}.linear_fc1", merged, merged)
        | linear(f"{name}.linear_fc2", merged, vision.out_hidden_size)
    )
