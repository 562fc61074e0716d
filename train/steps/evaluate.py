"""The loss over a second folder of shards: every pack once, without gradients, divided between ranks.

A graph of its own, with the shapes of those shards, so that evaluating changes nothing about training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import mindspore as ms

from shards import ShardSet, load_padded
from shards.batch import Batch, BatchShape, make_batch
from train.cluster.world import World
from train.models.trained import TrainedModel
from train.reports.metrics import EvaluationResult
from train.steps.step import micro_batches_of, to_device
from train.steps.stream import ReadAhead
from train.stop import StopRequest

READ_AHEAD = 4  # batches


class Evaluation:
    """`run` gives the loss of the model as it is then, the same on all ranks, which must call it at once.

    The sum of losses is rounded once, so that it does not depend on how packs are divided.
    """

    def __init__(self, model: TrainedModel, shards: ShardSet, world: World) -> None:
        self.shards = shards
        self._world = world
        self._work_of = model.work_of
        self._shape = BatchShape.of(shards.manifest)
        self._loss_of_batch = _compile_forward(model)

    def compile(self) -> float:
        """Build the graph by running it on an empty pack. Seconds taken."""
        begin = time.perf_counter()
        self._loss(self._empty_batch())
        return time.perf_counter() - begin

    def run(self, stop: StopRequest, *, step: int, epoch: float) -> EvaluationResult | None:
        """None if `stop` is set, on any rank, before the last pack."""
        begin = time.perf_counter()
        world, num_packs = self._world, len(self.shards)
        losses: list[float] = []
        num_label_tokens = 0
        packs = (load_padded(self.shards, index, self._shape) for index in range(world.rank, num_packs, world.size))
        with ReadAhead(micro_batches_of(packs, self._work_of), depth=READ_AHEAD) as micro_batches:
            for _ in range(0, num_packs, world.size):
                if world.agree_to_stop(stop.is_requested):
                    return None
                micro_batch = next(micro_batches, None)
                # Weights that ranks share are gathered in the forward, so that none may leave it out.
                losses.append(self._loss(micro_batch.batch if micro_batch else self._empty_batch()))
                num_label_tokens += micro_batch.sums.num_label_tokens if micro_batch else 0
        gathered = world.gather([num_label_tokens, *losses])
        return EvaluationResult(
            step=step,
            epoch=epoch,
            loss_sum=math.fsum(gathered[:, 1:].flat),
            num_label_tokens=int(gathered[:, 0].sum()),
            seconds=time.perf_counter() - begin,
        )

    def _empty_batch(self) -> Batch:
        return make_batch(None, self._shape, self.shards.manifest.model)

    def _loss(self, batch: Batch) -> float:
        return float(self._loss_of_batch(*to_device(batch)).asnumpy())


def _compile_forward(model: TrainedModel) -> Callable[..., ms.Tensor]:
    @ms.jit
    def loss_sum(*batch: ms.Tensor) -> ms.Tensor:
        return model.loss(*batch)

    return loss_sum
