"""Where a run starts: at step 0, or at a checkpoint that it continues exactly. Decided before anything is written.

What `output_dir` holds                        what happens
nothing but logs/, *.log, *.out, *.err, .*     the run starts at step 0
a finished run, as long as this one            nothing is left to do
checkpoints                                    the newest that is intact goes on; none intact: an error
a run that was stopped before a checkpoint     the run starts again at step 0
anything else                                  an error

A run goes on only with the shards, the model and the arguments that it began with, but for those that may differ
(`trainer_state.MAY_DIFFER`). A length that changed is allowed: the learning rates of the steps to come are those of a
run of the new length.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from shards.order import PackOrder
from train.arguments import TrainArguments
from train.checkpoints.folder import Checkpoint, find_checkpoints, read_checkpoint, step_of
from train.checkpoints.trainer_state import RunIdentity, TrainerState, read_state
from train.cluster.launch.processes import LOGS
from train.errors import DamagedCheckpoint, UsageError
from train.reports.metrics import StepSums
from train.weights.companions import STATE_NAME

# What whoever starts a run may have put there; with anything else, the run would mix its own files.
_LOG_SUFFIXES = (".log", ".out", ".err")
_NEW_FOLDER = "give a new folder, or delete this one first"


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where a run begins. `checkpoint` is None at step 0."""

    checkpoint: Checkpoint | None = None
    is_finished: bool = False  # nothing is left to do
    notes: tuple[str, ...] = ()

    @property
    def step(self) -> int:
        """Optimizer steps that were made already."""
        return self.checkpoint.state.step if self.checkpoint else 0

    @property
    def since_report(self) -> StepSums:
        """Sums of the steps that the log has no record of yet."""
        return self.checkpoint.state.since_report if self.checkpoint else StepSums()

    @property
    def evaluates_first(self) -> bool:
        """The evaluation after `step` is due and was not made."""
        return self.checkpoint is not None and not self.checkpoint.state.is_evaluated


def find_start(arguments: TrainArguments, identity: RunIdentity, order: PackOrder) -> Start:
    """Raises UsageError where the run can't start or go on, saying why and what to do."""
    output_dir = arguments.output_dir
    if output_dir.exists() and not output_dir.is_dir():
        raise UsageError(f"output_dir {output_dir} is a file; give a folder")
    if isinstance(arguments.resume_from_checkpoint, Path):
        return _start_at(arguments.resume_from_checkpoint, output_dir, identity, order)
    is_ours = (output_dir / STATE_NAME).exists() or bool(find_checkpoints(output_dir))
    if not is_ours or not arguments.resume_from_checkpoint:
        _require_free(output_dir)
        return Start()
    finished = _finished_state(output_dir, order)
    if finished is not None:
        _require_same(finished, identity, output_dir)
        return Start(is_finished=True, notes=(f"{output_dir} holds the model after {finished.step} steps: finished",))
    return _start_at_newest(output_dir, identity, order)


def newest_identity(arguments: TrainArguments) -> RunIdentity | None:
    """That of the checkpoint which a run of these arguments may go on from; None without one, or if it is damaged."""
    resume = arguments.resume_from_checkpoint
    folders = [resume] if isinstance(resume, Path) else find_checkpoints(arguments.output_dir) if resume else []
    for folder in folders:
        try:
            return read_state(folder / STATE_NAME)[0].identity
        except DamagedCheckpoint:
            continue
    return None


def _start_at(folder: Path, output_dir: Path, identity: RunIdentity, order: PackOrder) -> Start:
    """At a checkpoint that the user named."""
    try:
        checkpoint = read_checkpoint(folder)
    except DamagedCheckpoint as error:
        raise UsageError(f"resume_from_checkpoint {folder}: {error}") from None
    later = [path for path in find_checkpoints(output_dir) if step_of(path) > checkpoint.state.step]
    if later:
        raise UsageError(
            f"output_dir {output_dir} holds {later[0].name}, which is later than {folder.name}; delete it, or give a "
            "new output_dir"
        )
    if folder.resolve().parent != output_dir.resolve():
        _require_free(output_dir)
    return _go_on(checkpoint, identity, order, notes=())


def _start_at_newest(output_dir: Path, identity: RunIdentity, order: PackOrder) -> Start:
    damages = []
    for folder in find_checkpoints(output_dir):
        try:
            checkpoint = read_checkpoint(folder)
        except DamagedCheckpoint as error:
            damages.append(f"{folder.name} is damaged: {error}")
            continue
        notes = [f"{damage}; going back to {folder.name}" for damage in damages]
        return _go_on(checkpoint, identity, order, notes=tuple(notes))
    if damages:
        raise UsageError(
            f"output_dir {output_dir} holds no intact checkpoint ({'; '.join(damages)}); restore one, or give a new "
            "folder"
        )
    return Start(notes=(f"{output_dir} holds a run that was stopped before its first checkpoint: it starts again",))


def _go_on(checkpoint: Checkpoint, identity: RunIdentity, order: PackOrder, notes: tuple[str, ...]) -> Start:
    state, name = checkpoint.state, checkpoint.folder.name
    _require_same(state, identity, checkpoint.folder)
    if state.step > order.num_steps:
        raise UsageError(f"{checkpoint.folder} is past the {order.num_steps} steps of this run: make it longer")
    if state.num_steps != order.num_steps:
        notes += (
            f"the run had {state.num_steps} steps when {name} was saved, and has {order.num_steps} now: the learning "
            "rates to come are those of the new length",
        )
    return Start(checkpoint=checkpoint, notes=notes)


def _finished_state(output_dir: Path, order: PackOrder) -> TrainerState | None:
    """The state of a run that made all steps of `order` and wrote its model, if that is what `output_dir` holds."""
    path = output_dir / STATE_NAME
    if not path.exists():
        return None
    try:
        state, _ = read_state(path)
    except DamagedCheckpoint as error:
        raise UsageError(f"{error}; delete that file to go on from the newest checkpoint, or {_NEW_FOLDER}") from None
    if state.step >= order.num_steps:
        return state
    if state.step and not find_checkpoints(output_dir):
        raise UsageError(
            f"output_dir {output_dir} holds the model after {state.step} steps, and no checkpoint to go on from; "
            "give a new folder"
        )
    return None


def _require_same(state: TrainerState, identity: RunIdentity, source: Path) -> None:
    differences = list(state.identity.differences(identity))
    if differences:
        raise UsageError(
            f"{source} belongs to a run that differs in {'; '.join(differences)}: use what it began with, or give a "
            "new output_dir"
        )


def _require_free(output_dir: Path) -> None:
    names = sorted(path.name for path in output_dir.iterdir()) if output_dir.exists() else []
    occupying = [
        each for each in names if each != LOGS and not each.startswith(".") and not each.endswith(_LOG_SUFFIXES)
    ]
    if occupying:
        raise UsageError(f"output_dir {output_dir} holds {occupying[0]} already; {_NEW_FOLDER}")
