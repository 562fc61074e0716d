"""Qwen2-VL: Qwen2.5-VL without seconds in positions, and with boxes in thousandths of the image."""

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
    """Frames are resized as images, as in Qwen2.5-VL."""
    return False


def video_pieces(
    grid_thw: tuple[int, int, int], frame_indices: Sequence[int], fps: float, second_per_grid: float
) -> Sequence[str | VisualRun]:
    """All pads in one run."""
    return (VisualRun(grid_thw=grid_thw, second_per_grid=second_per_grid),)


def temporal_positions(span: VisualRun, constants: ModelConstants) -> npt.NDArray[np.int64]:
    """One step a temporal patch: `get_rope_index_2` of QwenLM's fine-tuning scripts (qwenvl/data/rope2d.py)."""
    return np.arange(span.grid_thw[0])


def box_sides(height: int, width: int) -> tuple[int, int]:
    """Thousandths, whatever the size."""
    return 1000, 1000
