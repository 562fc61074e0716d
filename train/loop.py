"""A training run, from its inputs to the trained model.

building         device, what ranks share, the model as it starts
reports          what the run says
run.Run          its steps, and what it keeps
"""

from __future__ import annotations

import math

from shards.batch import BatchShape
from shards.look.readable import counted
from train.arguments import TrainArguments
from train.building import build, choose_device, choose_stage, require_one_start, set_deterministic
from train.checkpoints.folder import remove_left_behind
from train.checkpoints.saving import describe_failure
from train.cluster.world import World, connect
from train.errors import TrainingFailed, UsageError
from train.graph_cache import cache_folder
from train.inputs import Inputs
from train.models import sizes_in
from train.models.attention import uses_flash_attention
from train.models.backends import describe
from train.models.precision import choose_precision
from train.models.trained import TrainedModel
from train.preflight.report import report, segments_flaw
from train.reports.reporting import Log, Reporting
from train.run import Run, write_run_state
from train.steps.graphs import set_jit_level
from train.steps.zero import SHARED
from train.stop import StopRequest


def train(
    arguments: TrainArguments, inputs: Inputs, log: Log, stop: StopRequest, *, keeps_graphs: bool = False
) -> None:
    """Train and write output_dir. `inputs` are those of `train.inputs.open_inputs`, with something left to do.

    Raises UsageError before anything is written, TrainingFailed after. Once `stop` is set, the step at hand is finished
    and saved, and the function returns. `keeps_graphs`: for a process that compiles nothing before (`graph_cache`).
    """
    device = choose_device(arguments.device)
    set_deterministic(arguments.deterministic)
    set_jit_level(arguments.jit_level)
    world = connect()
    order, start = inputs.order, inputs.start
    precision = choose_precision(bf16=arguments.bf16, device=device)
    require_one_start(world, start.step)
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
            for line in report(sizes_in(arguments.model), inputs.shards.manifest, arguments, world.size):
                reporting.say(line)
        reporting.say(
            f"{counted(order.num_steps, 'step')} of {order.packs_per_step} out of "
            f"{counted(len(inputs.shards), 'pack')} in {arguments.shards} | "
            f"{_count_parameters(model):,} parameters trained | {precision} | {device}"
        )
        if whose := describe(arguments.backend):
            reporting.say(whose)
        if arguments.gradient_checkpointing and device == "CPU":
            reporting.say("gradient_checkpointing saves no memory on CPU: its compiled graphs keep what they recompute")
        if start.checkpoint:
            reporting.say(f"going on after step {start.step}, from {start.checkpoint.folder}")
        if not arguments.deterministic:
            reporting.say("deterministic False: a run that goes on, or is made again, differs in the last bits")
        graphs = cache_folder(arguments, inputs, world, stage) if keeps_graphs else None
        run = Run(arguments, inputs, model, adapters, reporting, world, stage, graphs)
        try:
            if run.make_steps(stop):
                run.finish()
        except TrainingFailed as error:
            raise TrainingFailed(f"{error}; {run.saver.what_is_saved()}") from error.__cause__
        except OSError as error:
            raise TrainingFailed(f"{describe_failure(error)}; {run.saver.what_is_saved()}") from error


def _prepare(arguments: TrainArguments, inputs: Inputs, log: Log, world: World) -> Reporting:
    """Make output_dir a folder of this run, and open its reports. All of that is the first rank's."""
    if not world.is_first:
        return Reporting.silent()
    try:
        arguments.output_dir.mkdir(parents=True, exist_ok=True)
        remove_left_behind(arguments.output_dir)
        write_run_state(arguments.output_dir, inputs, step=0)
        return Reporting(
            arguments.output_dir,
            log,
            reporters=arguments.reporters,
            disable_tqdm=arguments.disable_tqdm,
            first_step=inputs.start.step,
            num_steps=inputs.order.num_steps,
            log_samples=arguments.log_samples,
        )
    except OSError as error:
        raise UsageError(f"output_dir {arguments.output_dir} can't be written: {error.strerror}") from error


def _count_parameters(model: TrainedModel) -> int:
    return sum(math.prod(parameter.shape) for parameter in model.trainable_params())
