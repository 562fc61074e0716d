"""Model families: what of a dataset depends on the kind of model it is for. `model_type` of config.json names it.

    family.py        the contract: what the module of a family must hold
    <family>.py      one module a family
    frames.py        the order of the patches of a frame, as towers without windows read it
    padding.py       how arrays of fixed size are filled

    read_model_constants(folder)          model folder                  -> ModelConstants, which the manifest keeps
    family.num_windows                    grids                         -> a maximum of the manifest
    family.video_runs                     grid of a video               -> grids of the runs of its tokens
    family.order_frame                    size of a frame               -> order and places of its patches
    family.new_tower_inputs, fill_...     frames of a pack              -> what only this vision tower reads of a batch

A new family is one module in each of four rooms of the same name, and one line in the table of each room:

    shards/families/<family>.py           FAMILIES, below                           numbers, layout of batches
    preprocess/arithmetic/<family>.py     preprocess.arithmetic.families.FAMILIES   template, frames, sizes, positions
    shards/architecture/<family>.py       shards.architecture.READERS               config.json of what can be trained
    train/models/<family>/                train.models.FAMILIES                     the model

tests/test_families.py says which families have all of them. A model_type whose models differ in what one room does not
see shares the module of another there: `qwen3_vl_moe`.
"""

from __future__ import annotations

from pathlib import Path

from shards.errors import UnknownFamily
from shards.families import qwen2_5_vl, qwen2_vl, qwen3_vl
from shards.families.family import Family
from shards.model_constants import ModelConstants
from shards.model_folder import ModelFolder, ModelFolderError

FAMILIES: dict[str, Family] = {  # by model_type
    "qwen2_5_vl": qwen2_5_vl,
    "qwen2_vl": qwen2_vl,
    "qwen3_vl": qwen3_vl,
    "qwen3_vl_moe": qwen3_vl,  # the same processor and vision tower
}


def family_of(model_type: object) -> Family:
    """Raises UnknownFamily."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise UnknownFamily(f"model_type {model_type!r} is not one of {', '.join(FAMILIES)}")
    return FAMILIES[model_type]


def read_model_constants(path: Path) -> ModelConstants:
    """Read the constants of the Hugging Face model folder at `path`.

    Raises ModelFolderError where a file or value is missing, the files contradict each other, or no family has its
    model_type.
    """
    folder = ModelFolder.read(path)
    try:
        family = family_of(folder.model_type)
    except UnknownFamily as error:
        raise ModelFolderError(f"{folder.config.path}: {error}") from None
    return family.read_constants(folder)
