"""What a run is made of, before its first step: device, what ranks share, and the model as it starts."""

from __future__ import annotations

import os
from contextlib import nullcontext
from functools import partial

import mindspore as ms

from shards.batch import BatchShape
from train.adapters.lora import Adapters, adapters_of
from train.arguments import TrainArguments
from train.cluster.collectives import all_gather, reduce_scatter
from train.cluster.world import World
from train.errors import UsageError
from train.inputs import Inputs
from train.models import sizes_in
from train.models.folder import build_model
from train.models.precision import Precision
from train.models.sharing import Sharing, sharing
from train.models.trained import TrainedModel
from train.preflight.memory import lowest_stage
from train.preflight.report import table
from train.steps.groups import freeze

BLOCKING = "MS_DEV_HOST_BLOCKING_RUN"  # a variable of MindSpore
_deterministic: list[bool] = []  # what this process was told: MindSpore takes it once


def choose_device(wanted: str) -> str:
    """Make `wanted` MindSpore's device. Its own choice (auto) is Ascend where its libraries load, CPU elsewhere."""
    found = ms.get_context("device_target")
    if wanted == "Ascend" != found:
        raise UsageError("device Ascend: MindSpore finds no Ascend libraries (CANN) here; leave the flag out for CPU")
    device = found if wanted == "auto" else wanted
    if device != found:
        ms.set_device(device)
    if device == "CPU":
        # Else the main thread waits for a graph by asking again and again, which takes a core from what computes.
        os.environ.setdefault(BLOCKING, "1")
    return device


def set_deterministic(wanted: bool) -> None:
    """Whether operators and collectives give the same bits each time. To be called before ranks are connected."""
    if not _deterministic:
        ms.set_deterministic(wanted)
        _deterministic.append(wanted)
    elif _deterministic != [wanted]:
        raise UsageError(f"deterministic {wanted}: this process runs with {not wanted} already; start another one")


def choose_stage(arguments: TrainArguments, inputs: Inputs, world: World) -> tuple[int, str]:
    """What ranks share, and why: nothing, where there is one. Raises UsageError where nothing fits."""
    if world.size == 1:
        return 0, "one process"
    if arguments.zero_stage is not None:
        return arguments.zero_stage, "as given"
    if arguments.device_memory is None:
        return 0, "since device_memory is not given"
    manifest = inputs.shards.manifest
    sizes = sizes_in(arguments.model)
    shape = BatchShape.of(manifest)
    stage = lowest_stage(sizes, shape, arguments, world.size, arguments.device_memory)
    if stage is None:
        raise UsageError("\n".join(table(sizes, shape, arguments, world.size)))
    return stage, f"the lowest that fits into {arguments.device_memory:g} GB"


def require_one_start(world: World, step: int) -> None:
    """Raises UsageError where ranks found different checkpoints."""
    steps = world.gather(step).astype(int).tolist()
    if len(set(steps)) > 1:
        raise UsageError(
            f"ranks would go on after different steps ({', '.join(map(str, steps))}): output_dir must be one folder "
            "that all nodes share"
        )


def build(
    arguments: TrainArguments, inputs: Inputs, precision: Precision, world: World, zero_stage: int
) -> tuple[TrainedModel, Adapters | None]:
    """The model as it is at the start of this process, with what is not trained frozen."""
    checkpoint = inputs.start.checkpoint
    # A checkpoint of LoRA holds the adapters alone.
    folder = arguments.model if arguments.lora_enable or not checkpoint else checkpoint.folder
    how = sharing_of(world, precision, recomputes=arguments.gradient_checkpointing)
    with sharing(how) if zero_stage == 3 else nullcontext():
        model = build_model(folder, precision, arguments.backend)
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


def sharing_of(world: World, precision: Precision, *, recomputes: bool) -> Sharing:
    """How the ranks of `world` share weights."""
    return Sharing(
        rank=world.rank,
        size=world.size,
        all_gather=partial(all_gather, world),
        reduce_scatter=partial(reduce_scatter, world),
        compute=precision.compute,
        recomputes=recomputes,
    )
