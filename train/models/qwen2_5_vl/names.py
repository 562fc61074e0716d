"""How the weights of Qwen2.5-VL are called, and which group of parameters each belongs to.

On disk two namings exist: flat, as published (`visual.*`, `model.layers.*`), and nested, as transformers 4.57.1 calls
them in memory (`model.visual.*`, `model.language_model.*`).

| group | parameters |
| --- | --- |
| llm | `model.*`, `lm_head.*` |
| mlp | `visual.merger.*` |
| vision | the rest of `visual.*` |

A tied head has no parameter of its own: it is the embedding, of the group llm.
"""

from __future__ import annotations

from collections.abc import Mapping

from train.models.qwen2_5_vl.config import ModelConfig
from train.weights.names import WeightNames

NAMES = WeightNames(
    nested_prefixes=(("model.visual.", "visual."), ("model.language_model.", "model.")),
    head="lm_head",
)
EMBEDDING_WEIGHT = "model.embed_tokens.weight"
HEAD_WEIGHT = f"{NAMES.head}.weight"
_GROUP_OF_PREFIX = (("visual.merger.", "mlp"), ("visual.", "vision"), ("model.", "llm"), (f"{NAMES.head}.", "llm"))


def tied_weights(config: ModelConfig) -> Mapping[str, str]:
    return {HEAD_WEIGHT: EMBEDDING_WEIGHT} if config.tie_word_embeddings else {}


def group_of(parameter_name: str) -> str:
    """Raises ValueError for a parameter that no group claims: the first prefix that fits decides."""
    for prefix, group in _GROUP_OF_PREFIX:
        if parameter_name.startswith(prefix):
            return group
    raise ValueError(f"parameter {parameter_name} belongs to none of the groups of parameters")
