"""The layout of Qwen2.5-VL's windows, against transformers (golden) and against a slow rule of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import Pack
from shards.batch import Batch, make_batch
from shards.families.qwen2_5_vl import lay_out_frame, num_windows, window_patches
from tests.shards.packs import CONSTANTS as PACK_CONSTANTS
from tests.shards.packs import image_grids, video_grids
from tests.train.golden_case import CONSTANTS, PACK_LENGTH, golden, make_sample, pack_samples, shape_for

PACK = pack_samples(
    [
        make_sample(21, images=[(1, 4, 6)], videos=[]),
        make_sample(22, images=[(1, 10, 6)], videos=[(2, 6, 2), (3, 4, 6)]),
        make_sample(24, images=[], videos=[(1, 2, 6)], num_text=4),
    ]
)
FULL_SIZE = replace(CONSTANTS, patch_size=14, window_size=112)  # the real model's geometry


@pytest.fixture(params=["tight", "roomy"])
def batch(request: pytest.FixtureRequest) -> Batch:
    shape = shape_for([PACK], pack_length=PACK_LENGTH + 60)
    if request.param == "roomy":
        shape = replace(shape, patches=shape.patches + 12, windows=shape.windows + 2)
    return make_batch(PACK, shape, CONSTANTS)


def grids_of(pack: Pack) -> list[list[int]]:
    return [*pack.image_grid_thw.tolist(), *pack.video_grid_thw.tolist()]


def slow_window_order(height: int, width: int, side: int) -> list[list[tuple[int, int]]]:
    """Windows of a frame as lists of (row, column) of patches, window by window; `side` in patches."""
    windows = []
    for top in range(0, height, side):
        for left in range(0, width, side):
            windows.append(
                [
                    (cell_row + row, cell_column + column)
                    for cell_row in range(top, min(top + side, height), 2)
                    for cell_column in range(left, min(left + side, width), 2)
                    for row in range(2)
                    for column in range(2)
                ]
            )
    return windows


def test_windows_and_rotary_positions_equal_those_of_transformers() -> None:
    """On grids of the real geometry: one window, whole windows, windows cut at either border, several frames."""
    grids = golden()["windows/grid_thw"]
    index, ends, positions = (golden()[f"windows/{name}"] for name in ("index", "ends", "positions"))
    side = FULL_SIZE.window_size // FULL_SIZE.grid_factor
    frames = [lay_out_frame(int(h), int(w), 2, side) for t, h, w in grids for _ in range(t)]
    starts = np.cumsum([0, *(len(frame.order) for frame in frames)])
    order = np.concatenate([start + frame.order for start, frame in zip(starts, frames, strict=False)])

    assert any(h // 2 % side and w // 2 % side for _, h, w in grids) and any(h // 2 % side == 0 for _, h, _ in grids)
    np.testing.assert_array_equal(order.reshape(-1, 4)[:, 0] // 4, index)
    np.testing.assert_array_equal(np.diff(order.reshape(-1, 4), axis=1), 1)
    sizes = np.concatenate([frame.window_sizes for frame in frames])
    np.testing.assert_array_equal(np.cumsum([0, *sizes]), ends)
    np.testing.assert_array_equal(np.concatenate([frame.positions for frame in frames]), positions[order])
    assert sizes.max() == window_patches(FULL_SIZE) == 64


@pytest.mark.parametrize(("height", "width"), [(2, 2), (4, 6), (16, 16), (18, 10), (2, 40), (34, 2)])
def test_windows_equal_the_slow_rule(height: int, width: int) -> None:
    frame = lay_out_frame(height, width, 2, 4)
    windows = slow_window_order(height, width, side=8)
    assert frame.window_sizes.tolist() == [len(window) for window in windows]
    assert [tuple(position) for position in frame.positions] == [patch for window in windows for patch in window]


def test_windows_hold_each_patch_once_and_are_put_back(batch: Batch) -> None:
    total = len(PACK.image_patches) + len(PACK.video_patches)
    flat_index = batch.tower.window_index.reshape(-1)
    np.testing.assert_array_equal(flat_index[batch.tower.window_position[:total]], np.arange(total))
    assert len(set(batch.tower.window_position[:total].tolist())) == total

    capacity = window_patches(CONSTANTS)
    window = batch.tower.window_position[:total] // capacity
    sizes = [len(w) for time, *side in grids_of(PACK) for _ in range(time) for w in slow_window_order(*side, side=4)]
    assert min(sizes) < capacity == max(sizes), "no border cuts a window"
    np.testing.assert_array_equal(np.bincount(window), sizes)
    keys = batch.tower.window_keys.reshape(-1, 2)[batch.tower.window_position[:total]]
    np.testing.assert_array_equal(keys[:, 0], 0)
    np.testing.assert_array_equal(keys[:, 1], np.repeat(sizes, sizes))


def test_rows_without_a_patch_see_only_each_other(batch: Batch) -> None:
    total = len(PACK.image_patches) + len(PACK.video_patches)
    index, keys, position = batch.tower
    assert np.all(keys[..., 0] < keys[..., 1])
    real = np.zeros(index.size, bool)
    real[position[:total]] = True
    sizes = real.reshape(index.shape).sum(axis=1)
    unused = ~real.reshape(index.shape)
    assert unused.any() and np.all(keys[unused][:, 0] == np.repeat(sizes, unused.sum(axis=1)))


def windows_counted_slowly(grids: list[tuple[int, int, int]]) -> int:
    """The windows that hold at least one merged cell, found cell by cell."""
    side = PACK_CONSTANTS.window_size // PACK_CONSTANTS.patch_size // PACK_CONSTANTS.merge_size
    found = {
        (number, time, row // side, column // side)
        for number, (t, h, w) in enumerate(grids)
        for time in range(t)
        for row in range(h // PACK_CONSTANTS.merge_size)
        for column in range(w // PACK_CONSTANTS.merge_size)
    }
    return len(found)


@given(st.lists(st.one_of(image_grids, video_grids), max_size=5))
def test_num_windows_equals_a_slow_count(grids: list[tuple[int, int, int]]) -> None:
    assert num_windows(np.array(grids, np.int32).reshape(-1, 3), PACK_CONSTANTS) == windows_counted_slowly(grids)


def test_windows_cut_at_the_border_count() -> None:
    whole, cut = np.array([[1, 8, 8]]), np.array([[1, 10, 8]])
    assert num_windows(whole, PACK_CONSTANTS) == 1
    assert num_windows(cut, PACK_CONSTANTS) == 2
