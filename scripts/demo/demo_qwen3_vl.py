"""A tiny Qwen3-VL: learned positions, DeepStack, norms on queries and keys, interleaved rope; nested config.json."""

from __future__ import annotations

from typing import Any

from demo_qwen2_5_vl import Shapes, linear
from demo_qwen2_vl import norm
from demo_sizes import ModelSize

NAME = "Qwen3-VL"


def model_config(size: ModelSize, ids: dict[str, int]) -> dict[str, Any]:
    """config.json as published with Qwen3-VL."""
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "image_token_id": ids["<|image_pad|>"],
        "model_type": "qwen3_vl",
        "text_config": {
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": ids["<|endoftext|>"],
            "dtype": "float32",
            "eos_token_id": ids["<|im_end|>"],
            "head_dim": size.head_size,
            "hidden_act": "silu",
            "hidden_size": size.hidden_size,
            "initializer_range": 0.02,
            "intermediate_size": size.intermediate_size,
            "max_position_embeddings": 262144,
            "model_type": "qwen3_vl_text",
            "num_attention_heads": size.num_heads,
            "num_hidden_layers": size.num_layers,
            "num_key_value_heads": size.num_key_value_heads,
            "rms_norm_eps": 1e-06,
            "rope_scaling": {
                "mrope_interleaved": True,
                "mrope_section": _rope_section(size.head_size // 2),
                "rope_type": "default",
            },
            "rope_theta": 5000000,
            "tie_word_embeddings": True,
            "use_cache": True,
            "vocab_size": size.vocab_size,
        },
        "tie_word_embeddings": True,
        "video_token_id": ids["<|video_pad|>"],
        "vision_config": {
            "deepstack_visual_indexes": list(size.deepstack_blocks),
            "depth": size.vision_depth,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": size.vision_hidden_size,
            "in_channels": 3,
            "initializer_range": 0.02,
            "intermediate_size": size.vision_intermediate_size,
            "model_type": "qwen3_vl",
            "num_heads": size.vision_num_heads,
            "num_position_embeddings": size.num_positions,
            "out_hidden_size": size.hidden_size,
            "patch_size": size.patch_size,
            "spatial_merge_size": size.merge_size,
            "temporal_patch_size": size.temporal_patch_size,
        },
        "vision_end_token_id": ids["<|vision_end|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
    }


def processors(size: ModelSize) -> dict[str, dict[str, Any]]:
    """File -> what it says. `size` has areas in pixels, whatever the names say."""
    common = {
        "patch_size": size.patch_size,
        "temporal_patch_size": size.temporal_patch_size,
        "merge_size": size.merge_size,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "processor_class": "Qwen3VLProcessor",
    }
    images = {
        "size": {"longest_edge": 16777216, "shortest_edge": 65536},
        "image_processor_type": "Qwen2VLImageProcessorFast",
    }
    videos = {
        "size": {"longest_edge": 25165824, "shortest_edge": 4096},
        "video_processor_type": "Qwen3VLVideoProcessor",
    }
    return {"preprocessor_config.json": common | images, "video_preprocessor_config.json": common | videos}


def weight_shapes(size: ModelSize) -> Shapes:
    """Every weight's name and shape, as on disk in the published checkpoints (no `lm_head`: it is tied)."""
    yield "model.language_model.embed_tokens.weight", (size.vocab_size, size.hidden_size)
    for layer in range(size.num_layers):
        yield from _decoder_layer_shapes(f"model.language_model.layers.{layer}", size)
    yield "model.language_model.norm.weight", (size.hidden_size,)
    yield "model.visual.patch_embed.proj.weight", size.patch_shape
    yield "model.visual.patch_embed.proj.bias", (size.vision_hidden_size,)
    yield "model.visual.pos_embed.weight", (size.num_positions, size.vision_hidden_size)
    for block in range(size.vision_depth):
        yield from _vision_block_shapes(f"model.visual.blocks.{block}", size)
    yield from _merger_shapes("model.visual.merger", size, size.vision_hidden_size)
    for number in range(len(size.deepstack_blocks)):
        yield from _merger_shapes(f"model.visual.deepstack_merger_list.{number}", size, size.merged_size)


def _rope_section(num_pairs: int) -> list[int]:
    """Rotary pairs for time, height and width, 6 : 5 : 5 as published."""
    spatial = num_pairs * 5 // 16
    return [num_pairs - 2 * spatial, spatial, spatial]


def _decoder_layer_shapes(prefix: str, size: ModelSize) -> Shapes:
    hidden, heads = size.hidden_size, size.num_heads * size.head_size
    yield f"{prefix}.input_layernorm.weight", (hidden,)
    yield from linear(f"{prefix}.self_attn.q_proj", hidden, heads, bias=False)
    yield from linear(f"{prefix}.self_attn.k_proj", hidden, size.key_value_size, bias=False)
    yield from linear(f"{prefix}.self_attn.v_proj", hidden, size.key_value_size, bias=False)
    yield from linear(f"{prefix}.self_attn.o_proj", heads, hidden, bias=False)
    yield f"{prefix}.self_attn.q_norm.weight", (size.head_size,)
    yield f"{prefix}.self_attn.k_norm.weight", (size.head_size,)
    yield f"{prefix}.post_attention_layernorm.weight", (hidden,)
    yield from linear(f"{prefix}.mlp.gate_proj", hidden, size.intermediate_size, bias=False)
    yield from linear(f"{prefix}.mlp.up_proj", hidden, size.intermediate_size, bias=False)
    yield from linear(f"{prefix}.mlp.down_proj", size.intermediate_size, hidden, bias=False)


def _vision_block_shapes(prefix: str, size: ModelSize) -> Shapes:
    hidden, inner = size.vision_hidden_size, size.vision_intermediate_size
    yield from norm(f"{prefix}.norm1", hidden)
    yield from linear(f"{prefix}.attn.qkv", hidden, 3 * hidden, bias=True)
    yield from linear(f"{prefix}.attn.proj", hidden, hidden, bias=True)
    yield from norm(f"{prefix}.norm2", hidden)
    yield from linear(f"{prefix}.mlp.linear_fc1", hidden, inner, bias=True)
    yield from linear(f"{prefix}.mlp.linear_fc2", inner, hidden, bias=True)


def _merger_shapes(prefix: str, size: ModelSize, normed: int) -> Shapes:
    """`normed`: a patch, or, of DeepStack, all the patches of a visual token."""
    yield from norm(f"{prefix}.norm", normed)
    yield from linear(f"{prefix}.linear_fc1", size.merged_size, size.merged_size, bias=True)
    yield from linear(f"{prefix}.linear_fc2", size.merged_size, size.hidden_size, bias=True)
