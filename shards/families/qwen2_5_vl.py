"""Qwen2.5-VL: time in seconds, and a vision tower most of whose layers attend within windows.

    windows      (W, Q) rows of the sequence of patches, Q patches each at most; window_position puts the outputs back

The rules are those of transformers 4.57.1, `Qwen2_5_VisionTransformerPretrainedModel.get_window_index` and
`rot_pos_emb`. W windows, Q patches of a whole window (64), P patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shards.errors import DamagedShard
from shards.families.family import Frame, FrameOrder
from shards.families.frames import stored_order
from shards.families.padding import Int32, check_room, fill_keys
from shards.model_constants import ModelConstants
from shards.model_folder import ModelFolder, ModelFolderError


class TowerInputs(NamedTuple):
    window_index: Int32  # (W, Q) row of the patch sequence; padding: 0
    window_keys: Int32  # (W, Q, 2) keys [first, last) that a patch sees, within its window
    window_position: Int32  # (P,) place of each patch in the flattened windows; padding: 0


def read_constants(folder: ModelFolder) -> ModelConstants:
    """Raises ModelFolderError."""
    constants = folder.constants(
        window_size=folder.vision.size("window_size"),
        tokens_per_second=folder.vision.positive_number("tokens_per_second"),
    )
    if constants.window_size % constants.grid_factor:
        raise ModelFolderError(
            f"{folder.config.path}: window_size {constants.window_size} is no multiple of patch_size * merge_size "
            f"({constants.grid_factor})"
        )
    return constants


def window_patches(constants: ModelConstants) -> int:
    """Patches of a window that no border cuts (64)."""
    return (constants.window_size // constants.patch_size) ** 2


def video_runs(grid_thw: tuple[int, int, int]) -> Sequence[tuple[int, int, int]]:
    """All in one."""
    return (grid_thw,)


def num_windows(grid_thw: npt.NDArray[np.integer], constants: ModelConstants) -> int:
    """Windows over grids (N, 3), those cut at the border included."""
    grids = np.asarray(grid_thw, dtype=np.int64)
    windows = -(-(grids[:, 1:] // constants.merge_size) // _window_side(constants))
    return int((grids[:, 0] * windows[:, 0] * windows[:, 1]).sum())


def order_frame(grid_h: int, grid_w: int, constants: ModelConstants) -> FrameOrder:
    """Window by window."""
    layout = lay_out_frame(grid_h, grid_w, constants.merge_size, _window_side(constants))
    return FrameOrder(layout.order, layout.positions)


def tower_input_names() -> tuple[str, ...]:
    return TowerInputs._fields


def new_tower_inputs(num_patches: int, num_windows: int, constants: ModelConstants) -> TowerInputs:
    capacity = window_patches(constants)
    return TowerInputs(
        window_index=np.empty((num_windows, capacity), np.int32),
        window_keys=np.empty((num_windows, capacity, 2), np.int32),
        window_position=np.empty(num_patches, np.int32),
    )


def fill_tower_inputs(out: TowerInputs, frames: Sequence[Frame], constants: ModelConstants) -> None:
    """Raises ValueError where there are more windows than rows of `out`."""
    side = _window_side(constants)
    layouts = [lay_out_frame(frame.grid_h, frame.grid_w, constants.merge_size, side) for frame in frames]
    check_room(sum(layout.num_windows for layout in layouts), len(out.window_index), "windows")
    capacity = out.window_index.shape[1]
    window = last_patch = 0
    for frame, layout in zip(frames, layouts, strict=True):
        last_patch = frame.first + frame.num_patches
        windows = slice(window, window + layout.num_windows)
        np.multiply(layout.window_is_real, frame.first, out=out.window_index[windows])
        out.window_index[windows] += layout.window_index
        out.window_keys[windows] = layout.window_keys
        np.add(layout.window_position, window * capacity, out=out.window_position[frame.first : last_patch])
        window = windows.stop
    out.window_index[window:] = 0
    fill_keys(out.window_keys[window:], 0, capacity)
    out.window_position[last_patch:] = 0


@dataclass(frozen=True)
class FrameLayout:
    """One frame's n patches in window order, and its w windows of Q rows. Arrays are shared: don't write to them."""

    order: Int32  # (n,) where the patch stands among the frame's stored patches
    positions: Int32  # (n, 2) its row and column
    window_sizes: Int32  # (w,) patches in each window, never 0
    window_index: Int32  # (w, Q) which of the n patches; 0 in rows that the border cut off
    window_is_real: Int32  # (w, Q) 0 in rows that the border cut off, else 1
    window_keys: Int32  # (w, Q, 2) keys [first, last) of the row's query, within its window
    window_position: Int32  # (n,) the row of each patch in the flattened windows

    @property
    def num_windows(self) -> int:
        return len(self.window_sizes)


@lru_cache(maxsize=512)  # about 32 bytes a patch each
def lay_out_frame(grid_h: int, grid_w: int, merge_size: int, window_side: int) -> FrameLayout:
    """Windows of window_side x window_side merged cells, row by row, cut at the border; cells row by row within each.

    Stored patches are in the merger's block order: cells row by row, the patches of a cell row by row.
    """
    num_rows, num_columns = grid_h // merge_size, grid_w // merge_size  # in cells
    row, column = np.divmod(np.arange(num_rows * num_columns), num_columns)
    windows_across = -(-num_columns // window_side)
    window = row // window_side * windows_across + column // window_side
    cells = np.argsort(window, kind="stable")
    merge_unit = merge_size**2
    order = (cells[:, None] * merge_unit + np.arange(merge_unit)).reshape(-1).astype(np.int32)

    capacity = window_side**2 * merge_unit
    sizes = np.bincount(window) * merge_unit
    size_of, first_of = sizes[:, None], (np.cumsum(sizes) - sizes)[:, None]  # (w, 1)
    slot = np.arange(capacity)
    is_real = slot < size_of
    keys = np.stack([np.where(is_real, 0, size_of), np.where(is_real, size_of, capacity)], axis=-1)
    return FrameLayout(
        order=order,
        positions=stored_order(grid_h, grid_w, merge_size).positions[order],
        window_sizes=sizes.astype(np.int32),
        window_index=np.where(is_real, first_of + slot, 0).astype(np.int32),
        window_is_real=is_real.astype(np.int32),
        window_keys=keys.astype(np.int32),
        window_position=np.flatnonzero(is_real).astype(np.int32),
    )


def _window_side(constants: ModelConstants) -> int:
    """In merged cells. Raises DamagedShard where there are no windows: `read_constants` lets no such model pass."""
    if constants.window_size < constants.grid_factor:
        raise DamagedShard(f"a manifest with window_size {constants.window_size} is of no such model; preprocess again")
    return constants.window_size // constants.grid_factor
