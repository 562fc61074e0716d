"""Qwen3-VL, dense: learned positions, DeepStack, interleaved mrope. Importing this loads no MindSpore.

names.py       how weights are called on disk
sizes.py       VisionConfig -> shapes of the tower's weights
vision.py      uint8 patches -> visual embeddings
model.py       tower and language model -> hidden states

The rest is `train.models.qwen_vl`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shards.architecture.qwen3_vl import READER, ModelConfig
from train.models.qwen3_vl.names import MODEL_NAMES
from train.models.qwen3_vl.sizes import tower_shapes
from train.models.qwen_vl.family import QwenFamily
from train.models.qwen_vl.flops import all_frame_pairs

if TYPE_CHECKING:
    from shards import ModelConstants
    from train.models.precision import Precision
    from train.models.trained import TrainedModel

FAMILY = QwenFamily(reader=READER, names=MODEL_NAMES, tower_shapes=tower_shapes, patch_pairs=all_frame_pairs)

NAMES = FAMILY.names.weights
read_config = FAMILY.read_config
num_matrix_values = FAMILY.num_matrix_values
sizes = FAMILY.sizes
tied_weights = FAMILY.tied_weights


def build(config: ModelConfig, constants: ModelConstants, precision: Precision) -> TrainedModel:
    from train.models.qwen3_vl.model import Qwen3VL  # loads MindSpore

    return Qwen3VL(FAMILY, config, constants, precision)
