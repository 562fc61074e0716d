"""A `Batch` -> the sum of its cross entropy.

    model = build_model(Path("Qwen2.5-VL-3B-Instruct"))
    loss_sum = model(*(ms.Tensor(array) for array in batch))

The loss is a sum over supervised tokens: divide it, and the gradients, by their number in the whole global batch. Every
parameter is float32 and has its name in the Hugging Face checkpoints of its family: those of a `FlatQwenVL` are
`visual.*`, `model.*` and, unless tied, `lm_head.weight`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import mindspore as ms
from mindspore import nn, ops

from shards import PaddedPack
from shards.architecture.qwen_vl import ModelConfig
from train.models.cross_entropy import HeadLoss, head_losses
from train.models.gathers import GatherOnce, inverse_of
from train.models.layers import Linear
from train.models.precision import Precision
from train.models.qwen_vl.family import QwenFamily
from train.models.qwen_vl.language import LanguageModel, TokenEmbedding
from train.models.qwen_vl.work import work_of
from train.models.trained import AdaptableLayer, Work
from train.weights.parameters import Weight, weight_of


class QwenVL(nn.Cell):
    """A whole model, as a `TrainedModel`; what its parts are called is left to it. Weights are zero until written."""

    is_traced = True
    lm_head: Linear | None

    def __init__(self, family: QwenFamily[Any], config: ModelConfig[Any], precision: Precision) -> None:
        super().__init__()
        self.family = family
        self.config = config
        self.names = family.names.weights
        self.compute = precision.compute
        self.matmul = ops.MatMul(transpose_b=True)
        self.gather = GatherOnce()
        self.head_loss = HeadLoss()

    def embedding(self) -> TokenEmbedding:
        raise NotImplementedError

    def layers(self) -> Sequence[nn.Cell]:
        """Blocks of the tower, and of the language model."""
        raise NotImplementedError

    def hidden_states(
        self,
        input_ids: ms.Tensor,
        position_ids: ms.Tensor,
        token_keys: ms.Tensor,
        token_ends: ms.Tensor,
        embedding_index: ms.Tensor,
        *patches: ms.Tensor,
    ) -> ms.Tensor:
        """(S, C), before the head."""
        raise NotImplementedError

    def loss_and_gradients(self) -> Callable[..., tuple[ms.Tensor, tuple[ms.Tensor, ...]]]:
        head = self.embedding() if self.lm_head is None else self.lm_head
        has_adapter = self.lm_head is not None and self.lm_head.adapter is not None
        self.head_loss.trains_head = head.weight.requires_grad or has_adapter
        return ms.value_and_grad(self, None, ms.ParameterTuple(self.trainable_params()))

    def group_of(self, parameter_name: str) -> str:
        return self.family.names.group_of(parameter_name)

    def recompute_layers(self) -> None:
        for layer in self.layers():
            layer.recompute()

    def adaptable_layers(self) -> dict[str, AdaptableLayer | None]:
        return {name: cell if isinstance(cell, Linear) else None for name, cell in self.cells_and_names() if name}

    def weights(self) -> Iterator[Weight]:
        return map(weight_of, self.get_parameters())

    @property
    def tied_weights(self) -> Mapping[str, str]:
        return self.family.tied_weights(self.config)

    def work_of(self, pack: PaddedPack) -> Work:
        return work_of(self.family, self.config, pack)

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
        hidden_SC = self.hidden_states(input_ids, position_ids, token_keys, token_ends, embedding_index, *patches)
        inverse_S = inverse_of(target_index, target_weight > 0, hidden_SC.shape[0])
        hidden_LC, head_VC = self._head_factors(self.gather(hidden_SC, target_index, inverse_S))
        return self.head_loss(hidden_LC, head_VC, target_ids, target_weight)

    def losses(
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
        """What each supervised token adds to it, float32 (L,); for graphs that take no gradient."""
        hidden_SC = self.hidden_states(input_ids, position_ids, token_keys, token_ends, embedding_index, *patches)
        hidden_LC, head_VC = self._head_factors(ops.gather(hidden_SC, target_index, 0))
        return head_losses(hidden_LC, head_VC, target_ids, target_weight)

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
            self.hidden_states(input_ids, position_ids, token_keys, token_ends, embedding_index, *patches)
        )

    def _head_factors(self, hidden_NC: ms.Tensor) -> tuple[ms.Tensor, ms.Tensor]:
        """Hidden states (N, C) and weights (V, C) whose product are the logits.

        An adapter adds its rank to C: W x + B (A x) is the product of (W, B) with (x, A x).
        """
        if self.lm_head is None:
            return hidden_NC, self.embedding().whole(hidden_NC.dtype)
        head_VC = self.lm_head.whole(hidden_NC.dtype)
        adapter = self.lm_head.adapter
        if adapter is None:
            return hidden_NC, head_VC
        outer_VR = ops.cast(adapter.lora_B, hidden_NC.dtype)
        return ops.concat((hidden_NC, adapter.inner(hidden_NC)), 1), ops.concat((head_VC, outer_VR), 1)

    def _head(self, hidden_NC: ms.Tensor) -> ms.Tensor:
        """float32: the softmax over the vocabulary is a reduction."""
        return ops.cast(self.matmul(*self._head_factors(hidden_NC)), ms.float32)


class PlaceEmbeddings(nn.Cell):
    """Text (S, C) and visual embeddings (V, C) -> what the language model reads (S, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.gather = GatherOnce()

    def construct(self, text_SC: ms.Tensor, visual_VC: ms.Tensor, embedding_index: ms.Tensor) -> ms.Tensor:
        rows = ops.concat((text_SC, visual_VC), 0)
        # Every row is wanted at most once: a text embedding by its own token, a visual one by the token it stands for.
        inverse = inverse_of(embedding_index, embedding_index >= 0, rows.shape[0])
        return self.gather(rows, embedding_index, inverse)


def new_head(config: ModelConfig[Any]) -> Linear | None:
    """None where it is the embedding."""
    return None if config.tie_word_embeddings else Linear(config.hidden_size, config.vocab_size, bias=False)


class FlatQwenVL(QwenVL):
    """As Qwen2-VL and Qwen2.5-VL are called on disk."""

    def __init__(self, family: QwenFamily[Any], config: ModelConfig[Any], tower: nn.Cell, precision: Precision) -> None:
        super().__init__(family, config, precision)
        self.visual = tower
        self.model = LanguageModel(config, precision.compute)
        self.lm_head = new_head(config)
        self.place_embeddings = PlaceEmbeddings()

    def embedding(self) -> TokenEmbedding:
        return self.model.embed_tokens

    def layers(self) -> Sequence[nn.Cell]:
        return (*self.visual.blocks, *self.model.layers)

    def hidden_states(
        self,
        input_ids: ms.Tensor,
        position_ids: ms.Tensor,
        token_keys: ms.Tensor,
        token_ends: ms.Tensor,
        embedding_index: ms.Tensor,
        *patches: ms.Tensor,
    ) -> ms.Tensor:
        text_SC = ops.cast(self.model.embed_tokens(input_ids), self.compute)
        x_SC = self.place_embeddings(text_SC, self.visual(*patches), embedding_index)
        return self.model(x_SC, position_ids, token_keys, token_ends)
