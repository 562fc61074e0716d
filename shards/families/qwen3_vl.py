"""Qwen3-VL: full attention in every layer of the vision tower, which adds learned positions to the patches.

    position_index       (P, 4) rows of the table of learned positions: the corners of the cell that the patch falls in
    position_weight      (P, 4) how much of each corner the patch takes; together 1

The table is a grid of N x N rows (48 x 48), stretched over each frame: first patch on first row, last on last, linear
between them. Source: transformers 4.57.1, `Qwen3VLVisionModel.fast_pos_embed_interpolate`. P patches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shards.errors import DamagedShard
from shards.families.family import Frame, FrameOrder
from shards.families.frames import stored_order
from shards.families.padding import Int32
from shards.model_constants import ModelConstants
from shards.model_folder import ModelFolder, ModelFolderError

FRAMES_OF_A_PATCH = 2  # time stamps are those of two frames


class TowerInputs(NamedTuple):
    position_index: Int32  # (P, 4); padding: 0
    position_weight: npt.NDArray[np.float32]  # (P, 4); padding: 0


def read_constants(folder: ModelFolder) -> ModelConstants:
    """Raises ModelFolderError."""
    num_positions = folder.vision.size("num_position_embeddings")
    side = math.isqrt(num_positions)
    if side**2 != num_positions:
        raise ModelFolderError(
            f"{folder.config.path}: num_position_embeddings is {num_positions}, which is no square of a side"
        )
    constants = folder.constants(position_grid=side)
    if constants.temporal_patch_size != FRAMES_OF_A_PATCH:
        raise ModelFolderError(
            f"{folder.path}: temporal_patch_size is {constants.temporal_patch_size}; time stamps of this family are "
            f"those of {FRAMES_OF_A_PATCH} frames"
        )
    return constants


def video_runs(grid_thw: tuple[int, int, int]) -> Sequence[tuple[int, int, int]]:
    """Each temporal patch alone: its time stands before it, as text."""
    return [(1, *grid_thw[1:])] * grid_thw[0]


def num_windows(grid_thw: npt.NDArray[np.integer], constants: ModelConstants) -> int:
    return 0


def order_frame(grid_h: int, grid_w: int, constants: ModelConstants) -> FrameOrder:
    """As they are stored."""
    return stored_order(grid_h, grid_w, constants.merge_size)


def tower_input_names() -> tuple[str, ...]:
    return TowerInputs._fields


def new_tower_inputs(num_patches: int, num_windows: int, constants: ModelConstants) -> TowerInputs:
    return TowerInputs(np.empty((num_patches, 4), np.int32), np.empty((num_patches, 4), np.float32))


def fill_tower_inputs(out: TowerInputs, frames: Sequence[Frame], constants: ModelConstants) -> None:
    """Raises DamagedShard where there are no learned positions: `read_constants` lets no such model pass."""
    if constants.position_grid < 1:
        raise DamagedShard("a manifest without position_grid is of no such model; preprocess again")
    last_patch = 0
    for frame in frames:
        last_patch = frame.first + frame.num_patches
        rows = slice(frame.first, last_patch)
        out.position_index[rows], out.position_weight[rows] = place_frame(
            frame.grid_h, frame.grid_w, constants.merge_size, constants.position_grid
        )
    out.position_index[last_patch:] = 0
    out.position_weight[last_patch:] = 0


@lru_cache(maxsize=512)  # 32 bytes a patch each
def place_frame(grid_h: int, grid_w: int, merge_size: int, side: int) -> tuple[Int32, npt.NDArray[np.float32]]:
    """(n, 4) rows of the table and their weights, of one frame's n patches as they are stored. Don't write to them."""
    row, column = stored_order(grid_h, grid_w, merge_size).positions.T
    (top, bottom), down = _between(grid_h, side)
    (left, right), along = _between(grid_w, side)
    corners = [(y[row], x[column]) for y in (top, bottom) for x in (left, right)]
    shares = [(y[row], x[column]) for y in (1 - down, down) for x in (1 - along, along)]
    index = np.stack([y * side + x for y, x in corners], axis=1).astype(np.int32)
    weight = np.stack([y * x for y, x in shares], axis=1).astype(np.float32)
    return index, weight


def _between(
    num_patches: int, side: int
) -> tuple[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]], npt.NDArray[np.float64]]:
    """Along one side of the frame: rows of the table before and after each patch, and the way from one to the other.

    In float64, the reference in float32: where the two find other neighbours, one of them has next to no weight.
    """
    place = np.linspace(0, side - 1, num_patches)
    before = place.astype(np.int64)
    return (before, np.minimum(before + 1, side - 1)), place - before
