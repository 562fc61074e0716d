"""How weights are called, and which group of parameters each belongs to.

| group | parameters |
| --- | --- |
| llm | the language model, and its head |
| mlp | the mergers, which end the vision tower or branch off |
| vision | the rest of the vision tower |

A tied head has no parameter of its own: it is the embedding, of the group llm.

Two namings exist on disk: flat, as published up to Qwen2.5-VL (`visual.*`, `model.layers.*`), and nested, as
transformers 4.57.1 calls them in memory, and as Qwen3-VL was published (`model.visual.*`, `model.language_model.*`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shards.architecture.qwen_vl import ModelConfig
from train.weights.names import WeightNames


@dataclass(frozen=True, kw_only=True)
class ModelNames:
    """Those of a family's parameters. They are also the names that are written."""

    visual: str  # module of the vision tower
    language: str  # of the language model
    mergers: tuple[str, ...]  # of the mergers, in the vision tower
    weights: WeightNames

    @property
    def head(self) -> str:
        return self.weights.head

    @property
    def embedding_weight(self) -> str:
        return f"{self.language}.embed_tokens.weight"

    @property
    def head_weight(self) -> str:
        return f"{self.head}.weight"

    def tied_weights(self, config: ModelConfig[Any]) -> Mapping[str, str]:
        """See `train.models.trained.TrainedModel.tied_weights`."""
        return {self.head_weight: self.embedding_weight} if config.tie_word_embeddings else {}

    def group_of(self, parameter_name: str) -> str:
        """Raises ValueError for a parameter that no group claims: the first prefix that fits decides."""
        for prefix, group in (
            *((f"{self.visual}.{merger}.", "mlp") for merger in self.mergers),
            (f"{self.visual}.", "vision"),
            (f"{self.language}.", "llm"),
            (f"{self.head}.", "llm"),
        ):
            if parameter_name.startswith(prefix):
                return group
        raise ValueError(f"parameter {parameter_name} belongs to none of the groups of parameters")


FLAT_NAMES = ModelNames(
    visual="visual",
    language="model",
    mergers=("merger",),
    weights=WeightNames(
        nested_prefixes=(("model.visual.", "visual."), ("model.language_model.", "model.")), head="lm_head"
    ),
)
