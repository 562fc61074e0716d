"""The order of patches, against a loop over single patches; values are compared with the reference elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from preprocess.arithmetic.patches import patchify_image, patchify_video
from shards import ModelConstants

Pixels = npt.NDArray[np.uint8]
thorough = settings(
    derandomize=True, max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def corners(height: int, width: int, constants: ModelConstants) -> Iterator[tuple[int, int]]:
    """Top left pixel of each patch: the patches of one token together, the tokens row by row."""
    p, m = constants.patch_size, constants.merge_size
    for token_y in range(0, height, m * p):
        for token_x in range(0, width, m * p):
            for y in range(token_y, token_y + m * p, p):
                for x in range(token_x, token_x + m * p, p):
                    yield y, x


def slow_video_patches(frames: Pixels, constants: ModelConstants) -> Pixels:
    tp, p = constants.temporal_patch_size, constants.patch_size
    padded = [frames[min(number, len(frames) - 1)] for number in range(-(-len(frames) // tp) * tp)]
    rows = []
    for first in range(0, len(padded), tp):
        for y, x in corners(*frames.shape[2:], constants):
            values = [
                padded[frame][channel, y : y + p, x : x + p].ravel()
                for channel in range(3)
                for frame in range(first, first + tp)
            ]
            rows.append(np.concatenate(values))
    return np.array(rows)


@st.composite
def videos(draw: st.DrawFn) -> tuple[Pixels, dict[str, int]]:
    """Frames and the sizes that they are cut by; small, so that patches, tokens and frames of all kinds occur."""
    sizes = {
        "patch_size": draw(st.integers(1, 4)),
        "merge_size": draw(st.integers(1, 3)),
        "temporal_patch_size": draw(st.integers(1, 3)),
    }
    side = sizes["patch_size"] * sizes["merge_size"]
    shape = (draw(st.integers(1, 5)), 3, side * draw(st.integers(1, 4)), side * draw(st.integers(1, 4)))
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), sizes


@thorough
@given(videos())
def test_video_patches_stand_where_the_loop_puts_them(
    constants: ModelConstants, video: tuple[Pixels, dict[str, int]]
) -> None:
    frames, sizes = video
    constants = replace(constants, **sizes)
    assert np.array_equal(patchify_video(frames, constants), slow_video_patches(frames, constants))


@thorough
@given(videos())
def test_an_image_is_stored_as_one_of_its_equal_frames(
    constants: ModelConstants, video: tuple[Pixels, dict[str, int]]
) -> None:
    frames, sizes = video
    constants = replace(constants, **sizes)
    image = frames[0]
    per_frame = (-1, 3, constants.temporal_patch_size, constants.patch_size**2)
    as_video = patchify_video(np.stack([image] * constants.temporal_patch_size), constants).reshape(per_frame)
    as_image = patchify_image(image, constants)
    for frame in range(constants.temporal_patch_size):
        assert np.array_equal(as_video[:, :, frame].reshape(as_image.shape), as_image)


@thorough
@given(videos())
def test_the_image_comes_back_from_its_patches(constants: ModelConstants, video: tuple[Pixels, dict[str, int]]) -> None:
    frames, sizes = video
    constants = replace(constants, **sizes)
    image, p = frames[0], constants.patch_size
    patches = patchify_image(image, constants)
    rebuilt = np.zeros_like(image)
    for (y, x), patch in zip(corners(*image.shape[1:], constants), patches, strict=True):
        rebuilt[:, y : y + p, x : x + p] = patch.reshape(3, p, p)
    assert np.array_equal(rebuilt, image)


def test_published_sizes(constants: ModelConstants) -> None:
    assert patchify_image(np.zeros((3, 56, 84), np.uint8), constants).shape == (24, 588)
    assert patchify_video(np.zeros((3, 3, 56, 84), np.uint8), constants).shape == (48, 1176)


def test_an_odd_number_of_frames_repeats_the_last(constants: ModelConstants) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, 28, 56), dtype=np.uint8)
    repeated = np.concatenate([frames, frames[-1:]])
    assert np.array_equal(patchify_video(frames, constants), patchify_video(repeated, constants))
    assert not np.array_equal(patchify_video(frames, constants)[-8:], patchify_video(frames[1:], constants)[-8:])
