"""python -m train preflight: its flags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shards import ModelFolderError, ShardError, read_manifest, read_model_constants
from train.cli.command_line import parse_command_line
from train.errors import UsageError
from train.models import sizes_in
from train.preflight.report import report

USAGE = "python -m train preflight DIR --model MODEL [--world N] [--device_memory GB] [flags of python -m train]"
_WORLD = "--world"


def describe_flags() -> str:
    return "\n".join(
        [
            f"usage: {USAGE}",
            "",
            "What training from DIR will need, for each zero_stage: memory, disk, steps. Needs no device.",
            "",
            "  --world N            ranks, one a device; 1 where left out",
            "  --device_memory GB   of a device: which zero_stage fits",
            "",
            "Of the trainer's flags, those that change the answer: bf16, gradient_checkpointing, lora_*, tune_mm_*,",
            "per_device_train_batch_size, gradient_accumulation_steps, output_dir (free disk).",
        ]
    )


def run(argv: Sequence[str]) -> Iterator[str]:
    """Lines to print. Raises UsageError."""
    words = list(argv)
    num_ranks = _take_world(words)
    if words and not words[0].startswith("--"):
        words[:1] = ["--shards", words[0]]
    if not any(word.partition("=")[0] in ("--output_dir", "--output-dir") for word in words):
        words += ["--output_dir", "."]
    arguments = parse_command_line(words).arguments
    try:
        manifest = read_manifest(arguments.shards)
        constants = read_model_constants(arguments.model)
        constants.require_equal(manifest.model, mine=str(arguments.model), theirs=str(arguments.shards))
        sizes = sizes_in(arguments.model)
    except (ShardError, ModelFolderError) as error:
        raise UsageError(str(error)) from error
    return report(sizes, manifest, arguments, num_ranks)


def _take_world(words: list[str]) -> int:
    if _WORLD not in words:
        return 1
    at = words.index(_WORLD)
    value = words[at + 1] if at + 1 < len(words) else ""
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(f"{_WORLD} needs a number of ranks: {USAGE}")
    del words[at : at + 2]
    return int(value)
