"""python -m train merge: its flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from shards.errors import FlagError
from shards.flags.fields import read_fields
from shards.flags.help import help_text
from shards.flags.settings import read_settings
from train.adapters.merge import merge
from train.errors import UsageError

_PROGRAM = "python -m train merge"


@dataclass(frozen=True, kw_only=True)
class MergeArguments:
    model: Path = field(metadata={"help": "the Hugging Face folder of the model that was adapted"})
    adapter: Path = field(metadata={"help": "the folder of the adapter, made here or by PEFT"})
    output_dir: Path = field(metadata={"help": "a new or empty folder for the merged model"})


def describe_flags() -> str:
    return help_text(
        MergeArguments,
        usage=f"{_PROGRAM} --model BASE --adapter DIR --output_dir OUT",
        about="Add a LoRA adapter to the weights that it was trained for.",
    )


def run(argv: Sequence[str]) -> str:
    """Merge what the command line says. Returns the line to print; raises UsageError or TrainingFailed."""
    try:
        values = read_fields(read_settings(argv), MergeArguments, program=_PROGRAM).values
    except FlagError as error:
        raise UsageError(str(error)) from None
    for each in fields(MergeArguments):
        if each.name not in values:
            raise UsageError(f"--{each.name} is missing: give {each.metadata['help']}")
    arguments = MergeArguments(**values)
    num_merged = merge(arguments.model, arguments.adapter, arguments.output_dir)
    return f"added {num_merged} adapters to {arguments.model}: {arguments.output_dir}"
