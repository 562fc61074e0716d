"""Sizes and frame choice: the rules that families choose from. Pure functions over integers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from preprocess.errors import Reason, SampleError
from shards import ModelConstants

Grid = tuple[int, int, int]  # patches: time, height, width

MAX_ASPECT_RATIO = 200
TURNED_SIDEWAYS = {5, 6, 7, 8}  # EXIF orientations that swap height and width


@dataclass(frozen=True, kw_only=True)
class PixelLimits:
    """Bounds on height * width after resizing, in pixels."""

    min_pixels: int
    max_pixels: int
    over_all_frames: bool = False  # of a video: on the sum over its sampled frames


SamplingRule = Literal["interval", "qwen3"]


@dataclass(frozen=True, kw_only=True)
class FrameSampling:
    base_interval: float  # seconds between sampled frames, before the bounds; of the rule "interval"
    min_frames: int
    max_frames: int
    rule: SamplingRule = "interval"
    rate: float = 2.0  # sampled frames per second, before the bounds; of the rule "qwen3"


def smart_resize(height: int, width: int, factor: int, limits: PixelLimits) -> tuple[int, int]:
    """Height and width, multiples of `factor`, with an area within `limits` and about the same aspect ratio.

    Extreme shapes can exceed max_pixels, because a side never falls below `factor`. Rounding is half-to-even.
    Raises SampleError for an aspect ratio over 200. Source: transformers 4.57.1, `smart_resize` of
    models/qwen2_vl/image_processing_qwen2_vl.py.
    """
    check_aspect_ratio(height, width)
    resized_height = round(height / factor) * factor
    resized_width = round(width / factor) * factor
    if resized_height * resized_width > limits.max_pixels:
        shrink = math.sqrt(height * width / limits.max_pixels)
        resized_height = max(factor, math.floor(height / shrink / factor) * factor)
        resized_width = max(factor, math.floor(width / shrink / factor) * factor)
    elif resized_height * resized_width < limits.min_pixels:
        grow = math.sqrt(limits.min_pixels / (height * width))
        resized_height = math.ceil(height * grow / factor) * factor
        resized_width = math.ceil(width * grow / factor) * factor
    return resized_height, resized_width


def resized_frame(
    num_sampled: int, height: int, width: int, limits: PixelLimits, constants: ModelConstants
) -> tuple[int, int]:
    """The size of each of the sampled frames of a video: as an image, or by limits over all frames.

    Raises SampleError (aspect_ratio; unsupported where the limits are over all frames and a side is below one cell).
    Source of the second rule: transformers 4.57.1, `smart_resize` of models/qwen3_vl/video_processing_qwen3_vl.py. It
    also refuses videos of one frame; here that one counts as the temporal patch that it fills.
    """
    factor, tp = constants.grid_factor, constants.temporal_patch_size
    if not limits.over_all_frames:
        return smart_resize(height, width, factor, limits)
    if min(height, width) < factor:
        raise SampleError(
            Reason.UNSUPPORTED,
            f"{width}x{height} pixels: limits over all frames (video_total_pixels) have no rule for sides below "
            f"{factor}; leave them out, or the video",
        )
    check_aspect_ratio(height, width)
    num_counted = max(num_sampled, tp)
    resized_height, resized_width = (round(side / factor) * factor for side in (height, width))
    volume = round(num_counted / tp) * tp * resized_height * resized_width
    if volume > limits.max_pixels:
        shrink = math.sqrt(num_counted * height * width / limits.max_pixels)
        resized_height = max(factor, math.floor(height / shrink / factor) * factor)
        resized_width = max(factor, math.floor(width / shrink / factor) * factor)
    elif volume < limits.min_pixels:
        grow = math.sqrt(limits.min_pixels / (num_counted * height * width))
        resized_height = math.ceil(height * grow / factor) * factor
        resized_width = math.ceil(width * grow / factor) * factor
    return resized_height, resized_width


def check_aspect_ratio(height: int, width: int) -> None:
    """Raises SampleError where one side is more than 200 times the other."""
    if max(height, width) / min(height, width) > MAX_ASPECT_RATIO:
        raise SampleError(
            Reason.ASPECT_RATIO,
            f"{width}x{height} pixels: one side is more than {MAX_ASPECT_RATIO} times the other; crop it",
        )


def choose_frames(num_frames: int, fps: float, sampling: FrameSampling) -> tuple[int, ...]:
    """Indices of the frames that stand for a video by the rule of `sampling`, strictly increasing."""
    rules = {"interval": sample_evenly, "qwen3": sample_at_rate}
    return rules[sampling.rule](num_frames, fps, sampling)


def sample_at_rate(num_frames: int, fps: float, sampling: FrameSampling) -> tuple[int, ...]:
    """Evenly spread, first and last included: so many a second, within the bounds on their number.

    Source: transformers 4.57.1, `sample_frames` of models/qwen3_vl/video_processing_qwen3_vl.py.
    """
    wanted = int(num_frames / fps * sampling.rate)
    wanted = min(max(wanted, sampling.min_frames), sampling.max_frames, num_frames)
    return tuple(int(index) for index in np.linspace(0, num_frames - 1, wanted).round())


def sample_evenly(num_frames: int, fps: float, sampling: FrameSampling) -> tuple[int, ...]:
    """Indices of the frames that stand for a video: evenly spread, first and last included, without repeats.

    About one every `base_interval`, within the bounds on their number.
    Source: QwenLM's fine-tuning scripts, `video_decord`.
    """
    duration = num_frames / fps
    wanted = min(max(round(duration / sampling.base_interval), sampling.min_frames), sampling.max_frames)
    return tuple(int(index) for index in np.unique(np.linspace(0, num_frames - 1, wanted).astype(np.int64)))


def seconds_per_grid(num_sampled: int, duration: float, temporal_patch_size: int) -> float:
    """Seconds that one temporal patch covers. Source: QwenLM's fine-tuning scripts, `process_video_frames`."""
    return temporal_patch_size / (num_sampled / duration)


def num_temporal_patches(num_sampled: int, temporal_patch_size: int) -> int:
    """The last frame is repeated to fill the last temporal patch."""
    return -(-num_sampled // temporal_patch_size)


def grid_size(grid_thw: tuple[int, int, int], constants: ModelConstants) -> tuple[int, int]:
    """Height and width in pixels."""
    return grid_thw[1] * constants.patch_size, grid_thw[2] * constants.patch_size
