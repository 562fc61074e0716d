"""The patches of a frame in the order in which they are stored."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from shards.families.family import FrameOrder


@lru_cache(maxsize=512)  # 12 bytes a patch each
def stored_order(grid_h: int, grid_w: int, merge_size: int) -> FrameOrder:
    """Block order of the merger: visual tokens row by row, the patches of each row by row. Sides in patches."""
    num_rows, num_columns = grid_h // merge_size, grid_w // merge_size
    shape = (num_rows, num_columns, merge_size, merge_size)
    token_row, token_column, row, column = np.indices(shape, np.int32).reshape(4, -1)
    positions = np.stack([token_row * merge_size + row, token_column * merge_size + column], axis=1)
    return FrameOrder(order=np.arange(len(positions), dtype=np.int32), positions=positions)
