"""Pixels of Qwen3-VL: images equal those of the PIL processor bit for bit; frames are near those of torchvision."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest

from preprocess.arithmetic.geometry import PixelLimits, grid_size
from preprocess.arithmetic.grids import video_grid
from preprocess.media.images import encode_image, measure_image
from preprocess.pixels import resize_video
from preprocess.sample import MediaSource
from shards import ModelConstants
from tests.preprocess.golden import GOLDEN, normalised, read_golden, read_golden_arrays, sha256

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scripts" / "golden"))

from golden_frames import draw

FAMILIES = read_golden("families_pixels.json")
VIDEOS: dict[str, Any] = FAMILIES["videos"]
FRAMES = read_golden_arrays("families_pixels.npz")
MOST_LEVELS = 2  # that a value of a frame is off from torchvision's
SHARES = {"shrunk": 0.00384, "shrunk_a_little": 0.00277, "tall": 0.00293, "grown": 0.00526, "as_it_is": 0.0}


@pytest.fixture(scope="module", autouse=True)
def same_pillow() -> None:
    recorded = FAMILIES["origin"]["pillow"]
    assert PIL.__version__ == recorded, f"the golden pixels are of Pillow {recorded}, and this is {PIL.__version__}"


@pytest.fixture(scope="module")
def qwen3(constants: ModelConstants) -> ModelConstants:
    half = (0.5, 0.5, 0.5)
    return replace(constants, model_type="qwen3_vl", patch_size=16, window_size=0, image_mean=half, image_std=half)


@pytest.mark.parametrize("name", FAMILIES["pictures"])
def test_a_picture_has_the_pixels_of_the_reference(name: str, qwen3: ModelConstants) -> None:
    for limits, (min_pixels, max_pixels) in FAMILIES["limits"].items():
        expected = FAMILIES["pictures"][name][limits]
        source = MediaSource(path=str(GOLDEN / "media" / name))
        measured = measure_image(source, PixelLimits(min_pixels=min_pixels, max_pixels=max_pixels), qwen3)
        assert list(measured.grid_thw) == expected["grid_thw"], limits
        patches = encode_image(measured, qwen3)
        assert patches.shape[1] == 768
        values = normalised(patches, qwen3.image_mean, qwen3.image_std, patch_size=16)
        assert sha256(values) == expected["pixel_values_sha256"], f"under the limits {limits}"


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_are_near_those_of_torchvision(name: str, qwen3: ModelConstants) -> None:
    case = VIDEOS[name]
    frames = draw(case["seed"], *case["frames"][:3])
    assert sha256(frames) == case["frames_sha256"]
    least, most = case["limits"]
    limits = PixelLimits(min_pixels=least, max_pixels=most, over_all_frames=True)
    grid = video_grid(len(frames), *frames.shape[1:3], limits, qwen3)
    assert list(grid) == case["grid_thw"]
    patches = resize_video(iter(frames), len(frames), grid_size(grid, qwen3), qwen3)
    assert patches.shape == FRAMES[name].shape == (np.prod(grid), 1536)
    difference = np.abs(patches.astype(int) - FRAMES[name])
    assert difference.max() <= MOST_LEVELS
    assert (difference > 0).mean() == pytest.approx(SHARES[name], abs=5e-5)
