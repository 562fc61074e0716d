"""Which frames of a video, and which sizes: headers -> grids, by the rules of the family of `constants`."""

from __future__ import annotations

from preprocess.arithmetic.families import family_of
from preprocess.arithmetic.geometry import FrameSampling, Grid, PixelLimits, grid_size, num_temporal_patches
from shards import ModelConstants


def sample_frames(num_frames: int, fps: float, sampling: FrameSampling, constants: ModelConstants) -> tuple[int, ...]:
    """Indices of the frames that stand for a video, strictly increasing."""
    return family_of(constants.model_type).sample_frames(num_frames, fps, sampling)


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
