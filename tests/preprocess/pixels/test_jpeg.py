"""JPEG files decode to Pillow's pixels, or are left to Pillow."""

from __future__ import annotations

import io
import sys

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import preprocess.pixels.jpeg
from preprocess.pixels.jpeg import decode_jpeg, jpeg_content, why_pillow_decodes
from preprocess.pixels.kernel import VARIABLE


@pytest.fixture(autouse=True)
def fresh_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    why_pillow_decodes.cache_clear()


@pytest.fixture
def simplejpeg() -> None:
    pytest.importorskip("simplejpeg")
    assert why_pillow_decodes() == ""


def picture(mode: str = "RGB", size: tuple[int, int] = (61, 47)) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    channels = {"L": noise[..., 0], "RGB": noise[..., :3], "CMYK": noise}[mode]
    return Image.fromarray(channels, mode if mode == "CMYK" else None).resize(size)


def written(image: Image.Image, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **settings)
    return file.getvalue()


@pytest.mark.usefixtures("simplejpeg")
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("is_progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(1, 1), (17, 9), (640, 333)])
def test_pixels_are_pillows(mode: str, is_progressive: bool, subsampling: int, size: tuple[int, int]) -> None:
    content = written(picture(mode, size), progressive=is_progressive, subsampling=subsampling, quality=70)
    image = Image.open(io.BytesIO(content))
    assert jpeg_content(image) == content
    pixels = decode_jpeg(content, image.mode, image.size)
    assert pixels is not None
    np.testing.assert_array_equal(pixels[..., :3] if mode == "RGB" else pixels, np.asarray(image))


@pytest.mark.usefixtures("simplejpeg")
def test_pillow_can_decode_after_its_file_was_read() -> None:
    content = written(picture())
    image = Image.open(io.BytesIO(content))
    jpeg_content(image)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(content))))


@pytest.mark.usefixtures("simplejpeg")
@pytest.mark.parametrize("damage", ["cut short", "noise in the middle", "no end"])
def test_damaged_files_are_left_to_pillow(damage: str) -> None:
    content = bytearray(written(picture(size=(300, 200)), quality=90))
    if damage == "noise in the middle":
        content[len(content) // 2 : len(content) // 2 + 40] = bytes(range(200, 240))
    else:
        del content[-2 if damage == "no end" else len(content) // 2 :]
    assert decode_jpeg(bytes(content), "RGB", (300, 200)) is None


@pytest.mark.usefixtures("simplejpeg")
def test_whatever_bytes_are_wrong_pillow_has_the_last_word() -> None:
    """What is decoded at all, Pillow decodes too, to the same pixels."""
    rng = np.random.default_rng(0)
    files = [
        written(picture(mode), progressive=progressive, subsampling=2, quality=60)
        for mode, progressive in (("RGB", False), ("RGB", True), ("L", False))
    ]
    decoded = left = 0
    for trial in range(300):
        content = bytearray(files[trial % len(files)])
        for place in rng.integers(2, len(content), rng.integers(1, 3)):
            content[place] = rng.integers(256)
        try:
            image = Image.open(io.BytesIO(content))
        except (OSError, SyntaxError):
            continue
        offered = jpeg_content(image)
        pixels = decode_jpeg(offered, image.mode, image.size) if offered else None
        if pixels is None:
            left += 1
            continue
        decoded += 1
        np.testing.assert_array_equal(pixels[..., :3] if image.mode == "RGB" else pixels, np.asarray(image))
    assert decoded > 30
    assert left > 100


@pytest.mark.usefixtures("simplejpeg")
def test_a_file_of_another_size_than_pillow_read_is_left_to_pillow() -> None:
    assert decode_jpeg(written(picture()), "RGB", (47, 61)) is None


@pytest.mark.usefixtures("simplejpeg")
@pytest.mark.parametrize("kind", ["CMYK", "PNG"])
def test_other_files_are_left_to_pillow(kind: str) -> None:
    file = io.BytesIO()
    picture("CMYK" if kind == "CMYK" else "RGB").save(file, "PNG" if kind == "PNG" else "JPEG")
    assert jpeg_content(Image.open(file)) is None


def test_without_simplejpeg_pillow_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    assert why_pillow_decodes() == "simplejpeg is not installed"
    assert jpeg_content(Image.open(io.BytesIO(written(picture())))) is None


def test_the_environment_may_ask_for_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "pillow")
    assert why_pillow_decodes() == f"{VARIABLE}=pillow"


@pytest.mark.usefixtures("simplejpeg")
def test_other_pixels_than_pillows_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_one(*arguments: object) -> npt.NDArray[np.uint8]:
        pixels = decode_jpeg(*arguments)  # type: ignore[arg-type]
        assert pixels is not None
        return pixels ^ 1

    why_pillow_decodes.cache_clear()
    monkeypatch.setattr(preprocess.pixels.jpeg, "decode_jpeg", off_by_one)
    assert why_pillow_decodes() == "simplejpeg decodes to other pixels than Pillow"


@pytest.mark.usefixtures("simplejpeg")
def test_the_buffer_is_used_again() -> None:
    large, small = written(picture(size=(300, 200))), written(picture(size=(30, 20)))
    first = decode_jpeg(large, "RGB", (300, 200))
    second = decode_jpeg(small, "RGB", (30, 20))
    assert first is not None
    assert second is not None
    assert np.shares_memory(first, second)
