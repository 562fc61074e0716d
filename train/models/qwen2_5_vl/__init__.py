"""Qwen2.5-VL. Importing this loads no MindSpore.

config.py      config.json, flat or nested -> ModelConfig
names.py       how weights are called, and which group each belongs to
sizes.py       ModelConfig -> every weight by name and shape, and what else `train.preflight` counts with
vision.py      uint8 patches -> visual embeddings
language.py    embeddings -> hidden states
model.py       Batch -> sum of the cross entropy, as a `train.models.trained.TrainedModel`
flops.py       what a pack costs
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shards.files.names import CONFIG_NAME
from train.models.qwen2_5_vl.config import ModelConfig, read_model_config
from train.models.qwen2_5_vl.names import NAMES, tied_weights
from train.models.qwen2_5_vl.sizes import sizes

if TYPE_CHECKING:
    from shards import ModelConstants
    from train.models.precision import Precision
    from train.models.trained import TrainedModel

__all__ = ["NAMES", "build", "num_matrix_values", "read_config", "sizes", "tied_weights"]


def read_config(folder: Path) -> ModelConfig:
    return read_model_config(folder / CONFIG_NAME)


def num_matrix_values(config: ModelConfig) -> int:
    return config.num_matrix_values


def build(config: ModelConfig, constants: ModelConstants, precision: Precision) -> TrainedModel:
    from train.models.qwen2_5_vl.model import Qwen25VL  # loads MindSpore

    return Qwen25VL(config, constants, precision)
