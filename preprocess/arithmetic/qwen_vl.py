"""What is the same in all families of Qwen's: which frames, which sizes, and how tools are spelled."""

from __future__ import annotations

from collections.abc import Sequence

from preprocess.arithmetic import tools
from preprocess.arithmetic.geometry import FrameSampling, PixelLimits, choose_frames, resized_frame, smart_resize
from preprocess.sample import Turn
from shards import ModelConstants

DEFAULT_SYSTEM = "You are a helpful assistant."  # of those that have one


def spell_tools(turns: Sequence[Turn]) -> Sequence[Turn]:
    """As in Qwen2.5: Qwen3-VL's template has its words, those of Qwen2-VL and Qwen2.5-VL have nothing for tools."""
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
