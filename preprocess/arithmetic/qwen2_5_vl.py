"""Qwen2.5-VL: absolute time in positions, sizes limited frame by frame, boxes in pixels of the resized image.

Source: QwenLM's fine-tuning scripts (qwen-vl-finetune).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from preprocess.arithmetic.qwen_vl import DEFAULT_SYSTEM, frame_size, image_size, sample_frames, spell_tools
from preprocess.arithmetic.runs import VisualRun
from shards import ModelConstants

__all__ = [
    "box_sides",
    "default_system",
    "frame_size",
    "frames_rows_first",
    "image_size",
    "sample_frames",
    "spell_tools",
    "temporal_positions",
    "video_pieces",
]


def default_system() -> str:
    return DEFAULT_SYSTEM


def frames_rows_first() -> bool:
    """Frames are resized as images: `video_decord` of the scripts hands them to the image processor."""
    return False


def video_pieces(
    grid_thw: tuple[int, int, int], frame_indices: Sequence[int], fps: float, second_per_grid: float
) -> Sequence[str | VisualRun]:
    """All pads in one run."""
    return (VisualRun(grid_thw=grid_thw, second_per_grid=second_per_grid),)


def temporal_positions(span: VisualRun, constants: ModelConstants) -> npt.NDArray[np.int64]:
    """Seconds times tokens_per_second: `get_rope_index_25` of the scripts (qwenvl/data/rope2d.py).

    Its arithmetic is PyTorch float32. transformers 4.57.1 casts the seconds to an integer first and is not followed.
    """
    # Multiplied in float32 and in this order, like the reference: float64 truncates differently.
    seconds = np.arange(span.grid_thw[0], dtype=np.float32) * np.float32(span.second_per_grid)
    return (seconds * np.float32(constants.tokens_per_second)).astype(np.int64)


def box_sides(height: int, width: int) -> tuple[int, int]:
    """Pixels of the resized image."""
    return height, width
