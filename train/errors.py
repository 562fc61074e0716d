"""What can go wrong in training, and how the command ends then.

    TrainError                    one line: names the flag, file or step, and says what to do
    ├── UsageError                training can't start with this flag, file or folder: nothing was written, exit code 2
    │   ├── ModelConfigError      a config.json that lacks a key, or asks for something that no model here can do
    │   ├── WeightsError          weights that don't fit the model, or files of weights that can't be read
    │   └── DamagedCheckpoint     a state or a checkpoint that is incomplete or altered
    └── TrainingFailed            a run that had begun stopped without a usable result: exit code 1

Anything else is a bug and ends the run with its traceback.
"""

from __future__ import annotations

from typing import ClassVar

FAILED = 1
WRONG_USAGE = 2


class TrainError(Exception):
    """`exit_code` is how `python -m train` ends; `kind` stands before the message."""

    exit_code: ClassVar[int]
    kind: ClassVar[str]


class UsageError(TrainError):
    exit_code = WRONG_USAGE
    kind = "error"


class ModelConfigError(UsageError):
    pass


class WeightsError(UsageError):
    pass


class DamagedCheckpoint(UsageError):
    pass


class TrainingFailed(TrainError):
    exit_code = FAILED
    kind = "stopped"
