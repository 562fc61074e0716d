"""Sizes of a Qwen2.5-VL from its configuration alone: its weights by name and shape, in the order of the model."""

from __future__ import annotations

from train.models.qwen2_5_vl.config import COLOUR_CHANNELS, ModelConfig
from train.models.qwen2_5_vl.names import EMBEDDING_WEIGHT, NAMES, group_of
from train.models.sizes import ModelSizes, Shapes, Stack

_WEIGHT = ".weight"


def sizes(config: ModelConfig) -> ModelSizes:
    shapes = weight_shapes(config)
    vision = config.vision
    return ModelSizes(
        shapes=shapes,
        group_of={name: group_of(name) for name in shapes},
        linear=frozenset(
            name.removesuffix(_WEIGHT)
            for name, shape in shapes.items()
            if name.endswith(_WEIGHT) and len(shape) == 2 and name != EMBEDDING_WEIGHT
        ),
        head=NAMES.head,
        vocab_size=config.vocab_size,
        text=Stack(num_layers=config.num_hidden_layers, width=config.hidden_size, inner_width=config.intermediate_size),
        vision=Stack(num_layers=vision.depth, width=vision.hidden_size, inner_width=vision.intermediate_size),
    )


def weight_shapes(config: ModelConfig) -> Shapes:
    shapes = _vision_shapes(config)
    width, inner = config.hidden_size, config.intermediate_size
    key_value_width = config.num_key_value_heads * config.head_dim
    shapes[EMBEDDING_WEIGHT] = (config.vocab_size, width)
    for index in range(config.num_hidden_layers):
        layer = f"model.layers.{index}"
        shapes[f"{layer}.input_layernorm.weight"] = (width,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (width,)
        _linear(shapes, f"{layer}.self_attn.q_proj", width, width, bias=True)
        _linear(shapes, f"{layer}.self_attn.k_proj", width, key_value_width, bias=True)
        _linear(shapes, f"{layer}.self_attn.v_proj", width, key_value_width, bias=True)
        _linear(shapes, f"{layer}.self_attn.o_proj", width, width, bias=False)
        _gated(shapes, f"{layer}.mlp", width, inner, bias=False)
    shapes["model.norm.weight"] = (width,)
    if not config.tie_word_embeddings:
        _linear(shapes, "lm_head", width, config.vocab_size, bias=False)
    return shapes


def _vision_shapes(config: ModelConfig) -> Shapes:
    vision = config.vision
    width = vision.hidden_size
    side = vision.patch_size
    shapes: Shapes = {}
    shapes["visual.patch_embed.proj.weight"] = (width, COLOUR_CHANNELS, vision.temporal_patch_size, side, side)
    for index in range(vision.depth):
        block = f"visual.blocks.{index}"
        shapes[f"{block}.norm1.weight"] = (width,)
        shapes[f"{block}.norm2.weight"] = (width,)
        _linear(shapes, f"{block}.attn.qkv", width, 3 * width, bias=True)
        _linear(shapes, f"{block}.attn.proj", width, width, bias=True)
        _gated(shapes, f"{block}.mlp", width, vision.intermediate_size, bias=True)
    merged = width * vision.merge_unit
    shapes["visual.merger.ln_q.weight"] = (width,)
    _linear(shapes, "visual.merger.mlp.0", merged, merged, bias=True)
    _linear(shapes, "visual.merger.mlp.2", merged, vision.out_hidden_size, bias=True)
    return shapes


def _gated(shapes: Shapes, name: str, width: int, inner: int, *, bias: bool) -> None:
    _linear(shapes, f"{name}.gate_proj", width, inner, bias=bias)
    _linear(shapes, f"{name}.up_proj", width, inner, bias=bias)
    _linear(shapes, f"{name}.down_proj", inner, width, bias=bias)


def _linear(shapes: Shapes, name: str, inputs: int, outputs: int, *, bias: bool) -> None:
    shapes[f"{name}.weight"] = (outputs, inputs)
    if bias:
        shapes[f"{name}.bias"] = (outputs,)
