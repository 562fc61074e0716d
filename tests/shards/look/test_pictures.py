"""Pixels rebuilt from patches are those that preprocessing cut up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from preprocess.arithmetic.patches import patchify_image, patchify_video
from shards import ModelConstants
from shards.look.pictures import Pixels, frames_of, rebuild_frames, rebuild_image
from shards.segments import cut_segments
from tests.shards.packs import CONSTANTS, make_pack

SIDES = st.integers(1, 4)
ODD_CONSTANTS = replace(CONSTANTS, patch_size=3, merge_size=3, temporal_patch_size=4)


def planes(pixels: Pixels) -> Pixels:
    """(H, W, 3) -> (3, H, W), the form in which preprocessing cuts pixels up."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


@given(height=SIDES, width=SIDES, seed=st.integers(0, 99), constants=st.sampled_from([CONSTANTS, ODD_CONSTANTS]))
def test_an_image_comes_back(height: int, width: int, seed: int, constants: ModelConstants) -> None:
    factor, p = constants.grid_factor, constants.patch_size
    image = np.random.default_rng(seed).integers(0, 256, (height * factor, width * factor, 3), np.uint8)
    grid = (1, image.shape[0] // p, image.shape[1] // p)
    np.testing.assert_array_equal(rebuild_image(patchify_image(planes(image), constants), grid, constants), image)


@given(
    num_frames=st.integers(1, 9),
    height=SIDES,
    width=SIDES,
    seed=st.integers(0, 99),
    constants=st.sampled_from([CONSTANTS, ODD_CONSTANTS]),
)
def test_a_video_comes_back_with_its_repeated_last_frame(
    num_frames: int, height: int, width: int, seed: int, constants: ModelConstants
) -> None:
    factor, p, tp = constants.grid_factor, constants.patch_size, constants.temporal_patch_size
    shape = (num_frames, height * factor, width * factor, 3)
    frames = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    grid = (-(-num_frames // tp), frames.shape[1] // p, frames.shape[2] // p)
    rebuilt = rebuild_frames(patchify_video([*map(planes, frames)], constants), grid, constants)
    assert len(rebuilt) % tp == 0
    np.testing.assert_array_equal(rebuilt[:num_frames], frames)
    np.testing.assert_array_equal(rebuilt[num_frames:], np.repeat(frames[-1:], len(rebuilt) - num_frames, axis=0))


def test_each_medium_of_a_pack_is_cut_out_of_its_patches() -> None:
    pack = make_pack(texts=(4,), images=[(1, 2, 4), (1, 4, 2)], videos=[(1, 2, 2), (2, 2, 4)])
    [segment] = cut_segments(pack, CONSTANTS)
    found = {(span.kind, span.index): frames_of(pack, span, CONSTANTS) for span in segment.spans}
    shapes = {key: frames.shape for key, frames in found.items()}
    assert shapes == {
        ("image", 0): (1, 28, 56, 3),
        ("image", 1): (1, 56, 28, 3),
        ("video", 0): (2, 28, 28, 3),
        ("video", 1): (4, 28, 56, 3),
    }
    np.testing.assert_array_equal(patchify_image(planes(found["image", 1][0]), CONSTANTS), pack.image_patches[8:])
    np.testing.assert_array_equal(patchify_video([*map(planes, found["video", 1])], CONSTANTS), pack.video_patches[4:])
