"""Qwen2.5-VL: most layers of its vision tower attend within windows. Importing this loads no MindSpore.

sizes.py       VisionConfig -> shapes of the tower's weights; pairs of patches in its attention
vision.py      uint8 patches -> visual embeddings

The rest is `train.models.qwen_vl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shards.architecture.qwen2_5_vl import READER, ModelConfig
from train.models.qwen2_5_vl.sizes import patch_pairs, tower_shapes
from train.models.qwen_vl.family import QwenFamily
from train.models.qwen_vl.names import FLAT_NAMES

if TYPE_CHECKING:
    from shards import ModelConstants
    from train.models.precision import Precision
    from train.models.trained import TrainedModel

FAMILY = QwenFamily(reader=READER, names=FLAT_NAMES, tower_shapes=tower_shapes, patch_pairs=patch_pairs)

NAMES = FAMILY.names.weights
read_config = FAMILY.read_config
num_matrix_values = FAMILY.num_matrix_values
sizes = FAMILY.sizes
tied_weights = FAMILY.tied_weights


def build(config: ModelConfig, constants: ModelConstants, precision: Precision) -> TrainedModel:
    from train.models.qwen2_5_vl.vision import VisionTower  # loads MindSpore
    from train.models.qwen_vl.model import FlatQwenVL

    return FlatQwenVL(FAMILY, config, VisionTower(config.vision, constants, precision), precision)
