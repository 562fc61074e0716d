"""A tiny Qwen2-VL: full attention in every layer of the vision tower, and the language model of Qwen2.5-VL."""

from __future__ import annotations

from typing import Any

import demo_qwen2_5_vl
from demo_qwen2_5_vl import Shapes, language_shapes, linear
from demo_sizes import ModelSize

NAME = "Qwen2-VL"


def model_config(size: ModelSize, ids: dict[str, int]) -> dict[str, Any]:
    """config.json, flat, as published with Qwen2-VL."""
    vision = {
        "depth": size.vision_depth,
        "embed_dim": size.vision_hidden_size,
        "mlp_ratio": size.vision_intermediate_size // size.vision_hidden_size,
        "num_heads": size.vision_num_heads,
        "in_chans": 3,
        "hidden_size": size.hidden_size,
        "patch_size": size.patch_size,
        "spatial_merge_size": size.merge_size,
        "spatial_patch_size": size.patch_size,
        "temporal_patch_size": size.temporal_patch_size,
        "model_type": "qwen2_vl",
    }
    named = {"architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl", "vision_config": vision}
    return demo_qwen2_5_vl.model_config(size, ids) | named


def processors(size: ModelSize) -> dict[str, dict[str, Any]]:
    """File -> what it says."""
    [(name, images)] = demo_qwen2_5_vl.processors(size).items()
    return {name: images | {"processor_class": "Qwen2VLProcessor"}}


def weight_shapes(size: ModelSize) -> Shapes:
    """Every weight's name and shape, as on disk in the published checkpoints (no `lm_head`: it is tied)."""
    yield from language_shapes(size)
    yield "visual.patch_embed.proj.weight", size.patch_shape
    for block in range(size.vision_depth):
        yield from _vision_block_shapes(f"visual.blocks.{block}", size)
    yield from norm("visual.merger.ln_q", size.vision_hidden_size)
    yield from linear("visual.merger.mlp.0", size.merged_size, size.merged_size, bias=True)
    yield from linear("visual.merger.mlp.2", size.merged_size, size.hidden_size, bias=True)


def _vision_block_shapes(prefix: str, size: ModelSize) -> Shapes:
    hidden, inner = size.vision_hidden_size, size.vision_intermediate_size
    yield from norm(f"{prefix}.norm1", hidden)
    yield from linear(f"{prefix}.attn.qkv", hidden, 3 * hidden, bias=True)
    yield from linear(f"{prefix}.attn.proj", hidden, hidden, bias=True)
    yield from norm(f"{prefix}.norm2", hidden)
    yield from linear(f"{prefix}.mlp.fc1", hidden, inner, bias=True)
    yield from linear(f"{prefix}.mlp.fc2", inner, hidden, bias=True)


def norm(name: str, size: int) -> Shapes:
    """Of a LayerNorm."""
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)
