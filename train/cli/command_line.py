"""The command line of `python -m train`: flags and YAML files -> TrainArguments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shards.errors import FlagError
from shards.files.names import MANIFEST_NAME
from shards.flags.fields import Read, read_fields
from shards.flags.help import help_text
from shards.flags.settings import read_settings
from train.arguments import TrainArguments
from train.cli.deepspeed import read_stage
from train.cli.flags import ELSEWHERE
from train.errors import UsageError

_PROGRAM = "python -m train"
_MISSING = {
    "shards": "give the OUTPUT_DIR of `python -m preprocess run`",
    "model": "give the Hugging Face model folder to start from (the shards keep its config.json, but no weights)",
    "output_dir": "give a folder for the trained model",
}


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    arguments: TrainArguments
    notes: tuple[str, ...]  # what the user should know of flags that do something else than they may think


def parse_command_line(argv: Sequence[str]) -> CommandLine:
    """Raises UsageError, with one line that says what to do. `--help` is the caller's."""
    try:
        read = read_fields(read_settings(argv), TrainArguments, program=_PROGRAM, elsewhere=ELSEWHERE)
    except FlagError as error:
        raise UsageError(str(error)) from None
    if "shards" in read.values:
        _require_no_code_package(read.values["shards"])
    for name, advice in _MISSING.items():
        if name not in read.values:
            raise UsageError(f"--{name} is missing: {advice}")
    arguments = TrainArguments(**read.values)
    arguments, notes = _with_stage(arguments)
    notes = (*read.notes, *notes, *_without_effect(arguments, read))
    return CommandLine(arguments=arguments, notes=tuple(dict.fromkeys(notes)))


def _with_stage(arguments: TrainArguments) -> tuple[TrainArguments, tuple[str, ...]]:
    """With the zero_stage of DeepSpeed's file, where there is one."""
    if arguments.deepspeed is None:
        return arguments, ()
    stage, note = read_stage(arguments.deepspeed)
    if arguments.zero_stage not in (None, stage):
        raise UsageError(f"zero_stage is {arguments.zero_stage}, but deepspeed {arguments.deepspeed} says {stage}")
    return replace(arguments, zero_stage=stage), (note,)


def _without_effect(arguments: TrainArguments, read: Read) -> Iterator[str]:
    """Notes on flags that are given in vain."""
    if not arguments.data_flatten:
        yield "data_flatten False changes nothing: the samples of a row are always one flat sequence, kept apart"
    for name, flag in (("mm_projector_lr", "tune_mm_mlp"), ("vision_tower_lr", "tune_mm_vision")):
        if getattr(arguments, name) is not None and not getattr(arguments, flag):
            yield f"{name} has no effect, since {flag} is False"
    if not arguments.lora_enable:
        yield from (f"{name} has no effect without lora_enable" for name in read.values if name.startswith("lora_"))


def describe_flags() -> str:
    """What --help prints."""
    return help_text(
        TrainArguments,
        usage=f"{_PROGRAM} --config FILE [--flag value ...]",
        about="Train Qwen2-VL, Qwen2.5-VL or Qwen3-VL from a folder of shards. Whole numbers may be products: 4*8.\n"
        "Other commands, each with its own --help: launch (several processes), preflight (does it fit?),\n"
        "doctor (does this machine compute right?), merge (a LoRA adapter into its model).",
    )


def _require_no_code_package(folder: Path) -> None:
    """`train.sh shards/`, typed in the project's root, finds a folder: the wrong one."""
    if (folder / "__init__.py").exists() and not (folder / MANIFEST_NAME).exists():
        raise UsageError(
            f"{folder} is this project's code package, not a dataset; give the OUTPUT_DIR of `python -m preprocess run`"
        )
