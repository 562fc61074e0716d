"""python -m train merge: its flags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from train.adapters.merge import merge
from train.cli.command_line import read_flags
from train.errors import UsageError

USAGE = "python -m train merge --model BASE --adapter DIR --output_dir OUT"
FLAGS = {
    "model": "the Hugging Face folder of the model that was adapted",
    "adapter": "the folder of the adapter, made here or by PEFT",
    "output_dir": "a new or empty folder for the merged model",
}


def describe_flags() -> str:
    lines = [f"  --{name:12}{meaning}" for name, meaning in FLAGS.items()]
    return "\n".join([f"usage: {USAGE}", "", "Add a LoRA adapter to the weights that it was trained for.", "", *lines])


def run(argv: Sequence[str]) -> str:
    """Merge what the command line says. Returns the line to print; raises UsageError or TrainingFailed."""
    given = {}
    for flag in read_flags(argv):
        if flag.name not in FLAGS:
            raise UsageError(f"{flag.source} is not a flag of merge: {USAGE}")
        if not flag.value:
            raise UsageError(f"{flag.source} needs a value: {FLAGS[flag.name]}")
        given[flag.name] = Path(flag.value)
    for name, meaning in FLAGS.items():
        if name not in given:
            raise UsageError(f"--{name} is missing: give {meaning}")
    num_merged = merge(given["model"], given["adapter"], given["output_dir"])
    return f"added {num_merged} adapters to {given['model']}: {given['output_dir']}"
