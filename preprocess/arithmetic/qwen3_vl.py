"""Qwen3-VL: each temporal patch of a video stands alone, after its time as text; boxes in thousandths of the image.

    <0.3 seconds><|vision_start|><|video_pad|>...<|vision_end|><2.3 seconds><|vision_start|>...

Sources: transformers 4.57.1, models/qwen3_vl/processing_qwen3_vl.py; `get_rope_index_3` of QwenLM's fine-tuning
scripts (qwenvl/data/rope2d.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from preprocess.arithmetic.qwen_vl import frame_size, image_size, sample_frames, spell_tools
from preprocess.arithmetic.runs import VisualRun
from shards import ModelConstants
from shards.families.qwen3_vl import FRAMES_OF_A_PATCH, video_runs

__all__ = [
    "box_sides",
    "default_system",
    "frame_size",
    "frames_rows_first",
    "image_size",
    "sample_frames",
    "spell_tools",
    "temporal_positions",
    "time_stamps",
    "video_pieces",
]


def default_system() -> None:
    """None: a conversation without a system turn stays without."""


def frames_rows_first() -> bool:
    """As torchvision does, which resizes videos in transformers: what then differs is one value in a hundred, by 2."""
    return True


def video_pieces(
    grid_thw: tuple[int, int, int], frame_indices: Sequence[int], fps: float, second_per_grid: float
) -> Sequence[str | VisualRun]:
    """Of each temporal patch its time, then its pads."""
    pieces: list[str | VisualRun] = []
    for time, grid in zip(time_stamps(frame_indices, fps), video_runs(grid_thw), strict=True):
        pieces += [f"<{time:.1f} seconds>", VisualRun(grid_thw=grid, second_per_grid=second_per_grid)]
    return pieces


def time_stamps(frame_indices: Sequence[int], fps: float) -> list[float]:
    """(gt,) seconds: the middle between the two frames of each temporal patch, the last of which the last frame fills.

    Source: transformers 4.57.1, `Qwen3VLProcessor._calculate_timestamps`.
    """
    assert FRAMES_OF_A_PATCH == 2
    missing = len(frame_indices) % 2
    # Two divisions: (a + b) / fps / 2 is another text for one pair in seventy.
    seconds = [index / fps for index in [*frame_indices, *[frame_indices[-1]] * missing]]
    return [(first + last) / 2 for first, last in zip(seconds[::2], seconds[1::2], strict=True)]


def temporal_positions(span: VisualRun, constants: ModelConstants) -> npt.NDArray[np.int64]:
    """All at the same time: what comes later in a video stands further on in the text (`get_rope_index_3`)."""
    return np.zeros(span.grid_thw[0], np.int64)


def box_sides(height: int, width: int) -> tuple[int, int]:
    """Thousandths, whatever the size."""
    return 1000, 1000
