"""The loss over a second folder of shards, and over each dataset in it: every pack once, without gradients.

Ranks divide the packs.

A graph of its own, with the shapes of those shards, so that evaluating changes nothing about training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import mindspore as ms
import numpy as np
import numpy.typing as npt

from shards import ShardSet, load_padded
from shards.batch import Batch, BatchShape, make_batch
from shards.segments import dataset_of
from train.cluster.world import World
from train.models.trained import TrainedModel
from train.reports.metrics import DatasetLoss, EvaluationResult
from train.steps.graphs import Graph, compiled
from train.steps.step import MicroBatch, micro_batches_of, to_device
from train.steps.stream import ReadAhead
from train.stop import StopRequest

READ_AHEAD = 4  # batches


class Evaluation:
    """`run` gives the loss of the model as it is then, the same on all ranks, which must call it at once.

    The sums of packs are added exactly, so that it does not matter how they are divided. Datasets are those that the
    manifest names; one alone is not told again.
    """

    def __init__(self, model: TrainedModel, shards: ShardSet, world: World) -> None:
        self.shards = shards
        self._world = world
        self._work_of = model.work_of
        self._shape = BatchShape.of(shards.manifest)
        self.forward = Forward(model)
        names = list(shards.manifest.datasets)
        self._datasets = names if len(names) > 1 else []

    def compile(self) -> float:
        """Build the graph by running it on an empty pack. Seconds taken."""
        begin = time.perf_counter()
        self._losses(self._empty_batch())
        return time.perf_counter() - begin

    def run(self, stop: StopRequest, *, step: int, epoch: float) -> EvaluationResult | None:
        """None if `stop` is set, on any rank, before the last pack."""
        begin = time.perf_counter()
        world, num_packs = self._world, len(self.shards)
        rows: list[npt.NDArray[np.float64]] = []
        packs = (load_padded(self.shards, index, self._shape) for index in range(world.rank, num_packs, world.size))
        with ReadAhead(micro_batches_of(packs, self._work_of), depth=READ_AHEAD) as micro_batches:
            for _ in range(0, num_packs, world.size):
                if world.agree_to_stop(stop.is_requested):
                    return None
                micro_batch = next(micro_batches, None)
                # Weights that ranks share are gathered in the forward, so that none may leave it out.
                losses = self._losses(micro_batch.batch if micro_batch else self._empty_batch())
                rows.append(sums_of(losses, micro_batch, self._datasets))
        gathered = world.gather(np.array(rows)).reshape(-1, len(self._datasets) + 1, 2)
        whole, *others = (
            DatasetLoss(loss_sum=math.fsum(each[:, 0]), num_label_tokens=int(each[:, 1].sum()))
            for each in gathered.swapaxes(0, 1)
        )
        return EvaluationResult(
            step=step,
            epoch=epoch,
            loss_sum=whole.loss_sum,
            num_label_tokens=whole.num_label_tokens,
            seconds=time.perf_counter() - begin,
            datasets=dict(zip(self._datasets, others, strict=True)),
        )

    def _empty_batch(self) -> Batch:
        return make_batch(None, self._shape, self.shards.manifest.model)

    def _losses(self, batch: Batch) -> npt.NDArray[np.float32]:
        losses: npt.NDArray[np.float32] = self.forward(*to_device(batch)).asnumpy()
        return losses


def sums_of(
    losses: npt.NDArray[np.float32], pack: MicroBatch | None, datasets: Sequence[str]
) -> npt.NDArray[np.float64]:
    """(1 + datasets, 2): loss and number of the supervised tokens of a pack; first of all, then of each dataset."""
    sums = np.zeros((1 + len(datasets), 2))
    if pack is None:
        return sums
    batch = pack.batch
    is_real = batch.target_weight > 0
    of_tokens = losses[is_real].astype(np.float64)
    sums[0] = math.fsum(of_tokens), len(of_tokens)
    if datasets:
        names = np.array([dataset_of(key) for key in pack.sample_keys])
        # A token and the one that predicts it are of one segment.
        of_target = names[np.searchsorted(batch.token_ends, batch.target_index[is_real], side="right")]
        for row, name in enumerate(datasets, 1):
            mine = of_tokens[of_target == name]
            sums[row] = math.fsum(mine), len(mine)
    return sums


class Forward(Graph):
    def __init__(self, model: TrainedModel) -> None:
        super().__init__(is_traced=model.is_traced)
        self.reads(model.get_parameters())
        self.losses = model.losses

    @compiled
    def construct(self, *batch: ms.Tensor) -> ms.Tensor:
        return self.losses(*batch)
