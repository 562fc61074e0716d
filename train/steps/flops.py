"""Floating-point operations of a training step, and the peaks of devices: model FLOPs utilisation.

Counted is what the model needs for the tokens and patches that are there: matrix products and attention scores, two
operations a multiply-add, forward once and backward twice that. Padding, masked scores, recomputation, norms and
activations don't count, so that a step which avoids work does not look slower. The head is counted for supervised
tokens alone: no other logits are needed. (The convention is that of PaLM, arXiv 2204.02311, appendix B, except that
causal and windowed attention count only the pairs that are seen.)
"""

from __future__ import annotations

from dataclasses import dataclass

from shards.batch import Batch, Int32
from train.models.qwen2_5_vl.config import COLOUR_CHANNELS, ModelConfig

FORWARD_AND_BACKWARD = 3

# Of one device, float16 or bfloat16, operations a second; by the start of the name that MindSpore gives it, the longer
# names first. 910: Huawei's announcement (256 TFLOPS, August 2019). 910B and 910_93 (a die): 24 cores of 4,096
# multiply-adds a cycle at 1.8 GHz, the number that verl's flops_counter.py uses; variants with fewer cores have less.
_PEAK_FLOPS = (("Ascend910B", 354e12), ("Ascend910_93", 354e12), ("Ascend910", 256e12))


def peak_flops(device_name: str) -> float | None:
    """None where it is not known."""
    return next((peak for start, peak in _PEAK_FLOPS if device_name.startswith(start)), None)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What of a batch is real. A pair is a query and a key that it sees, in one layer."""

    tokens: int
    token_pairs: int
    label_tokens: int
    patches: int
    slice_pairs: int  # of the vision tower's full attention
    window_pairs: int  # of its window attention


def count_work(batch: Batch, *, num_tokens: int, num_label_tokens: int, merge_unit: int) -> Work:
    """Patches are counted by their visual tokens, `merge_unit` for each."""
    num_patches = int((batch.embedding_index >= len(batch.input_ids)).sum()) * merge_unit
    windows = batch.tower.window_keys.reshape(-1, 2)[batch.tower.window_position[:num_patches]]
    return Work(
        tokens=num_tokens,
        token_pairs=_pairs(batch.token_keys[:num_tokens]),
        label_tokens=num_label_tokens,
        patches=num_patches,
        slice_pairs=_pairs(batch.patch_keys[:num_patches]),
        window_pairs=_pairs(windows),
    )


def training_flops(config: ModelConfig, work: Work) -> int:
    """Forward and backward, with all parameters trained."""
    return FORWARD_AND_BACKWARD * 2 * (_language_products(config, work) + _vision_products(config, work))


def _language_products(config: ModelConfig, work: Work) -> int:
    """Multiply-adds of the language model and its head."""
    width, inner = config.hidden_size, config.intermediate_size
    key_value_width = config.num_key_value_heads * config.head_dim
    query_and_output = 2 * width * width
    keys_and_values = 2 * width * key_value_width
    mlp = 3 * width * inner
    scores_and_sums = 2 * width  # a pair: all heads of the query with the key, then the probability with the value
    layer = work.tokens * (query_and_output + keys_and_values + mlp) + work.token_pairs * scores_and_sums
    return config.num_hidden_layers * layer + work.label_tokens * width * config.vocab_size


def _vision_products(config: ModelConfig, work: Work) -> int:
    """Multiply-adds of the vision tower and its merger."""
    vision = config.vision
    width, inner = vision.hidden_size, vision.intermediate_size
    num_full = len(set(vision.fullatt_block_indexes))
    embedding = COLOUR_CHANNELS * vision.temporal_patch_size * vision.patch_size**2 * width
    block = 4 * width * width + 3 * width * inner
    pairs = num_full * work.slice_pairs + (vision.depth - num_full) * work.window_pairs
    merged_width = width * vision.merge_unit
    merger = merged_width * merged_width + merged_width * vision.out_hidden_size
    cells = work.patches // vision.merge_unit
    return work.patches * (embedding + vision.depth * block) + pairs * 2 * width + cells * merger


def _pairs(keys: Int32) -> int:
    """Sum of last - first over ranges (N, 2)."""
    return int((keys[:, 1] - keys[:, 0]).sum())
