"""A training run, from its inputs to the trained model.

shards.dataset -> packs of a step -> steps.step -> new weights      what a run is
reports                                                             what it says, every `logging_steps`
steps.evaluate                                                      the loss on other data, every `eval_steps`
checkpoints.saving, checkpoints.folder                              what it keeps, every `save_steps`
checkpoints.export                                                  the model, at the end
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path

import mindspore as ms

from shards import PackStream
from shards.batch import Batch, BatchShape, make_batch
from shards.order import PackOrder
from train.adapters.lora import Adapters, adapters_of
from train.arguments import TrainArguments
from train.checkpoints.export import export_model
from train.checkpoints.folder import remove_left_behind
from train.checkpoints.saving import Saver, describe_failure, restore_optimizer
from train.checkpoints.trainer_state import TrainerState, write_state
from train.cluster.collectives import all_gather, reduce_scatter
from train.cluster.world import World, connect
from train.errors import TrainingFailed, UsageError
from train.inputs import Inputs
from train.models import family_in
from train.models.attention import uses_flash_attention
from train.models.folder import build_model
from train.models.precision import Precision, choose_precision
from train.models.sharing import Sharing, sharing
from train.models.trained import TrainedModel
from train.preflight.memory import lowest_stage
from train.preflight.report import report, segments_flaw, table
from train.reports.metrics import StepReport, StepSums
from train.reports.reporting import Log, Reporting
from train.steps.evaluate import Evaluation
from train.steps.groups import describe, freeze, group_parameters, indices_of
from train.steps.optimizer import AccumulateGradients, AdamW
from train.steps.peaks import peak_flops
from train.steps.schedule import factor_at, warmup_steps_of
from train.steps.step import compile_graphs, make_step, micro_batches_of
from train.steps.stream import ReadAhead
from train.steps.zero import SHARED, AccumulateOnRanks, UpdateOnRanks
from train.stop import StopRequest
from train.weights.companions import STATE_NAME

READ_AHEAD = 4  # batches
CONTINUE = "the same command goes on from there"


def train(arguments: TrainArguments, inputs: Inputs, log: Log, stop: StopRequest) -> None:
    """Train and write output_dir. `inputs` are those of `train.inputs.open_inputs`, with something left to do.

    Raises UsageError before anything is written, TrainingFailed after. Once `stop` is set, the step at hand is finished
    and saved, and the function returns.
    """
    device = choose_device(arguments.device)
    world = connect()
    order, start = inputs.order, inputs.start
    precision = choose_precision(bf16=arguments.bf16, device=device)
    _require_one_start(world, start.step)
    stage, why = choose_stage(arguments, inputs, world)
    if uses_flash_attention(device, precision.compute) and (
        flaw := segments_flaw(BatchShape.of(inputs.shards.manifest))
    ):
        raise UsageError(flaw)
    model, adapters = build(arguments, inputs, precision, world, stage)
    with _prepare(arguments, inputs, log, world) as reporting:
        if world.size > 1:
            reporting.say(f"{world.size} ranks share {SHARED[stage]} (zero_stage {stage}, {why})")
        if world.size > 1 or device != "CPU":
            config = family_in(arguments.model).read_config(arguments.model)
            for line in report(config, inputs.shards.manifest, arguments, world.size):
                reporting.say(line)
        reporting.say(
            f"{order.num_steps} steps of {order.packs_per_step} out of {len(inputs.shards)} packs in "
            f"{arguments.shards} | {_count_parameters(model):,} parameters trained | {precision} | {device}"
        )
        if arguments.gradient_checkpointing and device == "CPU":
            reporting.say("gradient_checkpointing saves no memory on CPU: its compiled graphs keep what they recompute")
        if start.checkpoint:
            reporting.say(f"going on after step {start.step}, from {start.checkpoint.folder}")
        run = Run(arguments, inputs, model, adapters, reporting, world, stage)
        try:
            if run.make_steps(stop):
                run.finish()
        except TrainingFailed as error:
            raise TrainingFailed(f"{error}; {run.saver.what_is_saved()}") from error.__cause__
        except OSError as error:
            raise TrainingFailed(f"{describe_failure(error)}; {run.saver.what_is_saved()}") from error


class Run:
    """What the steps of a run work with."""

    def __init__(
        self,
        arguments: TrainArguments,
        inputs: Inputs,
        model: TrainedModel,
        adapters: Adapters | None,
        reporting: Reporting,
        world: World,
        zero_stage: int,
    ) -> None:
        self.world = world
        self.arguments = arguments
        self.inputs = inputs
        self.order = inputs.order
        self.model = model
        self.adapters = adapters
        self.reporting = reporting
        groups = group_parameters(model, arguments.peaks)
        reporting.say(describe(groups, weight_decay=arguments.weight_decay))
        if adapters is not None:
            reporting.say(adapters.to_line())
        self.groups = [group for group in groups if group.trained]
        is_alone = world.size == 1
        self.accumulate = AccumulateGradients(model) if is_alone else AccumulateOnRanks(model, world, zero_stage)
        parameters = model.trainable_params()
        self.optimizer = AdamW(
            parameters,
            self.accumulate.sums,
            groups=indices_of(parameters, self.groups),
            weight_decay=arguments.weight_decay,
            max_grad_norm=arguments.max_grad_norm,
            make_update=None if is_alone else partial(UpdateOnRanks, world, zero_stage),
        )
        held = (*model.get_parameters(), *self.accumulate.sums, *self.optimizer.state)
        if not is_alone:
            reporting.say(f"model state: {sum(4 * each.size for each in held):,} bytes in this process")
        self.evaluation = Evaluation(model, inputs.eval_shards, world) if inputs.eval_shards else None
        checkpoint = inputs.start.checkpoint
        self.saver = Saver(
            arguments,
            inputs.order,
            inputs.identity,
            model,
            adapters,
            self.optimizer,
            world,
            newest=checkpoint.folder if checkpoint else None,
        )
        self._peak_flops = peak_flops(ms.hal.get_device_name(0))
        self._warmup_steps = warmup_steps_of(
            self.order.num_steps, warmup_ratio=arguments.warmup_ratio, warmup_steps=arguments.warmup_steps
        )

    def make_steps(self, stop: StopRequest) -> bool:
        """Make the steps that are left. False if `stop` was set before all was done."""
        arguments, order, start = self.arguments, self.order, self.inputs.start
        world, packs_here = self.world, order.packs_per_step // self.world.size
        packs = PackStream(self.inputs.shards, order, first_step=start.step, rank=world.rank, world_size=world.size)
        with ReadAhead(micro_batches_of(packs, self.model.work_of), depth=READ_AHEAD) as micro_batches:
            self._compile_and_restore()
            self._evaluate(start.step, stop, due=start.evaluates_first)
            since_report = start.since_report
            if world.agree_to_stop(stop.is_requested):
                self.reporting.say(f"{_why(stop)}: stopped before step {start.step + 1}; {CONTINUE}")
                return False
            for step in range(start.step + 1, order.num_steps + 1):
                waited, begin = micro_batches.seconds_waited, time.perf_counter()
                factor = self._schedule_factor(step)
                rates = [factor * group.peak for group in self.groups]
                sums, grad_norm = make_step(
                    step, islice(micro_batches, packs_here), self._accumulator(step), self.optimizer, rates, world
                )
                seconds, data_wait = time.perf_counter() - begin, micro_batches.seconds_waited - waited
                since_report += sums + StepSums(seconds=seconds, data_wait_seconds=data_wait)
                self.reporting.advance()
                if step % arguments.logging_steps == 0 or step == order.num_steps:
                    self.reporting.report(self._step_report(step, rates, grad_norm, since_report))
                    since_report = StepSums()
                is_evaluated = self._evaluate(
                    step, stop, due=is_due(arguments.eval_strategy, arguments.eval_steps, step, order)
                )
                stopping = world.agree_to_stop(stop.is_requested)  # asked once: a signal may come at any time
                if stopping or is_due(arguments.save_strategy, arguments.save_steps, step, order):
                    self._save(step, since_report, is_evaluated, stop)
                if stopping:
                    self.reporting.say(f"{_why(stop)}: stopped after step {step}; {CONTINUE}")
                    return False
        return True

    def finish(self) -> None:
        """Write the trained model, then the state that says so."""
        begin = time.perf_counter()
        output_dir = self.arguments.output_dir
        dtype = "BF16" if self.arguments.bf16 else "F32"
        writes = self.world.is_first
        export_model(output_dir, self.model, self.arguments.model, self.adapters, dtype=dtype, writes=writes)
        if writes:
            _write_state(output_dir, self.inputs, step=self.order.num_steps)
        self.world.barrier()
        self.reporting.say(f"saved {output_dir} in {time.perf_counter() - begin:.1f} s")

    def _compile_and_restore(self) -> None:
        seconds = compile_graphs(self.accumulate, self.optimizer, self._empty_batch())
        if self.evaluation:
            seconds += self.evaluation.compile()
        self.reporting.say(f"compiled in {seconds:.1f} s")
        if checkpoint := self.inputs.start.checkpoint:
            restore_optimizer(self.optimizer, checkpoint.folder, step=checkpoint.state.step)

    def _empty_batch(self) -> Batch:
        manifest = self.inputs.shards.manifest
        return make_batch(None, BatchShape.of(manifest), manifest.model)

    def _accumulator(self, step: int) -> Callable[..., ms.Tensor]:
        """What adds up the gradients of the packs of a step, with the dropout of their positions in the run."""
        if self.adapters is None:
            return self.accumulate
        first = (step - 1) * self.order.packs_per_step + self.world.rank
        return self.adapters.seeded(self.accumulate, first, self.world.size)

    def _schedule_factor(self, step: int) -> float:
        return factor_at(
            step - 1,
            schedule=self.arguments.lr_scheduler_type,
            warmup_steps=self._warmup_steps,
            max_steps=self.order.num_steps,
            lowest=self.arguments.lowest_factor,
        )

    def _step_report(self, step: int, rates: Sequence[float], grad_norm: float, since_report: StepSums) -> StepReport:
        differ = len(set(rates)) > 1
        return StepReport(
            step=step,
            num_steps=self.order.num_steps,
            epoch=epoch_after(step, self.order),
            learning_rate=rates[0],
            learning_rates=dict(zip((group.name for group in self.groups), rates, strict=True)) if differ else {},
            grad_norm=grad_norm,
            sums=since_report,
            peak_flops=self._peak_flops,
        )

    def _evaluate(self, step: int, stop: StopRequest, *, due: bool) -> bool:
        """Evaluate, if it is due. False if it was due and `stop` was set before all packs were seen."""
        if not due or self.evaluation is None:
            return True
        result = self.evaluation.run(stop, step=step, epoch=epoch_after(step, self.order))
        if result is not None:
            self.reporting.report(result)
        return result is not None

    def _save(self, step: int, since_report: StepSums, is_evaluated: bool, stop: StopRequest) -> None:
        if self.arguments.save_strategy == "no":
            raise TrainingFailed(f"{_why(stop)}: stopped after step {step}, and save_strategy is no")
        self.reporting.sync()
        self.reporting.say(self.saver.save(step, since_report, is_evaluated=is_evaluated))


def is_due(strategy: str, every: int, step: int, order: PackOrder) -> bool:
    """Whether what happens by `strategy` (no, steps, epoch) happens after `step` steps; it does after the last one."""
    if strategy == "no":
        return False
    if step == order.num_steps:
        return True
    if strategy == "steps":
        return step % every == 0
    epochs_before, epochs_now = ((each * order.packs_per_step) // order.num_packs for each in (step - 1, step))
    return epochs_now > epochs_before


def epoch_after(step: int, order: PackOrder) -> float:
    return min(step * order.packs_per_step, order.num_positions) / order.num_packs


def choose_device(wanted: str) -> str:
    """Make `wanted` MindSpore's device. Its own choice (auto) is Ascend where its libraries load, CPU elsewhere."""
    found = ms.get_context("device_target")
    if wanted == "Ascend" != found:
        raise UsageError("device Ascend: MindSpore finds no Ascend libraries (CANN) here; leave the flag out for CPU")
    device = found if wanted == "auto" else wanted
    if device != found:
        ms.set_device(device)
    return device


def choose_stage(arguments: TrainArguments, inputs: Inputs, world: World) -> tuple[int, str]:
    """What ranks share, and why: nothing, where there is one. Raises UsageError where nothing fits."""
    if world.size == 1:
        return 0, "one process"
    if arguments.zero_stage is not None:
        return arguments.zero_stage, "as given"
    if arguments.device_memory is None:
        return 0, "since device_memory is not given"
    manifest = inputs.shards.manifest
    config = family_in(arguments.model).read_config(arguments.model)
    shape = BatchShape.of(manifest)
    stage = lowest_stage(config, shape, arguments, world.size, arguments.device_memory)
    if stage is None:
        raise UsageError("\n".join(table(config, shape, arguments, world.size)))
    return stage, f"the lowest that fits into {arguments.device_memory:g} GB"


def _require_one_start(world: World, step: int) -> None:
    """Raises UsageError where ranks found different checkpoints."""
    steps = world.gather(step).astype(int).tolist()
    if len(set(steps)) > 1:
        raise UsageError(
            f"ranks would go on after different steps ({', '.join(map(str, steps))}): output_dir must be one folder "
            "that all nodes share"
        )


def _why(stop: StopRequest) -> str:
    """A run stops: by the signal that came, here or on another rank."""
    return stop.signal_name or "a signal on another rank"


def build(
    arguments: TrainArguments, inputs: Inputs, precision: Precision, world: World, zero_stage: int
) -> tuple[TrainedModel, Adapters | None]:
    """The model as it is at the start of this process, with what is not trained frozen."""
    checkpoint = inputs.start.checkpoint
    # A checkpoint of LoRA holds the adapters alone.
    folder = arguments.model if arguments.lora_enable or not checkpoint else checkpoint.folder
    how = Sharing(
        rank=world.rank,
        size=world.size,
        all_gather=partial(all_gather, world),
        reduce_scatter=partial(reduce_scatter, world),
        compute=precision.compute,
        recomputes=arguments.gradient_checkpointing,
    )
    with sharing(how) if zero_stage == 3 else nullcontext():
        model = build_model(folder, precision)
    if arguments.lora_enable:
        adapters = adapters_of(arguments, model)
        if checkpoint and adapters:
            adapters.load(checkpoint.folder)
    else:
        adapters = None
        freeze(model, arguments.trained_groups)
    if arguments.gradient_checkpointing:
        model.recompute_layers()
    return model, adapters


def _prepare(arguments: TrainArguments, inputs: Inputs, log: Log, world: World) -> Reporting:
    """Make output_dir a folder of this run, and open its reports. All of that is the first rank's."""
    if not world.is_first:
        return Reporting.silent()
    try:
        arguments.output_dir.mkdir(parents=True, exist_ok=True)
        remove_left_behind(arguments.output_dir)
        _write_state(arguments.output_dir, inputs, step=0)
        return Reporting(
            arguments.output_dir,
            log,
            reporters=arguments.reporters,
            disable_tqdm=arguments.disable_tqdm,
            first_step=inputs.start.step,
            num_steps=inputs.order.num_steps,
        )
    except OSError as error:
        raise UsageError(f"output_dir {arguments.output_dir} can't be written: {error.strerror}") from error


def _write_state(output_dir: Path, inputs: Inputs, *, step: int) -> None:
    write_state(output_dir / STATE_NAME, TrainerState.after(step, inputs.order, inputs.identity), files={})


def _count_parameters(model: TrainedModel) -> int:
    return sum(math.prod(parameter.shape) for parameter in model.trainable_params())
