"""Patches straight from the resized rows are those that the planes would be cut into."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from preprocess.arithmetic.patches import patchify_image, patchify_video
from preprocess.pixels.kernel import VARIABLE
from preprocess.pixels.passes import by_pillow, is_columns_first
from preprocess.pixels.resize import resize, resize_to_patches, resize_video, turn_and_resize_to_patches
from shards import ModelConstants
from tests.preprocess.pixels.conftest import KERNELS

SIZES = [(56, 84), (28, 28), (140, 56)]  # from 90 x 70: (140, 56) goes up and down


@pytest.fixture(autouse=True)
def chosen(name: str, fresh_engine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, name)


@pytest.fixture(params=["pillow", *(kernel.loops for kernel in KERNELS)])
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_image_becomes_the_patches_of_its_planes(
    mode: str, size: tuple[int, int], constants: ModelConstants
) -> None:
    image = Image.effect_noise((70, 90), 120).convert(mode)
    expected = patchify_image(by_pillow(image.convert("RGB"), size), constants)
    np.testing.assert_array_equal(resize_to_patches(image, size, constants), expected)


def test_resizing_names_height_first() -> None:
    assert [plane.shape for plane in resize(Image.new("RGB", (10, 20)), (56, 28))] == [(56, 28)] * 3


def test_what_only_pillow_can_tell_is_asked_of_pillow(constants: ModelConstants) -> None:
    image = Image.effect_noise((2371, 30), 120).convert("RGB")
    expected = by_pillow(image, (28, 28))
    np.testing.assert_array_equal(resize(image, (28, 28)), expected)
    np.testing.assert_array_equal(resize_to_patches(image, (28, 28), constants), patchify_image(expected, constants))
    frame = np.asarray(image)
    np.testing.assert_array_equal(
        resize_video([frame] * 3, 3, (28, 28), constants), patchify_video([expected] * 3, constants)
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("height", "width"), [(90, 61), (61, 190), (300, 70), (84, 61), (56, 84), (84, 56)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_turning_comes_before_resizing(
    orientation: int, height: int, width: int, mode: str, constants: ModelConstants
) -> None:
    """One side, or both, may have no pass; of (300, 70) and its turns the order of the passes changes."""
    stored = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(
        mode
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    stored.save(file, "PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(file))
    expected = resize_to_patches(upright, (84, 56), constants)
    found = turn_and_resize_to_patches(np.asarray(stored), orientation, (84, 56), constants)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("num_frames", [1, 2, 5])
@pytest.mark.parametrize("size", SIZES)
def test_a_video_becomes_the_patches_of_its_planes(
    num_frames: int, size: tuple[int, int], constants: ModelConstants
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, 90, 70, 3), dtype=np.uint8)
    expected = patchify_video([by_pillow(frame, size) for frame in frames], constants)
    np.testing.assert_array_equal(resize_video(frames, num_frames, size, constants), expected)


def test_a_family_may_have_the_rows_first_in_frames(constants: ModelConstants) -> None:
    """Where Pillow has the columns first; of images it keeps Pillow's order."""
    qwen3 = replace(constants, model_type="qwen3_vl")
    source, size = (300, 70), (84, 56)
    assert is_columns_first(source, size)
    frame = np.random.default_rng(0).integers(0, 256, (*source, 3), dtype=np.uint8)
    rows = Image.fromarray(frame).resize((size[1], source[0]), Image.Resampling.BICUBIC)
    expected = patchify_video([by_pillow(rows, size)] * 3, constants)
    found = resize_video([frame] * 3, 3, size, qwen3)
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(found, resize_video([frame] * 3, 3, size, constants))
    image = resize_to_patches(frame, size, constants)
    np.testing.assert_array_equal(resize_to_patches(frame, size, qwen3), image)


def test_frames_may_be_views(constants: ModelConstants) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    turned = np.rot90(frame)
    expected = patchify_video([by_pillow(turned, (56, 28))], constants)
    np.testing.assert_array_equal(resize_video([turned], 1, (56, 28), constants), expected)


def test_frames_are_asked_for_one_by_one(constants: ModelConstants) -> None:
    overwritten: npt.NDArray[np.uint8] = np.zeros((90, 70, 3), np.uint8)

    def frames() -> Iterator[npt.NDArray[np.uint8]]:
        for number in range(5):
            overwritten[:] = number
            yield overwritten

    patches = resize_video(frames(), 5, (28, 28), constants)
    seen = patches.reshape(3, 4, 3, 2, 14, 14)[:, 0, 0, :, 0, 0]
    assert seen.tolist() == [[0, 1], [2, 3], [4, 4]]


@pytest.mark.parametrize("shapes", [[(90, 70, 3), (70, 90, 3)], [(90, 70, 3)], [(90, 70, 3)] * 3])
def test_other_frames_than_promised_are_a_mistake(shapes: list[tuple[int, ...]], constants: ModelConstants) -> None:
    with pytest.raises(ValueError, match="frame"):
        resize_video((np.zeros(shape, np.uint8) for shape in shapes), 2, (28, 28), constants)
