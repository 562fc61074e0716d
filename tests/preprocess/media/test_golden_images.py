"""Pixels of every image kind equal those of the reference image processor, bit for bit."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import PIL
import pytest
from demo_images import KINDS
from PIL import Image

from preprocess.arithmetic.geometry import PixelLimits
from preprocess.media.images import encode_image, measure_image
from preprocess.media.pictures.upright import decode_rgb
from preprocess.sample import MeasuredImage, MediaSource
from shards import ModelConstants
from tests.preprocess.golden import GOLDEN, normalised, read_golden, read_golden_arrays, sha256

IMAGES = read_golden("images.json")
PICTURES: dict[str, Any] = IMAGES["pictures"]


@pytest.fixture(scope="module", autouse=True)
def same_pillow() -> None:
    """Pillow resizes differently from version to version, so there is nothing to compare under another one."""
    recorded = IMAGES["origin"]["pillow"]
    assert PIL.__version__ == recorded, (
        f"the golden pixels are of Pillow {recorded}, and this is Pillow {PIL.__version__}: install the versions of "
        "constraints.txt, or change Pillow there and run scripts/make_golden.py under the same one"
    )


def measure(source: MediaSource, limits: PixelLimits, constants: ModelConstants) -> MeasuredImage:
    return measure_image(source, limits, constants)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_has_the_pixels_of_the_reference(name: str, constants: ModelConstants) -> None:
    expected = PICTURES[name]
    path = GOLDEN / "media" / name
    assert hashlib.sha256(path.read_bytes()).hexdigest() == expected["file_sha256"], (
        f"{name} is not the file that the golden values were made of; check it out again, without line conversion"
    )
    with Image.open(path) as image:
        assert sha256(np.asarray(decode_rgb(image))) == expected["rgb_sha256"], "decoding differs, before any resizing"
    for limits, (min_pixels, max_pixels) in IMAGES["limits"].items():
        pixel_limits = PixelLimits(min_pixels=min_pixels, max_pixels=max_pixels)
        measured = measure(MediaSource(path=str(path)), pixel_limits, constants)
        assert [measured.height, measured.width] == expected["size"]
        assert list(measured.grid_thw) == expected["limits"][limits]["grid_thw"], limits
        values = normalised(encode_image(measured, constants), constants.image_mean, constants.image_std)
        assert sha256(values) == expected["limits"][limits]["pixel_values_sha256"], f"under the limits {limits}"


@pytest.mark.parametrize("name", whole := read_golden_arrays("images.npz"))
def test_values_kept_whole_are_equal_one_by_one(name: str, constants: ModelConstants) -> None:
    """Says by how much and where, when the hashes above say only that."""
    min_pixels, max_pixels = IMAGES["limits"][IMAGES["whole"]]
    source = MediaSource(path=str(GOLDEN / "media" / name))
    measured = measure(source, PixelLimits(min_pixels=min_pixels, max_pixels=max_pixels), constants)
    values = normalised(encode_image(measured, constants), constants.image_mean, constants.image_std)
    assert np.abs(values - whole[name]).max() == 0.0


def test_every_kind_of_the_demo_is_among_the_pictures() -> None:
    assert {f"demo_{name}{kind.suffix}" for name, kind in KINDS.items()} <= set(PICTURES)


def test_the_pictures_are_shrunk_and_grown_and_cover_what_decoding_rules_are_about() -> None:
    modes = set()
    for name in PICTURES:
        with Image.open(GOLDEN / "media" / name) as image:
            modes.add(image.mode)
    assert modes >= {"1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"}
    pixels = {limits: [] for limits in IMAGES["limits"]}
    for picture in PICTURES.values():
        for limits, expected in picture["limits"].items():
            height, width = picture["size"]
            pixels[limits].append(np.prod(expected["grid_thw"]) * 14 * 14 / (height * width))
    assert min(pixels["shrinking"]) < 0.1
    assert max(pixels["growing"]) > 5
    assert {tuple(picture["size"]) for picture in PICTURES.values()} >= {(1, 1), (200, 1), (900, 60), (45, 1100)}
