"""The loss over a second folder of shards: every pack once, in stored order, without gradients.

A graph of its own, with the shapes of those shards, so that evaluating changes nothing about training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import mindspore as ms

from shards import ShardSet, load_padded
from shards.batch import Batch, BatchShape, make_batch
from train.models.trained import TrainedModel
from train.reports.metrics import EvaluationResult
from train.steps.step import micro_batches_of, to_device
from train.steps.stream import ReadAhead
from train.stop import StopRequest

READ_AHEAD = 4  # batches


class Evaluation:
    """`run` gives the loss of the model as it is then."""

    def __init__(self, model: TrainedModel, shards: ShardSet) -> None:
        self.shards = shards
        self._work_of = model.work_of
        self._shape = BatchShape.of(shards.manifest)
        self._loss_of_batch = _compile_forward(model)

    def compile(self) -> float:
        """Build the graph by running it on an empty pack. Seconds taken."""
        begin = time.perf_counter()
        self._loss(make_batch(None, self._shape, self.shards.manifest.model))
        return time.perf_counter() - begin

    def run(self, stop: StopRequest, *, step: int, epoch: float) -> EvaluationResult | None:
        """None if `stop` is set before the last pack."""
        begin = time.perf_counter()
        losses: list[float] = []
        num_label_tokens = 0
        packs = (load_padded(self.shards, index, self._shape) for index in range(len(self.shards)))
        with ReadAhead(micro_batches_of(packs, self._work_of), depth=READ_AHEAD) as micro_batches:
            for micro_batch in micro_batches:
                if stop.is_requested:
                    return None
                losses.append(self._loss(micro_batch.batch))
                num_label_tokens += micro_batch.sums.num_label_tokens
        return EvaluationResult(
            step=step,
            epoch=epoch,
            loss_sum=math.fsum(losses),
            num_label_tokens=num_label_tokens,
            seconds=time.perf_counter() - begin,
        )

    def _loss(self, batch: Batch) -> float:
        return float(self._loss_of_batch(*to_device(batch)).asnumpy())


def _compile_forward(model: TrainedModel) -> Callable[..., ms.Tensor]:
    @ms.jit
    def loss_sum(*batch: ms.Tensor) -> ms.Tensor:
        return model(*batch)

    return loss_sum
