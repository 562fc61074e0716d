"""Sizes of a model from its configuration alone: its weights by name and shape, in the order of the model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from shards.architecture.qwen_vl import ModelConfig
from train.models.qwen_vl.names import ModelNames
from train.models.sizes import ModelSizes, Shapes, Stack

_WEIGHT = ".weight"


@dataclass(frozen=True, kw_only=True)
class TowerShapes:
    """The weights of a family's vision tower, by what they meet; names without that of the tower."""

    patches: Shapes  # once in a product with every patch
    tables: Shapes = field(default_factory=dict)  # rows are looked up
    block: Shapes  # in a product with every patch, in each of the blocks; names without that of the block
    cells: Shapes  # once in a product with the patches of every visual embedding


def sizes_of(config: ModelConfig[Any], tower: TowerShapes, names: ModelNames) -> ModelSizes:
    shapes = weight_shapes(config, tower, names)
    looked_up = {names.embedding_weight, *(f"{names.visual}.{name}" for name in tower.tables)}
    vision = config.vision
    return ModelSizes(
        shapes=shapes,
        group_of={name: names.group_of(name) for name in shapes},
        linear=frozenset(
            name.removesuffix(_WEIGHT)
            for name, shape in shapes.items()
            if name.endswith(_WEIGHT) and len(shape) == 2 and name not in looked_up
        ),
        head=names.head,
        vocab_size=config.vocab_size,
        text=Stack(
            num_layers=config.num_hidden_layers,
            num_full_layers=config.num_hidden_layers,
            width=config.hidden_size,
            inner_width=config.intermediate_size,
        ),
        vision=Stack(
            num_layers=vision.depth,
            num_full_layers=vision.num_full_blocks,
            width=vision.hidden_size,
            inner_width=vision.intermediate_size,
        ),
    )


def weight_shapes(config: ModelConfig[Any], tower: TowerShapes, names: ModelNames) -> Shapes:
    shapes = prefixed(names.visual, tower.patches | tower.tables)
    for index in range(config.vision.depth):
        shapes |= prefixed(f"{names.visual}.blocks.{index}", tower.block)
    shapes |= prefixed(names.visual, tower.cells)
    shapes[names.embedding_weight] = (config.vocab_size, config.hidden_size)
    layer = layer_shapes(config)
    for index in range(config.num_hidden_layers):
        shapes |= prefixed(f"{names.language}.layers.{index}", layer)
    shapes[f"{names.language}.norm.weight"] = (config.hidden_size,)
    if not config.tie_word_embeddings:
        shapes |= linear(names.head, config.hidden_size, config.vocab_size, bias=False)
    return shapes


def num_matrix_values(config: ModelConfig[Any], tower: TowerShapes) -> int:
    """Values of all matrices, without those of a head that is tied: nearly all weights."""
    return (
        matrix_values(tower.patches | tower.tables | tower.cells)
        + config.vision.depth * matrix_values(tower.block)
        + config.num_hidden_layers * matrix_values(layer_shapes(config))
        + (1 if config.tie_word_embeddings else 2) * config.vocab_size * config.hidden_size
    )


def matrix_values(shapes: Shapes) -> int:
    """Of the weights that have more than one axis."""
    return sum(math.prod(shape) for shape in shapes.values() if len(shape) > 1)


def layer_shapes(config: ModelConfig[Any]) -> Shapes:
    """Of one decoder layer, without its name."""
    width, bias = config.hidden_size, config.generation.qkv_bias
    shapes: Shapes = {"input_layernorm.weight": (width,), "post_attention_layernorm.weight": (width,)}
    shapes |= linear("self_attn.q_proj", width, config.query_size, bias=bias)
    shapes |= linear("self_attn.k_proj", width, config.key_value_size, bias=bias)
    shapes |= linear("self_attn.v_proj", width, config.key_value_size, bias=bias)
    shapes |= linear("self_attn.o_proj", config.query_size, width, bias=False)
    if config.generation.qk_norm:
        shapes |= {f"self_attn.{name}.weight": (config.head_dim,) for name in ("q_norm", "k_norm")}
    return shapes | gated("mlp", width, config.intermediate_size, bias=False)


def gated(name: str, width: int, inner: int, *, bias: bool) -> Shapes:
    """Of a `train.models.layers.SwiGLU`."""
    return (
        linear(f"{name}.gate_proj", width, inner, bias=bias)
        | linear(f"{name}.up_proj", width, inner, bias=bias)
        | linear(f"{name}.down_proj", inner, width, bias=bias)
    )


def linear(name: str, inputs: int, outputs: int, *, bias: bool = True) -> Shapes:
    weight: Shapes = {f"{name}.weight": (outputs, inputs)}
    return weight | {f"{name}.bias": (outputs,)} if bias else weight


def norms(names: Iterable[str], channels: int) -> Shapes:
    """Of a `train.models.layers.LayerNorm` for each of the names."""
    return {f"{name}.{kind}": (channels,) for name in names for kind in ("weight", "bias")}


def prefixed(name: str, shapes: Shapes) -> Shapes:
    return {f"{name}.{key}": shape for key, shape in shapes.items()}
