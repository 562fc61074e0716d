"""Where the patches of a frame fall in the table of learned positions, against the rule written down a second time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from shards import DamagedShard
from shards.families import qwen2_vl, qwen3_vl
from shards.families.family import Frame
from shards.families.frames import stored_order
from tests.shards.packs import CONSTANTS as PACK_CONSTANTS

SIDE = 48
CONSTANTS = replace(PACK_CONSTANTS, model_type="qwen3_vl", patch_size=16, window_size=0, position_grid=SIDE)


def place_slowly(number: int, num_patches: int) -> list[tuple[int, float]]:
    """Along one side, in float32 and in the order of torch.linspace: (row of the table, its weight), twice."""
    step = np.float32(SIDE - 1) / np.float32(num_patches - 1)
    if number < num_patches // 2:
        place = step * np.float32(number)
    else:
        place = np.float32(SIDE - 1) - step * np.float32(num_patches - 1 - number)
    before = int(place)
    share = float(place) - before
    return [(before, 1 - share), (min(before + 1, SIDE - 1), share)]


def dense(rows: Sequence[int], weights: Sequence[float]) -> np.ndarray:
    """(SIDE * SIDE,) what a patch takes of each row of the table."""
    table = np.zeros(SIDE * SIDE)
    np.add.at(table, np.asarray(rows), weights)
    return table


@pytest.mark.parametrize(("height", "width"), [(2, 2), (4, 6), (30, 48), (48, 48), (50, 94), (2, 100)])
def test_patches_take_from_the_corners_around_them(height: int, width: int) -> None:
    index, weight = qwen3_vl.place_frame(height, width, 2, SIDE)
    assert (index.dtype, weight.dtype, index.shape) == (np.int32, np.float32, (height * width, 4))
    np.testing.assert_allclose(weight.sum(axis=1), 1, rtol=1e-6)
    places = stored_order(height, width, 2).positions.tolist()
    for number in range(0, len(places), 7):
        row, column = places[number]
        expected = [
            (y * SIDE + x, share_y * share_x)
            for y, share_y in place_slowly(row, height)
            for x, share_x in place_slowly(column, width)
        ]
        np.testing.assert_allclose(dense(index[number], weight[number]), dense(*zip(*expected, strict=True)), atol=2e-5)


def test_every_row_of_the_table_is_its_own_patch_in_a_frame_of_its_size() -> None:
    index, weight = qwen3_vl.place_frame(SIDE, SIDE, 2, SIDE)
    places = stored_order(SIDE, SIDE, 2).positions
    np.testing.assert_array_equal(index[:, 0], places @ [SIDE, 1])
    np.testing.assert_array_equal(weight, np.broadcast_to([1, 0, 0, 0], weight.shape))


def test_frames_stand_one_after_another_and_padding_is_zero() -> None:
    frames = [Frame(4, 6, 0), Frame(2, 2, 24), Frame(2, 2, 28)]
    out = qwen3_vl.new_tower_inputs(40, 1, CONSTANTS)
    for array in out:
        array[:] = 77
    qwen3_vl.fill_tower_inputs(out, frames, CONSTANTS)
    for frame in frames:
        rows = slice(frame.first, frame.first + frame.num_patches)
        index, weight = qwen3_vl.place_frame(frame.grid_h, frame.grid_w, 2, SIDE)
        np.testing.assert_array_equal(out.position_index[rows], index)
        np.testing.assert_array_equal(out.position_weight[rows], weight)
    assert not out.position_index[32:].any() and not out.position_weight[32:].any()


def test_a_manifest_without_the_table_is_refused() -> None:
    out = qwen3_vl.new_tower_inputs(4, 1, CONSTANTS)
    with pytest.raises(DamagedShard, match="without position_grid"):
        qwen3_vl.fill_tower_inputs(out, [Frame(2, 2, 0)], replace(CONSTANTS, position_grid=0))


@pytest.mark.parametrize("family", [qwen2_vl, qwen3_vl])
def test_there_are_no_windows_and_patches_stay_as_they_are_stored(family) -> None:  # type: ignore[no-untyped-def]
    assert family.num_windows(np.array([[2, 4, 6]]), CONSTANTS) == 0
    expected = stored_order(4, 6, 2)
    for found, wanted in zip(family.order_frame(4, 6, CONSTANTS), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert len(family.tower_input_names()) == len(family.new_tower_inputs(4, 1, CONSTANTS))
