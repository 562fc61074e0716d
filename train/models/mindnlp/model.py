"""MindNLP's network as a `TrainedModel`.

What is called is as much of MindNLP as there is, so that changes to it count: its embedding, its vision tower, and the
forward of `Qwen2_5_VLForConditionalGeneration`, which is given embeddings and says logits. One thing it does not do
itself: its forward would place the visual embeddings by `masked_scatter`, which has no gradient with respect to them
on CPU (every gradient of tower and merger is then 0). Here they are rows of a table that is indexed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import ops

from shards import ModelConstants, PaddedPack
from shards.architecture.qwen_vl import ModelConfig
from shards.batch import Batch
from train.errors import UsageError
from train.models.mindnlp.inputs import ForwardInputs, batch_of, forward_inputs
from train.models.mindnlp.networks import build_network
from train.models.qwen2_5_vl import FAMILY
from train.models.qwen_vl.work import work_of
from train.models.trained import AdaptableLayer, Work
from train.weights.parameters import Weight, weight_of

_ONLY_DEVICE = "CPU"


def build(folder: Path, config: ModelConfig[Any], constants: ModelConstants) -> MindNLPModel:
    """The model of `folder`/config.json, its weights zero. Raises UsageError or ModelConfigError."""
    device = ms.get_context("device_target")
    if device != _ONLY_DEVICE:
        raise UsageError(
            f"backend mindnlp: nobody has tried it on {device}; add --device {_ONLY_DEVICE}, or leave --backend out"
        )
    network, parameters = build_network(folder, config, FAMILY.names.weights)
    return MindNLPModel(network, parameters, config, constants)


class MindNLPModel:
    """A `TrainedModel` that is computed operator by operator."""

    is_traced = False
    names = FAMILY.names.weights

    def __init__(
        self,
        network: Any,
        parameters: Sequence[ms.Parameter],
        config: ModelConfig[Any],
        constants: ModelConstants,
    ) -> None:
        import mindtorch  # MindNLP's `torch`

        self.network = network
        self._torch = mindtorch
        self._parameters = tuple(parameters)
        self._config = config
        self._constants = constants

    def __call__(self, *batch: ms.Tensor) -> ms.Tensor:
        return self.losses(*batch).sum()

    def losses(self, *batch: ms.Tensor) -> ms.Tensor:
        self.network.eval()
        padded = self._batch(batch)
        losses = np.zeros(len(padded.target_weight), np.float32)
        inputs = forward_inputs(padded, self._constants)
        if inputs is not None:
            losses[padded.target_weight > 0] = self._losses(inputs).asnumpy()
        return ms.Tensor(losses)

    def loss_and_gradients(self) -> Callable[..., tuple[ms.Tensor, tuple[ms.Tensor, ...]]]:
        trained = ms.ParameterTuple(self.trainable_params())

        def differentiate(*batch: ms.Tensor) -> tuple[ms.Tensor, tuple[ms.Tensor, ...]]:
            self.network.train()
            inputs = forward_inputs(self._batch(batch), self._constants)
            if inputs is None:
                return ms.Tensor(np.float32(0)), tuple(ops.zeros(tuple(each.shape), ms.float32) for each in trained)
            loss_sum, gradients = ms.value_and_grad(lambda: self._losses(inputs).sum(), None, trained)()
            return loss_sum, gradients

        return differentiate

    def get_parameters(self) -> Sequence[ms.Parameter]:
        return self._parameters

    def trainable_params(self) -> Sequence[ms.Parameter]:
        return [each for each in self._parameters if each.requires_grad]

    def group_of(self, parameter_name: str) -> str:
        return FAMILY.names.group_of(parameter_name)

    def recompute_layers(self) -> None:
        raise NotImplementedError("refused by `train.models.backends`")

    def adaptable_layers(self) -> Mapping[str, AdaptableLayer | None]:
        raise NotImplementedError("refused by `train.models.backends`")

    def weights(self) -> Iterator[Weight]:
        return map(weight_of, self._parameters)

    @property
    def tied_weights(self) -> Mapping[str, str]:
        return FAMILY.tied_weights(self._config)

    def work_of(self, pack: PaddedPack) -> Work:
        return work_of(FAMILY, self._config, pack)

    def _batch(self, tensors: Sequence[ms.Tensor]) -> Batch:
        return batch_of([each.asnumpy() for each in tensors], self._constants)

    def _losses(self, inputs: ForwardInputs) -> ms.Tensor:
        """(R,) the cross entropy of each supervised token."""
        output = self.network(
            inputs_embeds=self._embeddings(inputs)[None],
            # As `generate` hands over a mask that is made: by kind of layer, of which there is one.
            attention_mask={"full_attention": ms.Tensor(inputs.attention_mask)},
            position_ids=ms.Tensor(inputs.position_ids),
            use_cache=False,
            logits_to_keep=ms.Tensor(inputs.target_index),
        )
        return self._torch.nn.functional.cross_entropy(output.logits[0], ms.Tensor(inputs.target_ids), reduction="none")

    def _embeddings(self, inputs: ForwardInputs) -> ms.Tensor:
        """(N, hidden size)"""
        text = self.network.get_input_embeddings()(ms.Tensor(inputs.input_ids))[0]
        if not len(inputs.pixel_values):
            return text
        visual = self.network.visual(ms.Tensor(inputs.pixel_values), grid_thw=ms.Tensor(inputs.grid_thw))
        return self._torch.cat((text, visual), 0)[ms.Tensor(inputs.embedding_index)]
