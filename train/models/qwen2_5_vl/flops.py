"""Floating-point operations that Qwen2.5-VL needs for a pack, for model FLOPs utilisation.

Counted is what the model needs for the tokens and patches that are there: matrix products and attention scores, two
operations a multiply-add, forward once and backward twice that. Padding, masked scores, recomputation, norms and
activations don't count, so that a step which avoids work does not look slower. The head is counted for supervised
tokens alone: no other logits are needed. (The convention is that of PaLM, arXiv 2204.02311, appendix B, except that
causal and windowed attention count only the pairs that are seen.)
"""

from __future__ import annotations

from dataclasses import dataclass

from shards import PaddedPack
from shards.batch import Batch, Int32
from train.models.qwen2_5_vl.config import COLOUR_CHANNELS, ModelConfig
from train.models.trained import Work

FORWARD_AND_BACKWARD = 3


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What of a batch is real. A pair is a query and a key that it sees, in one layer."""

    tokens: int
    token_pairs: int
    label_tokens: int
    patches: int
    slice_pairs: int  # of the vision tower's full attention
    window_pairs: int  # of its window attention


def work_of(pack: PaddedPack, config: ModelConfig) -> Work:
    counts = count_real(
        pack.batch,
        num_tokens=pack.num_tokens,
        num_label_tokens=pack.num_label_tokens,
        merge_unit=config.vision.merge_unit,
    )
    return Work(
        num_patches=counts.patches,
        num_patch_slots=len(pack.batch.patch_index),
        flops=training_flops(config, counts),
    )


def count_real(batch: Batch, *, num_tokens: int, num_label_tokens: int, merge_unit: int) -> Counts:
    """Patches are counted by their visual tokens, `merge_unit` for each."""
    num_patches = int((batch.embedding_index >= len(batch.input_ids)).sum()) * merge_unit
    windows = batch.tower.window_keys.reshape(-1, 2)[batch.tower.window_position[:num_patches]]
    return Counts(
        tokens=num_tokens,
        token_pairs=_pairs(batch.token_keys[:num_tokens]),
        label_tokens=num_label_tokens,
        patches=num_patches,
        slice_pairs=_pairs(batch.patch_keys[:num_patches]),
        window_pairs=_pairs(windows),
    )


def training_flops(config: ModelConfig, counts: Counts) -> int:
    """Forward and backward, with all parameters trained."""
    return FORWARD_AND_BACKWARD * 2 * (_language_products(config, counts) + _vision_products(config, counts))


def _language_products(config: ModelConfig, counts: Counts) -> int:
    """Multiply-adds of the language model and its head."""
    width, inner = config.hidden_size, config.intermediate_size
    key_value_width = config.num_key_value_heads * config.head_dim
    query_and_output = 2 * width * width
    keys_and_values = 2 * width * key_value_width
    mlp = 3 * width * inner
    scores_and_sums = 2 * width  # a pair: all heads of the query with the key, then the probability with the value
    layer = counts.tokens * (query_and_output + keys_and_values + mlp) + counts.token_pairs * scores_and_sums
    return config.num_hidden_layers * layer + counts.label_tokens * width * config.vocab_size


def _vision_products(config: ModelConfig, counts: Counts) -> int:
    """Multiply-adds of the vision tower and its merger."""
    vision = config.vision
    width, inner = vision.hidden_size, vision.intermediate_size
    num_full = len(set(vision.fullatt_block_indexes))
    embedding = COLOUR_CHANNELS * vision.temporal_patch_size * vision.patch_size**2 * width
    block = 4 * width * width + 3 * width * inner
    pairs = num_full * counts.slice_pairs + (vision.depth - num_full) * counts.window_pairs
    merged_width = width * vision.merge_unit
    merger = merged_width * merged_width + merged_width * vision.out_hidden_size
    cells = counts.patches // vision.merge_unit
    return counts.patches * (embedding + vision.depth * block) + pairs * 2 * width + cells * merger


def _pairs(keys: Int32) -> int:
    """Sum of last - first over ranges (N, 2)."""
    return int((keys[:, 1] - keys[:, 0]).sum())
