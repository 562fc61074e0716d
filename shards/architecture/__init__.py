"""Architectures: what a config.json says of a model that can be trained, a module a family. Needs no MindSpore.

    values.py        values of a config.json, checked
    qwen_vl.py       what all of these families have in common: the language model, and how a config.json is read
    <family>.py      the vision tower of a family

`train` builds its models of what is read here. `preprocess` reads it, too, so that it refuses what training would.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shards.architecture import qwen2_5_vl, qwen2_vl, qwen3_vl
from shards.architecture.qwen_vl import ConfigReader
from shards.files.names import CONFIG_NAME
from shards.model_folder.json_file import JsonFile

READERS: dict[str, ConfigReader[Any]] = {  # by model_type, of the families that can be trained
    reader.model_type: reader for reader in (qwen2_vl.READER, qwen2_5_vl.READER, qwen3_vl.READER)
}


def check_architecture(folder: Path) -> None:
    """Raise ModelFolderError where training could not build the model of a folder. Other families pass."""
    path = folder / CONFIG_NAME
    reader = READERS.get(str(JsonFile.read(path).record.get("model_type")))
    if reader is not None:
        reader.read(path)
