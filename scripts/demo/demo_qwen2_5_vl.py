"""A tiny Qwen2.5-VL: windowed and full attention, flat config.json, names of weights as published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from demo_sizes import ModelSize

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
NAME = "Qwen2.5-VL"
Shapes = Iterator[tuple[str, tuple[int, ...]]]


def model_config(size: ModelSize, ids: dict[str, int]) -> dict[str, Any]:
    """config.json, flat, as published with Qwen2.5-VL; `ids` are the token ids of the tokenizer."""
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "attention_dropout": 0.0,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "vision_token_id": ids["<|vision_pad|>"],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "hidden_act": "silu",
        "hidden_size": size.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": size.intermediate_size,
        "max_position_embeddings": 32768,
        "max_window_layers": size.num_layers,
        "model_type": "qwen2_5_vl",
        "num_attention_heads": size.num_heads,
        "num_hidden_layers": size.num_layers,
        "num_key_value_heads": size.num_key_value_heads,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": size.mrope_section},
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "use_sliding_window": False,
        "vision_config": {
            "depth": size.vision_depth,
            "hidden_act": "silu",
            "hidden_size": size.vision_hidden_size,
            "intermediate_size": size.vision_intermediate_size,
            "num_heads": size.vision_num_heads,
            "in_chans": 3,
            "out_hidden_size": size.hidden_size,
            "patch_size": size.patch_size,
            "spatial_merge_size": size.merge_size,
            "spatial_patch_size": size.patch_size,
            "window_size": 4 * size.patch_size * size.merge_size,
            "fullatt_block_indexes": list(size.full_attention_blocks),
            "tokens_per_second": 2,
            "temporal_patch_size": size.temporal_patch_size,
            "model_type": "qwen2_5_vl",
        },
        "vocab_size": size.vocab_size,
    }


def processors(size: ModelSize) -> dict[str, dict[str, Any]]:
    """File -> what it says."""
    images = {
        "min_pixels": 3136,
        "max_pixels": 12845056,
        "patch_size": size.patch_size,
        "temporal_patch_size": size.temporal_patch_size,
        "merge_size": size.merge_size,
        "image_mean": list(IMAGE_MEAN),
        "image_std": list(IMAGE_STD),
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
    }
    return {"preprocessor_config.json": images}


def weight_shapes(size: ModelSize) -> Shapes:
    """Every weight's name and shape, as on disk in the published checkpoints (no `lm_head`: it is tied)."""
    yield from language_shapes(size)
    yield "visual.patch_embed.proj.weight", size.patch_shape
    for block in range(size.vision_depth):
        yield from _vision_block_shapes(f"visual.blocks.{block}", size)
    yield "visual.merger.ln_q.weight", (size.vision_hidden_size,)
    yield from linear("visual.merger.mlp.0", size.merged_size, size.merged_size, bias=True)
    yield from linear("visual.merger.mlp.2", size.merged_size, size.hidden_size, bias=True)


def language_shapes(size: ModelSize) -> Shapes:
    """Of the language model, which Qwen2-VL has too."""
    yield "model.embed_tokens.weight", (size.vocab_size, size.hidden_size)
    for layer in range(size.num_layers):
        yield from _decoder_layer_shapes(f"model.layers.{layer}", size)
    yield "model.norm.weight", (size.hidden_size,)


def _decoder_layer_shapes(prefix: str, size: ModelSize) -> Shapes:
    hidden, key_value = size.hidden_size, size.key_value_size
    yield f"{prefix}.input_layernorm.weight", (hidden,)
    yield from linear(f"{prefix}.self_attn.q_proj", hidden, hidden, bias=True)
    yield from linear(f"{prefix}.self_attn.k_proj", hidden, key_value, bias=True)
    yield from linear(f"{prefix}.self_attn.v_proj", hidden, key_value, bias=True)
    yield from linear(f"{prefix}.self_attn.o_proj", hidden, hidden, bias=False)
    yield f"{prefix}.post_attention_layernorm.weight", (hidden,)
    yield from linear(f"{prefix}.mlp.gate_proj", hidden, size.intermediate_size, bias=False)
    yield from linear(f"{prefix}.mlp.up_proj", hidden, size.intermediate_size, bias=False)
    yield from linear(f"{prefix}.mlp.down_proj", size.intermediate_size, hidden, bias=False)


def _vision_block_shapes(prefix: str, size: ModelSize) -> Shapes:
    hidden, inner = size.vision_hidden_size, size.vision_intermediate_size
    yield f"{prefix}.norm1.weight", (hidden,)
    yield from linear(f"{prefix}.attn.qkv", hidden, 3 * hidden, bias=True)
    yield from linear(f"{prefix}.attn.proj", hidden, hidden, bias=True)
    yield f"{prefix}.norm2.weight", (hidden,)
    yield from linear(f"{prefix}.mlp.gate_proj", hidden, inner, bias=True)
    yield from linear(f"{prefix}.mlp.up_proj", hidden, inner, bias=True)
    yield from linear(f"{prefix}.mlp.down_proj", inner, hidden, bias=True)


def linear(name: str, inputs: int, outputs: int, *, bias: bool) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    if bias:
        yield f"{name}.bias", (outputs,)
