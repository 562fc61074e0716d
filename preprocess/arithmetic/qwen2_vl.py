"""Qwen2-VL: Qwen2.5-VL without seconds in positions, and with boxes in thousandths of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from preprocess.arithmetic import tools
from preprocess.arithmetic.geometry import FrameSampling, PixelLimits, choose_frames, resized_frame, smart_resize
from preprocess.arithmetic.runs import VisualRun
from preprocess.sample import Turn
from shards import ModelConstants

DEFAULT_SYSTEM = "You are a helpful assistant."


def default_system() -> str:
    return DEFAULT_SYSTEM


def spell_tools(turns: Sequence[Turn]) -> Sequence[Turn]:
    """As in Qwen2.5; the template of Qwen2-VL has nothing for tools."""
    return tools.spell_tools(turns)


def sample_frames(num_frames: int, fps: float, sampling: FrameSampling) -> tuple[int, ...]:
    return choose_frames(num_frames, fps, sampling)


def image_size(height: int, width: int, limits: PixelLimits, constants: ModelConstants) -> tuple[int, int]:
    """Raises SampleError (aspect_ratio)."""
    return smart_resize(height, width, constants.grid_factor, limits)


def frame_size(
    num_sampled: int, height: int, width: int, limits: PixelLimits, constants: ModelConstants
) -> tuple[int, int]:
    """Raises SampleError (aspect_ratio; unsupported where the limits are over all frames)."""
    return resized_frame(num_sampled, height, width, limits, constants)


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
