"""The training loop.

    packs of the step, padded                          read ahead, in a thread      shards.dataset, train.stream
    accumulate(batch) -> loss sum, gradients added     G times a step               train.optimizer
    optimizer.step(rate, all supervised tokens)        once a step                  train.optimizer, train.schedule
    line of the log, record of metrics.jsonl                                        train.metrics
    weights, at the end                                                             train.export

The loss of a step is the sum over the supervised tokens of all its packs, divided by their number, once: a pack with
few of them weighs little, and how packs are spread over micro-steps does not matter.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import islice

import mindspore as ms

from shards import ModelFolderError, PackStream, PaddedPack, ShardError, ShardSet, load_padded
from shards.batch import Batch, BatchShape
from shards.order import PackOrder, num_positions
from train.arguments import TrainArguments, TrainingFailed, UsageError
from train.config import ConfigError
from train.export import export_model
from train.metrics import METRICS_NAME, MetricsFile, Progress, StepSums
from train.model import Qwen25VL, build_model
from train.optimizer import AccumulateGradients, AdamW
from train.schedule import learning_rate_at, warmup_steps_of
from train.stream import ReadAhead
from train.weights import WeightsError

READ_AHEAD = 4  # batches

Log = Callable[[str], None]


def train(arguments: TrainArguments, shards: ShardSet, log: Log) -> None:
    """Train and write output_dir, which must be free (`train.checks.open_inputs`).

    Raises UsageError before anything is written, TrainingFailed after.
    """
    device = choose_device(arguments.device)
    model = _build(arguments)
    order = order_of_run(arguments, len(shards))
    log(
        f"{order.num_steps} steps of {order.packs_per_step} out of {len(shards)} packs in {arguments.shards} | "
        f"{_count_parameters(model):,} parameters in float32 | {device}"
    )
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    with MetricsFile(arguments.output_dir / METRICS_NAME) as metrics:
        for progress in run_steps(arguments, shards, order, model, log):
            metrics.write(progress)
            log(progress.to_line())
    begin = time.perf_counter()
    export_model(arguments.output_dir, model, arguments.model)
    log(f"saved {arguments.output_dir} in {time.perf_counter() - begin:.1f} s")


def choose_device(wanted: str) -> str:
    """Make `wanted` MindSpore's device. Its own choice (auto) is Ascend where its libraries load, CPU elsewhere."""
    found = ms.get_context("device_target")
    if wanted == "Ascend" != found:
        raise UsageError("device Ascend: MindSpore finds no Ascend libraries (CANN) here; leave the flag out for CPU")
    device = found if wanted == "auto" else wanted
    if device != found:
        ms.set_device(device)
    return device


def order_of_run(arguments: TrainArguments, num_packs: int) -> PackOrder:
    return PackOrder(
        num_packs=num_packs,
        seed=arguments.seed,
        packs_per_step=arguments.packs_per_step,
        num_positions=num_positions(
            num_packs,
            packs_per_step=arguments.packs_per_step,
            num_epochs=arguments.num_train_epochs,
            max_steps=arguments.max_steps,
        ),
    )


def run_steps(
    arguments: TrainArguments, shards: ShardSet, order: PackOrder, model: Qwen25VL, log: Log
) -> Iterator[Progress]:
    """Make all steps; yields every `logging_steps` and after the last one."""
    accumulate = AccumulateGradients(model)
    optimizer = AdamW(
        model.trainable_params(),
        accumulate.sums,
        weight_decay=arguments.weight_decay,
        max_grad_norm=arguments.max_grad_norm,
    )
    warmup_steps = warmup_steps_of(
        order.num_steps, warmup_ratio=arguments.warmup_ratio, warmup_steps=arguments.warmup_steps
    )
    empty = load_padded(shards, None, BatchShape.of(shards.manifest))
    with ReadAhead(read_packs(shards, order), depth=READ_AHEAD) as micro_batches:
        log(f"compiled in {compile_graphs(accumulate, optimizer, empty.batch):.1f} s")
        since_report = StepSums()
        waited, last = micro_batches.seconds_waited, time.perf_counter()
        for step in range(order.num_steps):
            learning_rate = learning_rate_at(
                step,
                peak=arguments.learning_rate,
                schedule=arguments.lr_scheduler_type,
                warmup_steps=warmup_steps,
                max_steps=order.num_steps,
            )
            done, grad_norm = make_step(
                step, islice(micro_batches, order.packs_per_step), accumulate, optimizer, learning_rate
            )
            now = time.perf_counter()
            since_report += done + StepSums(seconds=now - last, data_wait_seconds=micro_batches.seconds_waited - waited)
            waited, last = micro_batches.seconds_waited, now
            if (step + 1) % arguments.logging_steps == 0 or step + 1 == order.num_steps:
                yield Progress(
                    step=step + 1,
                    num_steps=order.num_steps,
                    epoch=min((step + 1) * order.packs_per_step, order.num_positions) / order.num_packs,
                    learning_rate=learning_rate,
                    grad_norm=grad_norm,
                    sums=since_report,
                )
                since_report = StepSums()


def make_step(
    step: int,
    micro_batches: Iterator[PaddedPack],
    accumulate: AccumulateGradients,
    optimizer: AdamW,
    learning_rate: float,
) -> tuple[StepSums, float]:
    """One optimizer step over its packs. Returns its sums (without times) and the norm of its gradient.

    Raises TrainingFailed where a loss or the gradient is not finite, before the weights are saved anywhere.
    """
    packs: list[PaddedPack] = []
    losses: list[ms.Tensor] = []
    for micro_batch in micro_batches:
        # The device may still be busy with the batch before: its loss is fetched after the last one.
        losses.append(accumulate(*to_device(micro_batch.batch)))
        packs.append(micro_batch)
    loss_sums = [float(loss.asnumpy()) for loss in losses]
    broken = [pack for pack, loss_sum in zip(packs, loss_sums, strict=True) if not math.isfinite(loss_sum)]
    if broken:
        raise TrainingFailed(f"step {step + 1}: the loss is not finite in {_name_samples(broken)}; nothing was saved")
    num_label_tokens = sum(pack.num_label_tokens for pack in packs)
    grad_norm = optimizer.step(learning_rate, divisor=max(1, num_label_tokens))
    if not math.isfinite(grad_norm):
        raise TrainingFailed(
            f"step {step + 1}: the gradient is not finite in {_name_samples(packs)}; nothing was saved"
        )
    sums = StepSums(
        num_tokens=sum(pack.num_tokens for pack in packs),
        num_label_tokens=num_label_tokens,
        loss_sum=math.fsum(loss_sums),
    )
    return sums, grad_norm


def compile_graphs(accumulate: AccumulateGradients, optimizer: AdamW, empty: Batch) -> float:
    """Build both graphs by running them on a batch without supervised token, which changes no weight. Seconds taken."""
    begin = time.perf_counter()
    accumulate(*to_device(empty)).asnumpy()
    optimizer.compile()
    return time.perf_counter() - begin


def to_device(batch: Batch) -> list[ms.Tensor]:
    return [ms.Tensor(array) for array in batch]


def read_packs(shards: ShardSet, order: PackOrder) -> Iterator[PaddedPack]:
    """The packs of all steps, one after the other. Raises TrainingFailed where one can't be read."""
    try:
        yield from PackStream(shards, order)
    except ShardError as error:
        raise TrainingFailed(str(error)) from error


def _build(arguments: TrainArguments) -> Qwen25VL:
    try:
        return build_model(arguments.model)
    except (ConfigError, WeightsError, ModelFolderError) as error:
        raise UsageError(str(error)) from error


def _count_parameters(model: Qwen25VL) -> int:
    return sum(math.prod(parameter.shape) for parameter in model.trainable_params())


def _name_samples(packs: list[PaddedPack]) -> str:
    return "; ".join(f"pack ({', '.join(pack.sample_keys)})" for pack in packs if pack.sample_keys)
