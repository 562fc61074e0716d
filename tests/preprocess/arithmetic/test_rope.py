"""Properties of 3D positions, against a walk from token to token; the reference is in test_golden_rope.py."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from preprocess.arithmetic.rope import num_positions, position_ids
from preprocess.arithmetic.runs import Run, TextRun, VisualRun
from shards import ModelConstants

thorough = settings(
    derandomize=True, max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

text_runs = st.builds(TextRun, num_tokens=st.integers(0, 9))
grids = st.tuples(st.integers(1, 6), st.integers(1, 5).map(lambda n: 2 * n), st.integers(1, 5).map(lambda n: 2 * n))
visual_spans = st.builds(VisualRun, grid_thw=grids, second_per_grid=st.sampled_from([0.0, 0.04, 0.5, 1.0, 1.33, 5.0]))
conversations = st.lists(st.one_of(text_runs, visual_spans), max_size=6).map(
    lambda runs: [TextRun(num_tokens=3), *runs]
)


def walk(runs: list[Run], tokens_per_second: float) -> list[tuple[int, int, int]]:
    """(time, height, width) of one token after another."""
    positions: list[tuple[int, int, int]] = []
    for run in runs:
        start = 1 + max((max(position) for position in positions), default=-1)
        if isinstance(run, TextRun):
            positions += [(start + i, start + i, start + i) for i in range(run.num_tokens)]
            continue
        t, h, w = run.grid_thw
        for i in range(t):
            time = int(np.float32(np.float32(i) * np.float32(run.second_per_grid)) * np.float32(tokens_per_second))
            positions += [(start + time, start + j, start + k) for j in range(h // 2) for k in range(w // 2)]
    return positions


@thorough
@given(conversations)
def test_positions_are_those_of_a_walk(constants: ModelConstants, runs: list[Run]) -> None:
    positions = position_ids(runs, constants)
    assert positions.dtype == np.int32
    assert num_positions(runs, constants) == positions.max() + 1
    assert positions.T.tolist() == [list(position) for position in walk(runs, constants.tokens_per_second)]


@thorough
@given(conversations)
def test_nothing_stands_before_what_came_earlier(constants: ModelConstants, runs: list[Run]) -> None:
    """Every run begins one after the largest position so far, in all three rows."""
    positions = position_ids(runs, constants)
    assert positions[:, 0].tolist() == [0, 0, 0]
    start = 0
    for run in runs:
        length = run.num_tokens if isinstance(run, TextRun) else int(np.prod(run.grid_thw)) // 4
        if start and length:
            assert set(positions[:, start]) == {positions[:, :start].max() + 1}
            assert positions[:, start : start + length].min() == positions[0, start]
        start += length
    assert start == positions.shape[1]


@pytest.mark.parametrize("length", [1, 2, 1000])
def test_text_only_has_three_equal_rows(length: int, constants: ModelConstants) -> None:
    assert position_ids([TextRun(num_tokens=length)], constants).tolist() == [list(range(length))] * 3


def test_a_long_video_pushes_the_text_behind_it_by_its_time_not_its_sides(constants: ModelConstants) -> None:
    video = VisualRun(grid_thw=(4, 4, 4), second_per_grid=5.0)
    positions = position_ids([TextRun(num_tokens=3), video, TextRun(num_tokens=1)], constants)
    assert positions[0, 3:-1:4].tolist() == [3, 13, 23, 33]
    assert positions[:, -1].tolist() == [34, 34, 34]


def test_times_are_multiplied_in_float32(constants: ModelConstants) -> None:
    """165 frames at 25 a second, 12 sampled: 5 * 1.1 * 2 is 11 in float32, and just below it in float64."""
    seconds = 2 / (12 / (165 / 25.0))
    assert int(5 * seconds * 2) == 10
    assert position_ids([VisualRun(grid_thw=(6, 2, 2), second_per_grid=seconds)], constants)[0, 5] == 11
