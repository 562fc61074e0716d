"""Qwen2.5-VL: windows in the vision tower, absolute time in the positions. The contract is in `train/models/`.

config.py      config.json -> ModelConfig
vision.py      uint8 patches -> visual embeddings
language.py    embeddings -> hidden states
model.py       a batch -> the sum of its cross entropy
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shards import ModelConstants
from train.models.qwen2_5_vl.config import ModelConfig, read_model_config

if TYPE_CHECKING:
    from train.models.precision import Precision
    from train.models.qwen2_5_vl.model import Qwen25VL


def read_config(folder: Path) -> ModelConfig:
    """Raises ConfigError naming file and key."""
    return read_model_config(folder / "config.json")


def build(config: ModelConfig, constants: ModelConstants, precision: Precision) -> Qwen25VL:
    """The model without its weights, which are zero."""
    from train.models.qwen2_5_vl.model import Qwen25VL

    return Qwen25VL(config, constants, precision)
