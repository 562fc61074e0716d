"""Models, a folder a family, chosen by the `model_type` of config.json; `qwen_vl` is what Qwen's families share.

Importing this loads no MindSpore.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from shards.files.names import CONFIG_NAME
from train.errors import ModelConfigError
from train.models.config_file import read_config_file
from train.models.sizes import ModelSizes
from train.weights.names import WeightNames

if TYPE_CHECKING:
    from shards import ModelConstants
    from train.models.precision import Precision
    from train.models.trained import TrainedModel

FAMILIES = {  # model_type -> the package that is a `Family`
    "qwen2_vl": "train.models.qwen2_vl",
    "qwen2_5_vl": "train.models.qwen2_5_vl",
    "qwen3_vl": "train.models.qwen3_vl",
}
_MIXTURES = ("qwen3_vl_moe",)  # known to shards, and refused here


class Family(Protocol):
    """What a family's package offers."""

    NAMES: WeightNames

    def read_config(self, folder: Path) -> Any:
        """The architecture in `folder`/config.json. Raises ModelConfigError naming the file and the key."""

    def num_matrix_values(self, config: Any) -> int:
        """Values of all matrices of such a model: nearly all of its weights. Takes no time, however many there are."""

    def sizes(self, config: Any) -> ModelSizes:
        """What a model of this configuration will hold: `train.preflight` counts with it."""

    def tied_weights(self, config: Any) -> Mapping[str, str]:
        """See `TrainedModel.tied_weights`."""

    def build(self, config: Any, constants: ModelConstants, precision: Precision) -> TrainedModel:
        """A model whose weights are zero. Loads MindSpore."""


def family_of(model_type: str) -> Family:
    """Raises ModelConfigError naming those that exist."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        why = ", being mixtures of experts: shards can be made for them" if model_type in _MIXTURES else ""
        raise ModelConfigError(
            f"models of model_type {model_type!r} can't be trained{why}; these can: {', '.join(FAMILIES)}"
        )
    family: Family = import_module(FAMILIES[model_type])
    return family


def family_in(folder: Path) -> Family:
    """That of a model folder. Raises ModelConfigError naming its config.json."""
    path = folder / CONFIG_NAME
    record = read_config_file(path)
    try:
        return family_of(record.get("model_type", ""))
    except ModelConfigError as error:
        raise ModelConfigError(f"{path}: {error}") from None


def sizes_in(folder: Path) -> ModelSizes:
    """Of the model that a folder's config.json describes. Raises ModelConfigError."""
    family = family_in(folder)
    return family.sizes(family.read_config(folder))
