"""The tiny Qwen2-VL and Qwen3-VL of tests/golden/families_models.npz, in our terms."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from shards import ModelConstants, Pack
from shards.batch import BatchShape
from tests.train.golden_case import (
    CONSTANTS,
    ROOT,
    CompiledModel,
    Sample,
    build_golden_model,
    pack_samples,
    shape_for,
    write_golden_model,
)
from train.models import family_of
from train.models.trained import TrainedModel

from golden_families_models_case import (  # isort: skip  (tests.train.golden_case makes scripts/ importable)
    CONFIGS,
    POSITION_GRID,
    join_sketches,
    make_family_packs,
    make_family_sample,
    make_family_samples,
    tied,
)

__all__ = ["FAMILIES", "GoldenFamily", "golden_families"]

FAMILIES = tuple(CONFIGS)
PATH = ROOT / "tests" / "golden" / "families_models.npz"
PACK_LENGTH = 200


def golden_families() -> dict[str, Any]:
    with np.load(PATH) as file:
        return {name: file[name] for name in file.files}


@dataclass(frozen=True)
class GoldenFamily:
    """One of FAMILIES, as `tests.train.golden_case` has the Qwen2.5-VL."""

    name: str

    @property
    def config(self) -> dict[str, Any]:
        return CONFIGS[self.name]

    @property
    def constants(self) -> ModelConstants:
        grid = POSITION_GRID if self.name == "qwen3_vl" else 0
        return replace(CONSTANTS, model_type=self.name, window_size=0, tokens_per_second=0, position_grid=grid)

    def parse(self) -> Any:
        """Its `ModelConfig`."""
        return family_of(self.name).FAMILY.reader.parse(self.config)

    @cached_property
    def samples(self) -> dict[str, Sample]:
        return make_family_samples(self.name)

    def sample(self, seed: int, **contents: Any) -> Sample:
        return make_family_sample(self.name, seed, **contents)

    def training_packs(self) -> list[list[Sample]]:
        return make_family_packs(self.name)

    def pack(self, *samples: Sample, keys: list[str] | None = None) -> Pack:
        return pack_samples(list(samples), keys, self.constants)

    def shape_for(self, packs: list[Pack], pack_length: int = PACK_LENGTH) -> BatchShape:
        return shape_for(packs, pack_length, self.constants)

    def build(self, *, is_tied: bool = False) -> TrainedModel:
        return build_golden_model(tied(self.config) if is_tied else self.config, self.constants)

    def compile(self, packs: list[Pack], *, is_tied: bool = False, pack_length: int = PACK_LENGTH) -> CompiledModel:
        return CompiledModel(self.build(is_tied=is_tied), self.shape_for(packs, pack_length), self.constants)

    def write(self, folder: Path) -> None:
        write_golden_model(folder, self.config, self.constants)

    def golden_names(self, case: str) -> list[str]:
        """Parameters that have a gradient in PyTorch."""
        return json.loads(str(golden_families()[f"{self.name}/{case}/names"]))


def sketches(gradients: dict[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
    return {name: join_sketches({name: gradients[name]}) for name in names}
