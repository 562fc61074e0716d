"""How the weights of Qwen3-VL are called: nested on disk as well as in memory."""

from __future__ import annotations

from train.models.qwen_vl.names import ModelNames
from train.weights.names import WeightNames

MODEL_NAMES = ModelNames(
    visual="model.visual",
    language="model.language_model",
    mergers=("merger", "deepstack_merger_list"),
    weights=WeightNames(nested_prefixes=(), head="lm_head"),
)
