"""Which pass comes first in which version of Pillow, and Pillow's pixels as they lie in memory."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
from PIL import Image

from preprocess.pixels.kernel import Kernel, Target
from preprocess.pixels.passes import axes, by_pillow, is_columns_first, pixels_of

SQUARE, TALL, VERY_TALL = ((400, 400), (56, 56)), ((2089, 1080), (448, 504)), ((2010, 20), (700, 28))


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("10.1.0", [False, False, False]),
        ("12.1.1", [False, False, False]),
        ("12.2.0", [False, False, True]),
        ("13.0.0", [False, True, True]),
    ],
)
def test_each_version_has_its_order(version: str, expected: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.__version__", version)
    assert [is_columns_first(*sizes) for sizes in (SQUARE, TALL, VERY_TALL)] == expected


@pytest.mark.parametrize(("source", "size"), [SQUARE, TALL, VERY_TALL])
def test_the_other_order_gives_other_values(kernel: Kernel, source: tuple[int, int], size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*source, 3), dtype=np.uint8)
    sides = axes(kernel, source, size)
    assert sides is not None
    results = []
    for order in (is_columns_first(source, size), not is_columns_first(source, size)):
        planes = np.empty((3, *size), np.uint8)
        kernel.run(pixels, *sides, Target(planes.ctypes.data), is_columns_first=order)
        results.append(planes)
    np.testing.assert_array_equal(results[0], by_pillow(pixels, size))
    assert (results[0] != results[1]).any()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.skipif(PIL.__version__ < "13", reason="is not safe with every image of older versions")
def test_pixels_are_a_view_of_pillows_memory(mode: str) -> None:
    image = Image.effect_noise((40, 30), 90).convert(mode).copy()
    pixels = pixels_of(image)
    assert pixels.shape == ((30, 40, 4) if mode == "RGB" else (30, 40))
    image.putpixel((39, 0), 7 if mode == "L" else (7, 7, 7))
    np.testing.assert_array_equal(pixels[..., :3] if mode == "RGB" else pixels, np.asarray(image))
    assert np.shares_memory(pixels, pixels_of(image))


def test_pixels_outlive_the_image() -> None:
    image = Image.new("RGB", (500, 400), (1, 2, 3))
    pixels = pixels_of(image)
    image.close()
    del image
    Image.new("RGB", (500, 400), (9, 9, 9))
    assert (pixels[..., :3] == (1, 2, 3)).all()


@pytest.mark.parametrize("shape", [(30, 40, 3), (30, 40)])
def test_pixels_in_a_foreign_buffer_are_copied(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(pixels_of(Image.fromarray(array))[..., :3], array[..., :3])


def test_an_image_in_several_blocks_is_copied() -> None:
    image = Image.new("RGB", (3000, 2000), (1, 2, 3))  # 24 MB, blocks of 16
    pixels = pixels_of(image)
    assert pixels.shape == (2000, 3000, 3)
    assert (pixels == (1, 2, 3)).all()
