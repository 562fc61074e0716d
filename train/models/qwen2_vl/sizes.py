"""What is counted of a Qwen2-VL before there is one: the shapes of its vision tower."""

from __future__ import annotations

from shards.architecture.qwen2_vl import VisionConfig
from train.models.qwen_vl.sizes import TowerShapes, linear, norms


def tower_shapes(vision: VisionConfig) -> TowerShapes:
    width, inner, merged = vision.hidden_size, vision.intermediate_size, vision.merged_size
    return TowerShapes(
        patches={"patch_embed.proj.weight": (width, *vision.patch_shape)},
        block=norms(("norm1", "norm2"), width)
        | linear("attn.qkv", width, 3 * width)
        | linear("attn.proj", width, width)
        | linear("mlp.fc1", width, inner)
        | linear("mlp.fc2", inner, width),
        cells=norms(("merger.ln_q",), width)
        | linear("merger.mlp.0", merged, merged)
        | linear("merger.mlp.2", merged, vision.out_hidden_size),
    )
