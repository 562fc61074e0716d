"""One step: packs -> batches -> gradients, added up -> new weights.

    packs, padded                                      in a thread, ahead           shards.dataset, train.steps.stream
    accumulate(batch) -> loss sum, gradients added     G times a step               train.steps.optimizer
    optimizer.step(rates, all supervised tokens)       once                         train.steps.optimizer

The loss of a step is the sum over the supervised tokens of all its packs, divided by their number, once: a pack with
few of them weighs little, and how packs are spread over micro-steps does not matter.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import mindspore as ms
import numpy as np

from shards import PaddedPack, ShardError
from shards.batch import Batch
from train.cluster.world import World
from train.errors import TrainingFailed
from train.models.trained import Work
from train.reports.metrics import RankTimes, StepSums
from train.steps.optimizer import AccumulateGradients, AdamW


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """One pack, ready for the device."""

    batch: Batch
    sums: StepSums  # what it adds to those of its step, without loss and times
    sample_keys: tuple[str, ...]


class StepResult(NamedTuple):
    sums: StepSums  # of all ranks, without times
    grad_norm: float
    times: RankTimes | None  # None for a rank alone


def micro_batches_of(packs: Iterable[PaddedPack], work_of: Callable[[PaddedPack], Work]) -> Iterator[MicroBatch]:
    """Count what each pack costs. Raises TrainingFailed where one can't be read."""
    try:
        for pack in packs:
            yield _micro_batch(pack, work_of(pack))
    except ShardError as error:
        raise TrainingFailed(str(error)) from error


def _micro_batch(pack: PaddedPack, work: Work) -> MicroBatch:
    sums = StepSums(
        num_tokens=pack.num_tokens,
        num_label_tokens=pack.num_label_tokens,
        num_patches=work.num_patches,
        num_token_slots=len(pack.batch.input_ids),
        num_patch_slots=work.num_patch_slots,
        flops=work.flops,
    )
    return MicroBatch(batch=pack.batch, sums=sums, sample_keys=pack.sample_keys)


def to_device(batch: Batch) -> list[ms.Tensor]:
    return [ms.Tensor(array) for array in batch]


def compile_graphs(accumulate: AccumulateGradients, optimizer: AdamW, empty: Batch) -> float:
    """Build both graphs by running them on a batch without supervised token, which changes no weight. Seconds taken.

    All moments must still be zero.
    """
    begin = time.perf_counter()
    accumulate(*to_device(empty)).asnumpy()
    optimizer.compile()
    return time.perf_counter() - begin


def make_step(
    step: int,
    micro_batches: Iterator[MicroBatch],
    accumulate: Callable[..., ms.Tensor],
    optimizer: AdamW,
    learning_rates: Sequence[float],
    world: World,
) -> StepResult:
    """Optimizer step number `step`, from 1, over this rank's packs of it.

    Raises TrainingFailed where a loss or the gradient is not finite.
    """
    begin = time.perf_counter()
    packs: list[MicroBatch] = []
    losses: list[ms.Tensor] = []
    for micro_batch in micro_batches:
        # The device may still be busy with the batch before: its loss is fetched after the last one.
        losses.append(accumulate(*to_device(micro_batch.batch)))
        packs.append(micro_batch)
    loss_sums = [float(loss.asnumpy()) for loss in losses]
    broken = [pack for pack, loss_sum in zip(packs, loss_sums, strict=True) if not math.isfinite(loss_sum)]
    mine = sum((pack.sums for pack in packs), StepSums(loss_sum=math.fsum(loss_sums)))
    done = time.perf_counter()
    sums, broken_ranks, busy_seconds = _sum_over_ranks(mine, bool(broken), done - begin, world)
    if broken_ranks:
        where = _name_samples(broken) if broken else f"packs of rank {broken_ranks[0]}, whose log names them"
        raise TrainingFailed(f"step {step}: the loss is not finite in {where}")
    grad_norm = optimizer.step(learning_rates, divisor=max(1, sums.num_label_tokens))
    if not math.isfinite(grad_norm):
        raise TrainingFailed(f"step {step}: the gradient is not finite in {_name_samples(packs)}")
    times = RankTimes(busy_seconds=busy_seconds, update_seconds=time.perf_counter() - done)
    return StepResult(sums, grad_norm, times if world.size > 1 else None)


def _sum_over_ranks(
    mine: StepSums, is_broken: bool, busy_seconds: float, world: World
) -> tuple[StepSums, list[int], tuple[float, ...]]:
    """Sums of all ranks, without times, the ranks that are broken, and the time of each."""
    if world.size == 1:
        return mine, [0] if is_broken else [], (busy_seconds,)
    names = [each.name for each in fields(StepSums) if not each.name.endswith("seconds")]
    gathered = world.gather([float(is_broken), busy_seconds, *(getattr(mine, name) for name in names)])
    totals = gathered[:, 2:].sum(0).tolist()
    values = {name: type(getattr(mine, name))(total) for name, total in zip(names, totals, strict=True)}
    return StepSums(**values), np.flatnonzero(gathered[:, 0]).tolist(), tuple(gathered[:, 1].tolist())


def _name_samples(packs: list[MicroBatch]) -> str:
    return "; ".join(f"pack ({', '.join(pack.sample_keys)})" for pack in packs if pack.sample_keys)
