"""Qwen2.5-VL: a `Batch` -> the sum of its cross entropy.

    model = build_model(Path("Qwen2.5-VL-3B-Instruct"))
    loss_sum = model(*(ms.Tensor(array) for array in batch))

The loss is a sum over supervised tokens: divide it, and the gradients, by their number in the whole global batch. Every
parameter is float32 and has its name in the Hugging Face checkpoint (`visual.*`, `model.*`, `lm_head.weight` unless
tied).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import mindspore as ms
from mindspore import nn, ops

from shards import ModelConstants, PaddedPack
from train.models.layers import Linear
from train.models.precision import FLOAT32, Precision
from train.models.qwen2_5_vl.config import ModelConfig
from train.models.qwen2_5_vl.flops import work_of
from train.models.qwen2_5_vl.language import LanguageModel
from train.models.qwen2_5_vl.names import NAMES, group_of, tied_weights
from train.models.qwen2_5_vl.vision import VisionTower
from train.models.trained import AdaptableLayer, Work
from train.weights.parameters import Weight, weight_of


class Qwen25VL(nn.Cell):
    """The whole model, as a `TrainedModel`. Its weights are zero until they are written."""

    names = NAMES

    def __init__(self, config: ModelConfig, constants: ModelConstants, precision: Precision = FLOAT32) -> None:
        super().__init__()
        self.config = config
        self.constants = constants
        self.compute = precision.compute
        self.visual = VisionTower(config.vision, constants, precision)
        self.model = LanguageModel(config)
        self.lm_head = None if config.tie_word_embeddings else Linear(config.hidden_size, config.vocab_size, bias=False)
        self.matmul = ops.MatMul(transpose_b=True)

    def loss_and_gradients(self) -> Callable[..., tuple[ms.Tensor, tuple[ms.Tensor, ...]]]:
        return ms.value_and_grad(self, None, ms.ParameterTuple(self.trainable_params()))

    def group_of(self, parameter_name: str) -> str:
        return group_of(parameter_name)

    def recompute_layers(self) -> None:
        for layer in (*self.visual.blocks, *self.model.layers):
            layer.recompute()

    def adaptable_layers(self) -> dict[str, AdaptableLayer | None]:
        return {name: cell if isinstance(cell, Linear) else None for name, cell in self.cells_and_names() if name}

    def weights(self) -> Iterator[Weight]:
        return map(weight_of, self.get_parameters())

    @property
    def tied_weights(self) -> Mapping[str, str]:
        return tied_weights(self.config)

    def work_of(self, pack: PaddedPack) -> Work:
        return work_of(pack, self.config)

    def construct(
        self,
        input_ids: ms.Tensor,
        position_ids: ms.Tensor,
        token_keys: ms.Tensor,
        token_ends: ms.Tensor,
        embedding_index: ms.Tensor,
        target_index: ms.Tensor,
        target_ids: ms.Tensor,
        target_weight: ms.Tensor,
        *patches: ms.Tensor,
    ) -> ms.Tensor:
        """Map the fields of a `shards.batch.Batch` to the sum of its cross entropy, float32 ()."""
        hidden_SC = self._hidden_states(input_ids, position_ids, token_keys, token_ends, embedding_index, *patches)
        logits_LV = self._head(ops.gather(hidden_SC, target_index, 0))
        log_probabilities_LV = ops.log_softmax(logits_LV, -1)
        of_targets_L1 = ops.gather_elements(log_probabilities_LV, 1, ops.expand_dims(target_ids, 1))
        return -(ops.reshape(of_targets_L1, target_weight.shape) * target_weight).sum()

    def logits(
        self,
        input_ids: ms.Tensor,
        position_ids: ms.Tensor,
        token_keys: ms.Tensor,
        token_ends: ms.Tensor,
        embedding_index: ms.Tensor,
        _target_index: ms.Tensor,
        _target_ids: ms.Tensor,
        _target_weight: ms.Tensor,
        *patches: ms.Tensor,
    ) -> ms.Tensor:
        """Map the same arguments to the logits of every token, float32 (S, vocab_size)."""
        return self._head(
            self._hidden_states(input_ids, position_ids, token_keys, token_ends, embedding_index, *patches)
        )

    def _hidden_states(
        self,
        input_ids: ms.Tensor,
        position_ids: ms.Tensor,
        token_keys: ms.Tensor,
        token_ends: ms.Tensor,
        embedding_index: ms.Tensor,
        *patches: ms.Tensor,
    ) -> ms.Tensor:
        embeddings_SC = ops.cast(self.model.embed_tokens(input_ids), self.compute)
        rows = ops.concat((embeddings_SC, self.visual(*patches)), 0)
        return self.model(ops.gather(rows, embedding_index, 0), position_ids, token_keys, token_ends)

    def _head(self, hidden_NC: ms.Tensor) -> ms.Tensor:
        """float32: the softmax over the vocabulary is a reduction."""
        if self.lm_head is None:
            logits_NV = self.matmul(hidden_NC, ops.cast(self.model.embed_tokens.weight, hidden_NC.dtype))
        else:
            logits_NV = self.lm_head(hidden_NC)
        return ops.cast(logits_NV, ms.float32)
