"""3D rope positions of one sample.

Source: `get_rope_index_25` of QwenLM's fine-tuning scripts (qwen-vl-finetune/qwenvl/data/rope2d.py), whose time
arithmetic is PyTorch float32. transformers 4.57.1 casts the seconds to an integer first and is not followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shards import ModelConstants


@dataclass(frozen=True, kw_only=True, slots=True)
class TextRun:
    """Consecutive tokens that are not visual; vision_start and vision_end belong to text."""

    num_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class VisualSpan:
    """The pad tokens of one image or video."""

    grid_thw: tuple[int, int, int]  # patches
    second_per_grid: float  # seconds; 0 for an image


Run = TextRun | VisualSpan


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


def _visual_positions(span: VisualSpan, constants: ModelConstants) -> npt.NDArray[np.int64]:
    """(3, t * h * w) over visual tokens, t-major, then rows, then columns; from 0."""
    num_times = span.grid_thw[0]
    num_rows, num_columns = (side // constants.merge_size for side in span.grid_thw[1:])
    if constants.tokens_per_second:
        # Multiplied in float32 and in this order, like the reference: float64 truncates differently.
        seconds = np.arange(num_times, dtype=np.float32) * np.float32(span.second_per_grid)
        times = (seconds * np.float32(constants.tokens_per_second)).astype(np.int64)
    else:
        times = np.arange(num_times)
    shape = (num_times, num_rows, num_columns)
    return np.stack(
        [
            np.broadcast_to(times[:, None, None], shape),
            np.broadcast_to(np.arange(num_rows)[None, :, None], shape),
            np.broadcast_to(np.arange(num_columns)[None, None, :], shape),
        ]
    ).reshape(3, -1)
