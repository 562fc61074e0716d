"""Qwen3-VL: its parts are called as in transformers, and visual embeddings come to the first decoder layers, too."""

from __future__ import annotations

from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.ops.primitive import constexpr

from shards import ModelConstants
from shards.architecture.qwen3_vl import ModelConfig, VisionConfig
from train.models.gathers import GatherOnce, inverse_of
from train.models.precision import Precision
from train.models.qwen3_vl.vision import VisionTower
from train.models.qwen_vl.family import QwenFamily
from train.models.qwen_vl.language import LanguageModel, TokenEmbedding
from train.models.qwen_vl.model import PlaceEmbeddings, QwenVL, new_head


class TowerAndLanguage(nn.Cell):
    """`model`: everything but the head."""

    def __init__(self, config: ModelConfig, constants: ModelConstants, precision: Precision) -> None:
        super().__init__()
        self.compute = precision.compute
        self.visual = VisionTower(config.vision, constants, precision)
        self.language_model = LanguageModel(config, precision.compute)
        self.place_embeddings = PlaceEmbeddings()
        self.place_branches = PlaceBranches()

    def construct(
        self,
        input_ids: ms.Tensor,
        position_ids: ms.Tensor,
        token_keys: ms.Tensor,
        token_ends: ms.Tensor,
        embedding_index: ms.Tensor,
        *patches: ms.Tensor,
    ) -> ms.Tensor:
        text_SC = ops.cast(self.language_model.embed_tokens(input_ids), self.compute)
        visual = self.visual(*patches)
        x_SC = self.place_embeddings(text_SC, visual[0], embedding_index)
        added = self.place_branches(embedding_index, *visual[1:])
        return self.language_model(x_SC, position_ids, token_keys, token_ends, *added)


class PlaceBranches(nn.Cell):
    """Visual embeddings (V, C) of each branch -> what is added at the visual tokens (S, C); 0 at all others."""

    def __init__(self) -> None:
        super().__init__()
        self.gather = GatherOnce()

    def construct(self, embedding_index: ms.Tensor, *branches: ms.Tensor) -> tuple[ms.Tensor, ...]:
        added: tuple[ms.Tensor, ...] = ()
        if not branches:
            return added
        num_tokens, num_visual = embedding_index.shape[0], branches[0].shape[0]
        is_visual_S = embedding_index >= num_tokens
        # Other tokens take a row of zeros behind the branch's; its gradient is nobody's.
        index_S = ops.select(is_visual_S, embedding_index - num_tokens, _repeat(num_visual, num_tokens))
        inverse = inverse_of(index_S, is_visual_S, num_visual + 1)
        for branch_VC in branches:
            rows = ops.concat((branch_VC, ops.zeros_like(branch_VC[:1])), 0)
            added += (self.gather(rows, index_S, inverse),)
        return added


@constexpr
def _repeat(value: int, length: int) -> ms.Tensor:
    return ms.Tensor(np.full(length, value, np.int32))


class Qwen3VL(QwenVL):
    def __init__(
        self,
        family: QwenFamily[VisionConfig],
        config: ModelConfig,
        constants: ModelConstants,
        precision: Precision,
    ) -> None:
        super().__init__(family, config, precision)
        self.model = TowerAndLanguage(config, constants, precision)
        self.lm_head = new_head(config)

    def embedding(self) -> TokenEmbedding:
        return self.model.language_model.embed_tokens

    def layers(self) -> Sequence[nn.Cell]:
        return (*self.model.visual.blocks, *self.model.language_model.layers)

    def hidden_states(
        self,
        input_ids: ms.Tensor,
        position_ids: ms.Tensor,
        token_keys: ms.Tensor,
        token_ends: ms.Tensor,
        embedding_index: ms.Tensor,
        *patches: ms.Tensor,
    ) -> ms.Tensor:
        return self.model(input_ids, position_ids, token_keys, token_ends, embedding_index, *patches)
