"""Video patches, given the frames, equal those of the reference processor, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
import pytest

from preprocess.arithmetic.geometry import PixelLimits, num_temporal_patches, smart_resize
from preprocess.pixels import resize_video
from shards import ModelConstants
from tests.preprocess.golden import normalised, read_golden, read_golden_arrays, sha256

VIDEOS = read_golden("videos.json")
CASES: dict[str, Any] = VIDEOS["cases"]


@pytest.fixture(scope="module", autouse=True)
def same_pillow() -> None:
    recorded = VIDEOS["origin"]["pillow"]
    assert PIL.__version__ == recorded, f"the golden patches are of Pillow {recorded}, and this is {PIL.__version__}"


def values_and_grid(name: str, constants: ModelConstants) -> tuple[npt.NDArray[np.float32], list[int]]:
    case = CASES[name]
    num_frames, height, width, _ = case["frames"]
    frames = np.random.default_rng(case["seed"]).integers(0, 256, case["frames"], dtype=np.uint8)
    min_pixels, max_pixels = case["limits"]
    limits = PixelLimits(min_pixels=min_pixels, max_pixels=max_pixels)
    size = smart_resize(height, width, constants.grid_factor, limits)
    patches = resize_video(frames, num_frames, size, constants)
    num_times = num_temporal_patches(num_frames, constants.temporal_patch_size)
    grid = [num_times, *(side // constants.patch_size for side in size)]
    return normalised(patches, constants.image_mean, constants.image_std), grid


@pytest.mark.parametrize("name", CASES)
def test_frames_have_the_patches_of_the_reference(name: str, constants: ModelConstants) -> None:
    values, grid = values_and_grid(name, constants)
    assert grid == CASES[name]["grid_thw"]
    assert len(values) == np.prod(grid)
    assert sha256(values) == CASES[name]["pixel_values_sha256"]


@pytest.mark.parametrize("name", whole := read_golden_arrays("videos.npz"))
def test_first_and_last_patches_are_equal_one_by_one(name: str, constants: ModelConstants) -> None:
    values, _ = values_and_grid(name, constants)
    assert np.abs(np.concatenate([values[:2], values[-2:]]) - whole[name]).max() == 0.0


def test_even_and_odd_numbers_of_frames_are_among_the_cases() -> None:
    assert {case["frames"][0] for case in CASES.values()} >= {1, 2, 3, 8}
