"""The on-disk format: rows (packs), files of rows (shards), and the manifest that makes a folder a dataset.

shards = open_shards("out")
pack = shards[0]                            # NumPy views into the mapped file
pack.input_ids[pack.cu_seqlens[0]:pack.cu_seqlens[1]]
"""

import sys

try:
    from shards.dataset import PackStream, PaddedPack, load_padded, mindspore_dataset
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] == "shards":
        raise
    raise ModuleNotFoundError(
        f"{error.name} is not installed for {sys.executable}; `bash scripts/setup.sh` makes .venv with all that is "
        "needed, and .venv/bin/python has it",
        name=error.name,
    ) from None
from shards.errors import (
    ConversionError,
    DamagedShard,
    InvalidPack,
    ModelMismatch,
    NotADataset,
    RowTooLarge,
    ShardError,
    UnknownFamily,
    UnreadableShard,
    UnsupportedVersion,
)
from shards.families import read_model_constants
from shards.manifest import DatasetSummary, Manifest, ShardEntry, read_manifest, write_manifest
from shards.model_constants import ModelConstants
from shards.model_folder import ModelFolderError
from shards.pack import IGNORE_INDEX, Outline, Pack, PackCounts, PackMaxima, check_pack, count_pack, measure_pack
from shards.reader import ShardSet, open_shards

__all__ = [
    "IGNORE_INDEX",
    "ConversionError",
    "DamagedShard",
    "DatasetSummary",
    "InvalidPack",
    "Manifest",
    "ModelConstants",
    "ModelFolderError",
    "ModelMismatch",
    "NotADataset",
    "Outline",
    "Pack",
    "PackCounts",
    "PackMaxima",
    "PackStream",
    "PaddedPack",
    "RowTooLarge",
    "ShardEntry",
    "ShardError",
    "ShardSet",
    "UnknownFamily",
    "UnreadableShard",
    "UnsupportedVersion",
    "check_pack",
    "count_pack",
    "load_padded",
    "measure_pack",
    "mindspore_dataset",
    "open_shards",
    "read_manifest",
    "read_model_constants",
    "write_manifest",
]
