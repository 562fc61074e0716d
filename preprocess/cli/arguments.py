"""The command line: flags named as in the Qwen fine-tuning scripts, every one of them allowed in a YAML file too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from preprocess.cli.flags import ELSEWHERE
from preprocess.cli.model_limits import notes_on_limits, with_limits_of_model
from preprocess.config import SWEEPABLE, RunConfig
from preprocess.errors import ConfigError
from shards.errors import FlagError
from shards.flags.fields import read_fields
from shards.flags.help import help_text
from shards.flags.settings import Setting, read_settings

LISTS = ("datasets",)  # flags that take several words
Note = Callable[[str], None]  # takes a line that the user should read


def parse_config(words: Sequence[str], note: Note) -> RunConfig:
    """Flags -> RunConfig. Raises ConfigError in one line, and then has noted nothing; touches nothing.

    Raises ModelFolderError where a limit is the model's, and its folder does not say it.
    """
    try:
        return config_of(read_settings(words, LISTS), note)
    except FlagError as error:
        raise ConfigError(str(error)) from None


def config_of(settings: Sequence[Setting], note: Note) -> RunConfig:
    """Raises FlagError, ConfigError or ModelFolderError in one line."""
    read = read_fields(settings, RunConfig, program="python -m preprocess run", elsewhere=ELSEWHERE)
    required = [field.name for field in fields(RunConfig) if field.default is MISSING]
    missing = [f"--{name}" for name in required if name not in read.values]
    if missing:
        raise ConfigError(f"{', '.join(sorted(missing))} must be given, on the command line or in --config FILE")
    values = dict(read.values)
    if values.get("executor") == "ray":  # its actors have working directories of their own
        values = {name: _absolute(value) for name, value in values.items()}
    written = RunConfig(**values)
    config = with_limits_of_model(written)
    for line in (*read.notes, *notes_on_limits(written)):
        note(line)
    return config


def _absolute(value: Any) -> Any:
    """Of a path, or of each of several; any other value as it is."""
    if isinstance(value, tuple):
        return tuple(map(_absolute, value))
    return value.absolute() if isinstance(value, Path) else value


def describe_flags(command: str) -> str:
    """What `plan --help` and `run --help` print: one flag for each field of RunConfig."""
    sweep = (
        (
            "--sweep NAME=VALUE,VALUE ...",
            f"compare: one line for each combination of values, of {', '.join(SWEEPABLE)}",
        ),
        (
            "--packs_per_step N",
            "packs of a training step (a device's batch x accumulation x devices), for the steps of --sweep"
            " (default: 1)",
        ),
        ("--rejects FILE", "write the rejected samples there, a line of JSON each, as rejects.jsonl of a run has them"),
    )
    return help_text(
        RunConfig,
        usage=f"python -m preprocess {command} --config FILE [--flag value ...]",
        about="Whole numbers may be products, such as 576*28*28.",
        more=sweep if command == "plan" else (),
    )
