"""What a pack costs a model of Qwen's."""

from __future__ import annotations

from functools import partial
from typing import Any

from shards import PaddedPack
from shards.architecture.qwen_vl import ModelConfig
from train.models.qwen_vl.family import QwenFamily
from train.models.qwen_vl.flops import count_real, training_flops
from train.models.trained import Work


def work_of(family: QwenFamily[Any], config: ModelConfig[Any], pack: PaddedPack) -> Work:
    """See `TrainedModel.work_of`."""
    vision = config.vision
    counts = count_real(
        pack.batch,
        num_tokens=pack.num_tokens,
        num_label_tokens=pack.num_label_tokens,
        merge_unit=vision.merge_unit,
        patch_pairs=partial(family.patch_pairs, vision),
    )
    return Work(
        num_patches=counts.patches,
        num_patch_slots=len(pack.batch.patch_index),
        flops=training_flops(config, family.tower_shapes(vision), counts),
    )
