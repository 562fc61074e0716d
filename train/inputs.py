"""What must hold before anything is written: folders, shards and model that fit together. Loads no MindSpore."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec

from shards import ModelFolderError, ShardError, ShardSet, read_model_constants
from shards.order import PackOrder, num_positions
from shards.reader import open_packs
from train.arguments import TrainArguments
from train.checkpoints.resume import Start, find_start
from train.checkpoints.trainer_state import RunIdentity
from train.errors import UsageError
from train.models import family_of

_WORLD_SIZES = ("RANK_SIZE", "MS_WORKER_NUM")  # set by rank tables and by msrun


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a run works on. Arguments, folders and model agree."""

    shards: ShardSet
    eval_shards: ShardSet | None
    order: PackOrder
    identity: RunIdentity
    start: Start


def open_inputs(arguments: TrainArguments) -> Inputs:
    """Raises UsageError where something is missing or does not fit."""
    _require_one_process()
    _require_reporters(arguments)
    try:
        shards = open_packs(arguments.shards)
        eval_shards = open_packs(arguments.eval_shards) if arguments.eval_shards else None
        constants = read_model_constants(arguments.model)
        family_of(constants.model_type)
        for each in filter(None, (shards, eval_shards)):
            constants.require_equal(each.manifest.model, mine=str(arguments.model), theirs=str(each.folder))
    except (ShardError, ModelFolderError) as error:
        raise UsageError(str(error)) from error
    if not any(arguments.model.glob("*.safetensors")):
        raise UsageError(
            f"{arguments.model} holds no *.safetensors; --model is the Hugging Face model folder that the shards were "
            "made with (their own model/ keeps no weights)"
        )
    order = order_of_run(arguments, len(shards))
    identity = RunIdentity.of(arguments, shards.manifest)
    return Inputs(
        shards=shards,
        eval_shards=eval_shards,
        order=order,
        identity=identity,
        start=find_start(arguments, identity, order),
    )


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


def _require_one_process() -> None:
    for name in _WORLD_SIZES:
        size = os.environ.get(name, "1")
        if size != "1":
            raise UsageError(f"{name} is {size}, but this version trains in one process: start it without msrun")


def _require_reporters(arguments: TrainArguments) -> None:
    if "tensorboard" in arguments.reporters and find_spec("tensorboardX") is None:
        raise UsageError("report_to tensorboard needs tensorboardX: pip install 'qwen-vl-shards[tensorboard]'")
