"""What can go wrong in training."""

from __future__ import annotations


class UsageError(Exception):
    """A flag, a file or a folder that training can't start with; one line that says what to do. Exit code 2."""


class TrainingFailed(Exception):
    """A run that had begun stopped without a usable result; names the step or the pack. Exit code 1."""


class ConfigError(Exception):
    """A config.json that lacks a key, or asks for something this model can't do; names the file and the key."""


class WeightsError(Exception):
    """Weights that don't fit the model, or files that can't be read; names the files and the weights."""


class DamagedCheckpoint(Exception):
    """A state or a checkpoint that is incomplete or altered; names the file."""
