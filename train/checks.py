"""What must hold before anything is written: folders, shards and model that fit together. Loads no MindSpore."""

from __future__ import annotations

import os
from pathlib import Path

from shards import ModelFolderError, ShardError, ShardSet, open_shards, read_model_constants
from shards.manifest import MANIFEST_NAME
from train.adapter_files import CONFIG_FILE, WEIGHTS_FILE
from train.arguments import TrainArguments, UsageError
from train.metrics import METRICS_NAME
from train.weight_files import INDEX_FILE, SINGLE_FILE

# Files that show that a folder is something already, and that a run would mix with its own.
_OCCUPYING = (METRICS_NAME, SINGLE_FILE, INDEX_FILE, "config.json", CONFIG_FILE, WEIGHTS_FILE, MANIFEST_NAME)
_WORLD_SIZES = ("RANK_SIZE", "MS_WORKER_NUM")  # set by rank tables and by msrun


def open_inputs(arguments: TrainArguments) -> ShardSet:
    """The shards of a run whose arguments, folders and model agree. Raises UsageError otherwise."""
    _require_one_process()
    _require_free(arguments.output_dir)
    try:
        shards = open_shards(arguments.shards)
        constants = read_model_constants(arguments.model)
        constants.require_equal(shards.manifest.model, mine=str(arguments.model), theirs=str(arguments.shards))
    except (ShardError, ModelFolderError) as error:
        raise UsageError(str(error)) from error
    if not len(shards):
        raise UsageError(
            f"{arguments.shards} holds no pack; preprocess again, its rejects.jsonl says what was left out"
        )
    if not any(arguments.model.glob("*.safetensors")):
        raise UsageError(
            f"{arguments.model} holds no *.safetensors; --model is the Hugging Face model folder that the shards were "
            "made with (their own model/ keeps no weights)"
        )
    return shards


def _require_one_process() -> None:
    for name in _WORLD_SIZES:
        size = os.environ.get(name, "1")
        if size != "1":
            raise UsageError(f"{name} is {size}, but this version trains in one process: start it without msrun")


def _require_free(output_dir: Path) -> None:
    if output_dir.exists() and not output_dir.is_dir():
        raise UsageError(f"output_dir {output_dir} is a file; give a new folder")
    for name in _OCCUPYING:
        if (output_dir / name).exists():
            raise UsageError(
                f"output_dir {output_dir} holds {name} of another run; give a new folder, or delete it first"
            )


def require_no_code_package(folder: Path) -> None:
    """`train.sh shards/`, typed in the project's root, finds a folder: the wrong one."""
    if (folder / "__init__.py").exists() and not (folder / MANIFEST_NAME).exists():
        raise UsageError(
            f"{folder} is this project's code package, not a dataset; give the OUTPUT_DIR of `python -m preprocess run`"
        )
