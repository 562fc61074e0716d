"""What a family's room says of itself before there is a model: all that `train.models.Family` asks but `build`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from shards.architecture.qwen_vl import ConfigReader, ModelConfig, Vision
from shards.batch import Batch
from shards.files.names import CONFIG_NAME
from shards.model_folder import ModelFolderError
from train.errors import ModelConfigError
from train.models.qwen_vl.names import ModelNames
from train.models.qwen_vl.sizes import TowerShapes, num_matrix_values, sizes_of
from train.models.sizes import ModelSizes


@dataclass(frozen=True, kw_only=True)
class QwenFamily(Generic[Vision]):
    """Its functions are those of a `train.models.Family`."""

    reader: ConfigReader[Vision]
    names: ModelNames
    tower_shapes: Callable[[Vision], TowerShapes]
    patch_pairs: Callable[[Vision, Batch, int], int]  # `Counts.patch_pairs` of a batch with so many real patches

    def read_config(self, folder: Path) -> ModelConfig[Vision]:
        try:
            return self.reader.read(folder / CONFIG_NAME)
        except ModelFolderError as error:
            raise ModelConfigError(str(error)) from None

    def num_matrix_values(self, config: ModelConfig[Vision]) -> int:
        return num_matrix_values(config, self.tower_shapes(config.vision))

    def sizes(self, config: ModelConfig[Vision]) -> ModelSizes:
        return sizes_of(config, self.tower_shapes(config.vision), self.names)

    def tied_weights(self, config: ModelConfig[Vision]) -> Mapping[str, str]:
        return self.names.tied_weights(config)
