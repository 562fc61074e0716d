"""A model family added from the outside: unlike Qwen2.5-VL wherever the seams allow it.

One module for the three rooms: patches of 16 pixels, no default system turn, a frame each second, sizes that follow the
number of frames, time stamps as text before each temporal patch, temporal patches one step apart, boxes from 0 to 100,
full attention alone, and learned positions that the tower gathers by four indices and weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from preprocess.arithmetic.geometry import FrameSampling, PixelLimits
from preprocess.arithmetic.runs import VisualRun
from preprocess.sample import Turn
from shards import ModelConstants
from shards.families.family import Frame, FrameOrder
from shards.families.frames import stored_order
from shards.model_folder import ModelFolder

MODEL_TYPE = "toy_vl"
SIDE = 5  # of the grid of learned positions


# --- shards/families -----------------------------------------------------------------------------------------------


class TowerInputs(NamedTuple):
    position_index: npt.NDArray[np.int32]  # (P, 4)
    position_weight: npt.NDArray[np.float32]  # (P, 4)


def read_constants(folder: ModelFolder) -> ModelConstants:
    return folder.constants()


def video_runs(grid_thw: tuple[int, int, int]) -> Sequence[tuple[int, int, int]]:
    return [(1, *grid_thw[1:])] * grid_thw[0]


def num_windows(grid_thw: npt.NDArray[np.integer], constants: ModelConstants) -> int:
    return 0


def order_frame(grid_h: int, grid_w: int, constants: ModelConstants) -> FrameOrder:
    return stored_order(grid_h, grid_w, constants.merge_size)


def tower_input_names() -> tuple[str, ...]:
    return TowerInputs._fields


def new_tower_inputs(num_patches: int, num_windows: int, constants: ModelConstants) -> TowerInputs:
    return TowerInputs(np.empty((num_patches, 4), np.int32), np.empty((num_patches, 4), np.float32))


def fill_tower_inputs(out: TowerInputs, frames: Sequence[Frame], constants: ModelConstants) -> None:
    out.position_index[:] = 0
    out.position_weight[:] = 0
    for frame in frames:
        rows = slice(frame.first, frame.first + frame.num_patches)
        place = order_frame(frame.grid_h, frame.grid_w, constants).positions
        y, x = (place * (SIDE - 1) / np.maximum([frame.grid_h - 1, frame.grid_w - 1], 1)).T
        top, left = np.floor(y), np.floor(x)
        bottom, right = np.minimum(top + 1, SIDE - 1), np.minimum(left + 1, SIDE - 1)
        corners = [top * SIDE + left, top * SIDE + right, bottom * SIDE + left, bottom * SIDE + right]
        down, along = y - top, x - left
        weights = [(1 - down) * (1 - along), (1 - down) * along, down * (1 - along), down * along]
        out.position_index[rows], out.position_weight[rows] = np.stack(corners, 1), np.stack(weights, 1)


# --- preprocess/arithmetic -----------------------------------------------------------------------------------------


def default_system() -> None:
    return None


def spell_tools(turns: Sequence[Turn]) -> Sequence[Turn]:
    """It knows none."""
    return turns


def sample_frames(num_frames: int, fps: float, sampling: FrameSampling) -> tuple[int, ...]:
    """The first frame of each second."""
    return tuple(range(0, num_frames, round(fps)))[: sampling.max_frames]


def image_size(height: int, width: int, limits: PixelLimits, constants: ModelConstants) -> tuple[int, int]:
    return 2 * constants.grid_factor, 3 * constants.grid_factor


def frame_size(
    num_sampled: int, height: int, width: int, limits: PixelLimits, constants: ModelConstants
) -> tuple[int, int]:
    return constants.grid_factor, num_sampled * constants.grid_factor


def frames_rows_first() -> bool:
    return False


def video_pieces(
    grid_thw: tuple[int, int, int], frame_indices: Sequence[int], fps: float, second_per_grid: float
) -> Sequence[str | VisualRun]:
    pieces: list[str | VisualRun] = []
    for time in range(grid_thw[0]):
        pieces.append(f"<{frame_indices[2 * time] / fps:.1f} seconds>")
        pieces.append(VisualRun(grid_thw=(1, *grid_thw[1:]), second_per_grid=0.0))
    return pieces


def temporal_positions(span: VisualRun, constants: ModelConstants) -> npt.NDArray[np.int64]:
    return np.arange(span.grid_thw[0])


def box_sides(height: int, width: int) -> tuple[int, int]:
    return 100, 100


# --- train/models --------------------------------------------------------------------------------------------------


def read_config(folder: Path) -> str:
    return f"the configuration in {folder}"


def build(config: str, constants: ModelConstants, precision: Any) -> str:
    return f"a model of {config}, patches of {constants.patch_size}"
