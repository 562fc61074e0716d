"""Which frames of a video, and which sizes: headers -> grids, by the rules of the family of `constants`."""

from __future__ import annotations

import math
from dataclasses import replace

from preprocess.arithmetic.families import family_of
from preprocess.arithmetic.geometry import FrameSampling, Grid, PixelLimits, grid_size, num_temporal_patches
from preprocess.errors import Reason, SampleError
from preprocess.sample import PLAIN, MediumSettings
from shards import ModelConstants


def sample_frames(
    num_frames: int, fps: float, sampling: FrameSampling, constants: ModelConstants, settings: MediumSettings = PLAIN
) -> tuple[int, ...]:
    """Indices of the frames that stand for a video, strictly increasing, as its own settings ask for them.

    Raises SampleError (no_frames_or_rate) where it has none between its start and end.
    """
    first, num_within = clip(num_frames, fps, settings)
    if settings.num_frames or settings.is_listed:
        wanted = settings.num_frames or min(num_within, sampling.max_frames)
        sampling = replace(sampling, min_frames=wanted, max_frames=wanted)
    elif settings.fps:
        sampling = replace(sampling, base_interval=1 / settings.fps, rate=settings.fps)
    chosen = family_of(constants.model_type).sample_frames(num_within, fps, sampling)
    return tuple(first + index for index in chosen) if first else chosen


def clip(num_frames: int, fps: float, settings: MediumSettings) -> tuple[int, int]:
    """The first frame between start and end of a video, and how many there are. Raises SampleError.

    Source: qwen-vl-utils 0.0.14, `calculate_video_frame_range`.
    """
    duration = num_frames / fps
    first = math.ceil(min(settings.start, duration) * fps)
    last = min(math.floor(min(settings.end, duration) * fps), num_frames - 1) if settings.end else num_frames - 1
    if last < first:
        raise SampleError(
            Reason.NO_FRAMES_OR_RATE,
            f"no frame is between {settings.start:g} and {settings.end or duration:g} s; it lasts {duration:g} s",
        )
    return first, last - first + 1


def asked_limits(limits: PixelLimits, settings: MediumSettings) -> PixelLimits:
    """Those of the run, but for what a medium asks for itself: of each frame, of a video. Raises SampleError."""
    least, most = settings.min_pixels or limits.min_pixels, settings.max_pixels or limits.max_pixels
    if (least, most) == (limits.min_pixels, limits.max_pixels):
        return limits
    if limits.over_all_frames and not settings.min_pixels:
        least = 0
    if least > most:
        raise SampleError(
            Reason.UNSUPPORTED,
            f"its min_pixels would be {least}, its max_pixels {most}: the other one is the run's; say both",
        )
    return PixelLimits(min_pixels=least, max_pixels=most)


def image_grid(height: int, width: int, limits: PixelLimits, constants: ModelConstants) -> Grid:
    """grid_thw of an image of that size in pixels. Raises SampleError (aspect_ratio)."""
    size = family_of(constants.model_type).image_size(height, width, limits, constants)
    return _grid(1, size, constants)


def video_grid(num_sampled: int, height: int, width: int, limits: PixelLimits, constants: ModelConstants) -> Grid:
    """grid_thw of so many frames of that size in pixels. Raises SampleError (aspect_ratio)."""
    size = family_of(constants.model_type).frame_size(num_sampled, height, width, limits, constants)
    return _grid(num_temporal_patches(num_sampled, constants.temporal_patch_size), size, constants)


def box_sides(grid_thw: Grid, constants: ModelConstants) -> tuple[int, int]:
    """What the lower and the right edge of an image are in the coordinates that answers should have."""
    return family_of(constants.model_type).box_sides(*grid_size(grid_thw, constants))


def _grid(num_times: int, size: tuple[int, int], constants: ModelConstants) -> Grid:
    height, width = size
    return num_times, height // constants.patch_size, width // constants.patch_size
