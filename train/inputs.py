"""What must hold before anything is written: folders, shards and model that fit together. Loads no MindSpore."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec

from shards import ModelFolderError, ShardError, ShardSet, read_model_constants
from shards.order import PackOrder, num_positions
from shards.reader import open_packs
from train.arguments import TrainArguments
from train.checkpoints.resume import Start, find_start, newest_identity
from train.checkpoints.trainer_state import RunIdentity
from train.errors import UsageError
from train.models import family_of
from train.models.backends import require_backend
from train.weights.companions import check_companions


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a run works on. Arguments, folders and model agree."""

    shards: ShardSet
    eval_shards: ShardSet | None
    order: PackOrder
    identity: RunIdentity
    start: Start


def open_inputs(arguments: TrainArguments, num_ranks: int = 1) -> Inputs:
    """Raises UsageError where something is missing or does not fit."""
    _require_reporters(arguments)
    check_companions(arguments.model)
    try:
        shards = open_packs(arguments.shards)
        eval_shards = open_packs(arguments.eval_shards) if arguments.eval_shards else None
        constants = read_model_constants(arguments.model)
        family_of(constants.model_type)
        require_backend(arguments.backend, model_type=constants.model_type, num_ranks=num_ranks)
        for each in filter(None, (shards, eval_shards)):
            constants.require_equal(each.manifest.model, mine=str(arguments.model), theirs=str(each.folder))
    except (ShardError, ModelFolderError) as error:
        raise UsageError(str(error)) from error
    if not any(arguments.model.glob("*.safetensors")):
        raise UsageError(
            f"{arguments.model} holds no *.safetensors; --model is the Hugging Face model folder that the shards were "
            "made with (their own model/ keeps no weights)"
        )
    order = order_of_run(arguments, len(shards), num_ranks)
    identity = RunIdentity.of(arguments, shards.manifest, num_ranks)
    return Inputs(
        shards=shards,
        eval_shards=eval_shards,
        order=order,
        identity=identity,
        start=find_start(arguments, identity, order),
    )


def follow_global_batch(arguments: TrainArguments, num_ranks: int) -> tuple[TrainArguments, tuple[str, ...]]:
    """Arguments for going on with another number of ranks: the packs of a step stay, their accumulation follows.

    And notes of what changed. Raises UsageError where the ranks can't share the packs of a step.
    """
    before = newest_identity(arguments)
    if before is None or before.num_ranks == num_ranks or before.packs_per_step == num_ranks * arguments.packs_per_step:
        return arguments, ()
    each = arguments.per_device_train_batch_size
    if before.packs_per_step % (num_ranks * each):
        raise UsageError(
            f"the run has {before.packs_per_step} packs a step, which {num_ranks} ranks of {each} packs can't share: "
            f"take a number of ranks that divides it, or another per_device_train_batch_size"
        )
    steps = before.packs_per_step // (num_ranks * each)
    note = (
        f"the run began with {before.num_ranks} ranks and goes on with {num_ranks}: gradient_accumulation_steps is "
        f"{steps}, so that a step keeps its {before.packs_per_step} packs"
    )
    return replace(arguments, gradient_accumulation_steps=steps), (note,)


def order_of_run(arguments: TrainArguments, num_packs: int, num_ranks: int = 1) -> PackOrder:
    packs_per_step = arguments.packs_per_step * num_ranks
    return PackOrder(
        num_packs=num_packs,
        seed=arguments.seed,
        packs_per_step=packs_per_step,
        num_positions=num_positions(
            num_packs,
            packs_per_step=packs_per_step,
            num_epochs=arguments.num_train_epochs,
            max_steps=arguments.max_steps,
        ),
    )


def _require_reporters(arguments: TrainArguments) -> None:
    if "tensorboard" in arguments.reporters and find_spec("tensorboardX") is None:
        raise UsageError("report_to tensorboard needs tensorboardX: pip install 'qwen-vl-shards[tensorboard]'")
