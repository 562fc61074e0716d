"""Checkpoints of a running training: the model and the optimizer on the device -> a checkpoint, and back."""

from __future__ import annotations

import time
from pathlib import Path

from shards.order import PackOrder
from train.adapters.lora import Adapters
from train.arguments import TrainArguments
from train.checkpoints.export import export_model
from train.checkpoints.folder import OPTIMIZER_NAME, delete_older, write_checkpoint
from train.checkpoints.trainer_state import RunIdentity, TrainerState
from train.errors import DamagedCheckpoint, TrainingFailed
from train.models.trained import TrainedModel
from train.reports.metrics import StepSums
from train.steps.optimizer import AdamW
from train.weights.files import stored_weights
from train.weights.parameters import weight_of
from train.weights.writer import Writer


class Saver:
    """Saves checkpoints of one run, and deletes the oldest where their number is limited."""

    def __init__(
        self,
        arguments: TrainArguments,
        order: PackOrder,
        identity: RunIdentity,
        model: TrainedModel,
        adapters: Adapters | None,
        optimizer: AdamW,
        writer: Writer,
        newest: Path | None = None,
    ) -> None:
        self.newest = newest  # the checkpoint that a run which is started now goes on from
        self._arguments = arguments
        self._order = order
        self._identity = identity
        self._model = model
        self._adapters = adapters
        self._optimizer = optimizer
        self._writer = writer

    def save(self, step: int, since_report: StepSums, *, is_evaluated: bool) -> str:
        """Save a checkpoint after `step` steps, on all ranks at once.

        Returns a line for the log; raises TrainingFailed.
        """
        begin = time.perf_counter()
        output_dir, limit = self._arguments.output_dir, self._arguments.save_total_limit
        state = TrainerState.after(
            step, self._order, self._identity, since_report=since_report, is_evaluated=is_evaluated
        )
        try:
            self.newest = write_checkpoint(output_dir, state, self._write_contents, self._writer)
        except OSError as error:
            raise TrainingFailed(f"checkpoint-{step} can't be saved: {describe_failure(error)}") from error
        deleted = delete_older(self.newest, keep=limit) if limit and self._writer.is_first else []
        seconds = time.perf_counter() - begin
        also = f", deleted {', '.join(path.name for path in deleted)}" if deleted else ""
        return f"saved {self.newest.name} in {seconds:.1f} s{also}"

    def what_is_saved(self) -> str:
        return f"{self.newest} is the newest checkpoint" if self.newest else "nothing was saved"

    def _write_contents(self, folder: Path) -> None:
        export_model(folder, self._model, self._arguments.model, self._adapters, writer=self._writer)
        moments = [weight_of(each).to_write() for each in self._optimizer.state]
        self._writer.write_file(folder / OPTIMIZER_NAME, moments)


def describe_failure(error: OSError) -> str:
    """What went wrong while writing, in one line."""
    if error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


def restore_optimizer(optimizer: AdamW, checkpoint: Path, *, step: int) -> None:
    """Fill the optimizer, whose graph must be compiled already (with zero moments), with what a checkpoint holds."""
    weights = {each.name: weight_of(each) for each in optimizer.state}
    path = checkpoint / OPTIMIZER_NAME

    for stored in stored_weights(path):
        weight = weights.pop(stored.key, None)
        if weight is None or weight.shape != stored.shape:
            raise DamagedCheckpoint(f"{path}: {stored.key} of shape {stored.shape} is not of this optimizer")
        weight.fill(stored)
    if weights:
        raise DamagedCheckpoint(f"{path} lacks {', '.join(weights)}")
    optimizer.num_steps = step
