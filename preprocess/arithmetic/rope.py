"""3D rope positions of one sample. The family says where in time the patches of an image or video stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from preprocess.arithmetic.families import family_of
from preprocess.arithmetic.runs import Run, TextRun, VisualRun
from shards import ModelConstants


def position_ids(runs: Sequence[Run], constants: ModelConstants) -> npt.NDArray[np.int32]:
    """(3, S): temporal, height and width position of every token, starting at 0."""
    columns: list[npt.NDArray[np.int64]] = []
    start = 0
    for run in runs:
        if isinstance(run, TextRun):
            column = np.broadcast_to(np.arange(run.num_tokens), (3, run.num_tokens)) + start
        else:
            column = _visual_positions(run, constants) + start
        if column.shape[1]:
            columns.append(column)
            start = int(column.max()) + 1
    return np.concatenate(columns, axis=1).astype(np.int32)


def num_positions(runs: Sequence[Run], constants: ModelConstants) -> int:
    """One more than the highest of `position_ids`, without making them. They fit where this is at most 2 ** 31."""
    start = 0
    for run in runs:
        if isinstance(run, TextRun):
            start += run.num_tokens
        else:
            times = family_of(constants.model_type).temporal_positions(run, constants)
            start += max(int(times.max()), *(side // constants.merge_size - 1 for side in run.grid_thw[1:])) + 1
    return start


def _visual_positions(span: VisualRun, constants: ModelConstants) -> npt.NDArray[np.int64]:
    """(3, t * h * w) over visual tokens, t-major, then rows, then columns; from 0."""
    num_times = span.grid_thw[0]
    num_rows, num_columns = (side // constants.merge_size for side in span.grid_thw[1:])
    times = family_of(constants.model_type).temporal_positions(span, constants)
    shape = (num_times, num_rows, num_columns)
    return np.stack(
        [
            np.broadcast_to(times[:, None, None], shape),
            np.broadcast_to(np.arange(num_rows)[None, :, None], shape),
            np.broadcast_to(np.arange(num_columns)[None, None, :], shape),
        ]
    ).reshape(3, -1)
