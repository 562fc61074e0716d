"""The steps of a run, and what happens between them.

packs of a step -> steps.step -> new weights
reports                     what is said, every `logging_steps`
steps.evaluate              the loss on other data, every `eval_steps`
checkpoints.saving          what is kept, every `save_steps`
checkpoints.export          the model, at the end
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

import mindspore as ms

from shards.batch import Batch, BatchShape, make_batch
from train.adapters.lora import Adapters
from train.arguments import TrainArguments
from train.checkpoints.export import export_model
from train.checkpoints.saving import Saver, restore_optimizer
from train.checkpoints.trainer_state import TrainerState, write_state
from train.checkpoints.writers import choose_writer
from train.cluster.world import World
from train.errors import TrainingFailed
from train.inputs import Inputs
from train.models import sizes_in
from train.models.trained import TrainedModel
from train.reports.metrics import RankTimes, StepReport, StepSums
from train.reports.profile import StepProfile
from train.reports.reporting import Reporting
from train.steps.dealing import Dealing
from train.steps.due import epoch_after, is_due
from train.steps.evaluate import Evaluation
from train.steps.graphs import keeping_graphs
from train.steps.groups import describe, group_parameters, indices_of
from train.steps.optimizer import AccumulateGradients, AdamW
from train.steps.peaks import peak_flops
from train.steps.replicas import require_equal_replicas
from train.steps.schedule import factor_at, warmup_steps_of
from train.steps.step import compile_graphs, make_step, micro_batches_of
from train.steps.stream import ReadAhead
from train.steps.zero import AccumulateOnRanks, UpdateOnRanks
from train.stop import StopRequest
from train.weights.companions import STATE_NAME

READ_AHEAD = 4  # batches
CONTINUE = "the same command goes on from there"


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
        graphs: Path | None = None,
    ) -> None:
        """`graphs`: the folder in which those of this run are kept."""
        self.world = world
        self._graphs = graphs
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
        if adapters is not None:
            self.accumulate.reads(adapters.state)
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
        if self.evaluation and adapters is not None:
            self.evaluation.forward.reads(adapters.state)
        self.writer = choose_writer(arguments.checkpoint_writer, world)
        checkpoint = inputs.start.checkpoint
        self.saver = Saver(
            arguments,
            inputs.order,
            inputs.identity,
            model,
            adapters,
            self.optimizer,
            self.writer,
            newest=checkpoint.folder if checkpoint else None,
        )
        self.dealing = Dealing(inputs.shards, inputs.order, sizes_in(arguments.model), world, zero_stage=zero_stage)
        self._peak_flops = peak_flops(ms.hal.get_device_name(0))
        self._warmup_steps = warmup_steps_of(
            self.order.num_steps, warmup_ratio=arguments.warmup_ratio, warmup_steps=arguments.warmup_steps
        )

    def make_steps(self, stop: StopRequest) -> bool:
        """Make the steps that are left. False if `stop` was set before all was done."""
        arguments, order, start = self.arguments, self.order, self.inputs.start
        world, packs_here = self.world, order.packs_per_step // self.world.size
        packs = self.dealing.packs(start.step)
        profile = StepProfile(arguments.profiled_steps, arguments.output_dir, self.reporting.say)
        with (
            closing(profile),
            ReadAhead(micro_batches_of(packs, self.model.work_of), depth=READ_AHEAD) as micro_batches,
        ):
            self._compile_and_restore()
            self._evaluate(start.step, stop, due=start.evaluates_first)
            since_report, times = start.since_report, None
            if world.agree_to_stop(stop.is_requested):
                self.reporting.say(f"{_why(stop)}: stopped before step {start.step + 1}; {CONTINUE}")
                return False
            for step in range(start.step + 1, order.num_steps + 1):
                profile.before(step)
                self.reporting.name_samples(step, partial(self.dealing.name_samples, step - 1))
                waited, begin = micro_batches.seconds_waited, time.perf_counter()
                factor = self._schedule_factor(step)
                rates = [factor * group.peak for group in self.groups]
                sums, grad_norm, of_ranks = make_step(
                    step, islice(micro_batches, packs_here), self._accumulator(step), self.optimizer, rates, world
                )
                self._check_replicas(step)
                seconds, data_wait = time.perf_counter() - begin, micro_batches.seconds_waited - waited
                since_report += sums + self._times_and_costs(step, seconds, data_wait)
                times = of_ranks if times is None or of_ranks is None else times + of_ranks
                profile.after(step)
                self.reporting.advance()
                if step % arguments.logging_steps == 0 or step == order.num_steps:
                    self.reporting.report(self._step_report(step, rates, grad_norm, since_report, times))
                    since_report, times = StepSums(), None
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
        export_model(output_dir, self.model, self.arguments.model, self.adapters, dtype=dtype, writer=self.writer)
        self.writer.once(lambda: write_run_state(output_dir, self.inputs, step=self.order.num_steps))
        self.reporting.say(f"saved {output_dir} in {time.perf_counter() - begin:.1f} s")

    def _compile_and_restore(self) -> None:
        is_kept = self._graphs is not None and any(self._graphs.rglob("*.mindir"))
        with keeping_graphs(self._graphs):
            seconds = compile_graphs(self.accumulate, self.optimizer, self._empty_batch())
            if self.evaluation:
                seconds += self.evaluation.compile()
        where = f", from {self._graphs}" if is_kept else ""
        self.reporting.say(f"compiled in {seconds:.1f} s{where}")
        if checkpoint := self.inputs.start.checkpoint:
            restore_optimizer(self.optimizer, checkpoint.folder, step=checkpoint.state.step)

    def _empty_batch(self) -> Batch:
        manifest = self.inputs.shards.manifest
        return make_batch(None, BatchShape.of(manifest), manifest.model)

    def _accumulator(self, step: int) -> Callable[..., ms.Tensor]:
        """What adds up the gradients of the packs of a step, with the dropout of their positions in the run."""
        if self.adapters is None:
            return self.accumulate
        return self.adapters.seeded(self.accumulate, self.dealing.of_step(step - 1).positions[self.world.rank])

    def _times_and_costs(self, step: int, seconds: float, data_wait: float) -> StepSums:
        dealt = self.dealing.of_step(step - 1)
        return StepSums(
            seconds=seconds,
            data_wait_seconds=data_wait,
            cost_mean=dealt.mean,
            cost_in_turn=dealt.in_turn,
            cost_dealt=dealt.dealt,
        )

    def _check_replicas(self, step: int) -> None:
        every = self.arguments.check_replicas
        if every is not None and step % every == 0:
            require_equal_replicas(step, (*self.model.get_parameters(), *self.optimizer.state), self.world)

    def _schedule_factor(self, step: int) -> float:
        return factor_at(
            step - 1,
            schedule=self.arguments.lr_scheduler_type,
            warmup_steps=self._warmup_steps,
            max_steps=self.order.num_steps,
            lowest=self.arguments.lowest_factor,
        )

    def _step_report(
        self, step: int, rates: Sequence[float], grad_norm: float, since_report: StepSums, times: RankTimes | None
    ) -> StepReport:
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
            num_ranks=self.world.size,
            times=times if self.dealing.ranks_wait_once else None,
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


def write_run_state(output_dir: Path, inputs: Inputs, *, step: int) -> None:
    write_state(output_dir / STATE_NAME, TrainerState.after(step, inputs.order, inputs.identity), files={})


def _why(stop: StopRequest) -> str:
    """A run stops: by the signal that came, here or on another rank."""
    return stop.signal_name or "a signal on another rank"
