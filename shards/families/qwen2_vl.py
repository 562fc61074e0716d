"""Qwen2-VL: no seconds in positions, and full attention in every layer of the vision tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shards.families.family import Frame, FrameOrder
from shards.families.frames import stored_order
from shards.model_constants import ModelConstants
from shards.model_folder import ModelFolder


class TowerInputs(NamedTuple):
    """Nothing but what every `Batch` has."""


def read_constants(folder: ModelFolder) -> ModelConstants:
    """Raises ModelFolderError."""
    return folder.constants()


def video_runs(grid_thw: tuple[int, int, int]) -> Sequence[tuple[int, int, int]]:
    """All in one."""
    return (grid_thw,)


def num_windows(grid_thw: npt.NDArray[np.integer], constants: ModelConstants) -> int:
    return 0


def order_frame(grid_h: int, grid_w: int, constants: ModelConstants) -> FrameOrder:
    """As they are stored."""
    return stored_order(grid_h, grid_w, constants.merge_size)


def tower_input_names() -> tuple[str, ...]:
    return TowerInputs._fields


def new_tower_inputs(num_patches: int, num_windows: int, constants: ModelConstants) -> TowerInputs:
    return TowerInputs()


def fill_tower_inputs(out: TowerInputs, frames: Sequence[Frame], constants: ModelConstants) -> None:
    pass
