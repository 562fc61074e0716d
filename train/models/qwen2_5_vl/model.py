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
from train.models.cross_entropy import HeadLoss, head_loss
from train.models.gathers import GatherOnce, inverse_of
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
        self.model = LanguageModel(config, precision.compute)
        self.lm_head = None if config.tie_word_embeddings else Linear(config.hidden_size, config.vocab_size, bias=False)
        self.matmul = ops.MatMul(transpose_b=True)
        self.gather = GatherOnce()
        self.head_loss = HeadLoss()

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
        inverse_S = inverse_of(target_index, target_weight > 0, hidden_SC.shape[0])
        hidden_LC, head_VC = self._head_factors(self.gather(hidden_SC, target_index, inverse_S))
        return self.head_loss(hidden_LC, head_VC, target_ids, target_weight)

    def loss(
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
        """What `construct` gives, for graphs that take no gradient of it: `construct` makes those of the head."""
        hidden_SC = self._hidden_states(input_ids, position_ids, token_keys, token_ends, embedding_index, *patches)
        hidden_LC, head_VC = self._head_factors(ops.gather(hidden_SC, target_index, 0))
        return head_loss(hidden_LC, head_VC, target_ids, target_weight)

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
        # Every row is wanted at most once: a text embedding by its own token, a visual one by the token it stands for.
        inverse = inverse_of(embedding_index, embedding_index >= 0, rows.shape[0])
        return self.model(self.gather(rows, embedding_index, inverse), position_ids, token_keys, token_ends)

    def _head_factors(self, hidden_NC: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Hidden states (N, C) and weights (V, C) whose product are the logits.

        An adapter adds its rank to C: W x + B (A x) is the product of (W, B) with (x, A x).
        """
        if self.lm_head is None:
            return hidden_NC, self.model.embed_tokens.whole(hidden_NC.dtype)
        head_VC = self.lm_head.whole(hidden_NC.dtype)
        adapter = self.lm_head.adapter
        if adapter is None:
            return hidden_NC, head_VC
        outer_VR = ops.cast(adapter.lora_B, hidden_NC.dtype)
        return ops.concat((hidden_NC, adapter.inner(hidden_NC)), 1), ops.concat((head_VC, outer_VR), 1)

    def _head(self, hidden_NC: ms.Tensor) -> ms.Tensor:
        """float32: the softmax over the vocabulary is a reduction."""
        return ops.cast(self.matmul(*self._head_factors(hidden_NC)), ms.float32)
