"""Floating-point operations that a model needs for a pack, for model FLOPs utilisation.

Counted is what the model needs for the tokens and patches that are there: matrix products and attention scores, two
operations a multiply-add, forward once and backward twice that. Padding, masked scores, recomputation, norms and
activations don't count, so that a step which avoids work does not look slower. The head is counted for supervised
tokens alone: no other logits are needed. (The convention is that of PaLM, arXiv 2204.02311, appendix B, except that
causal and windowed attention count only the pairs that are seen.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shards.architecture.qwen_vl import ModelConfig, VisionConfig
from shards.batch import Batch, Int32
from train.models.qwen_vl.sizes import TowerShapes, layer_shapes, matrix_values

FORWARD_AND_BACKWARD = 3


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What of a batch is real. A pair is a query and a key that it sees."""

    tokens: int
    token_pairs: int  # in one decoder layer
    label_tokens: int
    patches: int
    patch_pairs: int  # in all blocks of the vision tower


def count_real(
    batch: Batch, *, num_tokens: int, num_label_tokens: int, merge_unit: int, patch_pairs: Callable[[Batch, int], int]
) -> Counts:
    """Patches are counted by their visual tokens, `merge_unit` for each; `patch_pairs` is told how many there are."""
    num_patches = int((batch.embedding_index >= len(batch.input_ids)).sum()) * merge_unit
    return Counts(
        tokens=num_tokens,
        token_pairs=pairs_of(batch.token_keys[:num_tokens]),
        label_tokens=num_label_tokens,
        patches=num_patches,
        patch_pairs=patch_pairs(batch, num_patches),
    )


def training_flops(config: ModelConfig[Any], tower: TowerShapes, counts: Counts) -> int:
    """Forward and backward, with all parameters trained."""
    products = _language_products(config, counts) + _vision_products(config, tower, counts)
    return FORWARD_AND_BACKWARD * 2 * products


def _language_products(config: ModelConfig[Any], counts: Counts) -> int:
    """Multiply-adds of the language model and its head."""
    scores_and_sums = 2 * config.query_size  # a pair: all heads, the query with the key and the share with the value
    layer = counts.tokens * matrix_values(layer_shapes(config)) + counts.token_pairs * scores_and_sums
    return config.num_hidden_layers * layer + counts.label_tokens * config.hidden_size * config.vocab_size


def _vision_products(config: ModelConfig[Any], tower: TowerShapes, counts: Counts) -> int:
    """Multiply-adds of the vision tower and its mergers."""
    vision = config.vision
    patch = matrix_values(tower.patches) + vision.depth * matrix_values(tower.block)
    cells = counts.patches // vision.merge_unit
    return counts.patches * patch + counts.patch_pairs * 2 * vision.hidden_size + cells * matrix_values(tower.cells)


def frame_pairs(batch: Batch, num_patches: int) -> int:
    """In a block whose patches see those of their frame."""
    return pairs_of(batch.patch_keys[:num_patches])


def all_frame_pairs(vision: VisionConfig, batch: Batch, num_patches: int) -> int:
    """`Counts.patch_pairs` of a tower all of whose blocks do so."""
    return vision.depth * frame_pairs(batch, num_patches)


def pairs_of(keys: Int32) -> int:
    """Sum of last - first over ranges (N, 2)."""
    return int((keys[:, 1] - keys[:, 0]).sum())
