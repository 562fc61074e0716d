"""Images: what the header says is what decoding gives, and what bytes can do wrong ends as a reject."""

from __future__ import annotations

import errno
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from demo_build import Demo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, WebPImagePlugin

import preprocess.media.images
from preprocess.arithmetic.geometry import PixelLimits, grid_size
from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media.images import encode_image, measure_image
from preprocess.media.pictures.upright import decode_rgb
from preprocess.pixels import DirectFile
from preprocess.sample import MeasuredImage, MediaSource
from shards import ModelConstants
from tests.preprocess.golden import GOLDEN

LIMITS = PixelLimits(min_pixels=4 * 784, max_pixels=64 * 784)
GOLDEN_PICTURES = sorted((GOLDEN / "media").iterdir())


def source(path: Path) -> MediaSource:
    return MediaSource(path=str(path))


def measure(source: MediaSource, limits: PixelLimits, constants: ModelConstants) -> MeasuredImage:
    return measure_image(source, limits, constants)


def reason_of(path: Path, constants: ModelConstants) -> tuple[Reason, str]:
    """Reason and detail of the reject that measuring and encoding `path` ends in."""
    with pytest.raises(SampleError) as caught:
        encode_image(measure(source(path), LIMITS, constants), constants)
    return caught.value.reason, caught.value.detail


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def empty_png(width: int, height: int) -> bytes:
    """A header that promises this size, and hardly any pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return png((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b""))


def demo_pictures(demo: Demo) -> list[Path]:
    return [path for path in sorted((demo.media / "images").iterdir()) if path.stem != "thin"]


def test_the_header_says_the_size_that_decoding_gives(demo: Demo, constants: ModelConstants) -> None:
    paths = demo_pictures(demo) + GOLDEN_PICTURES
    num_turned = 0
    for path in paths:
        measured = measure(source(path), LIMITS, constants)
        with Image.open(path) as image:
            stored = image.size
            decoded = decode_rgb(image)
        assert (decoded.mode, decoded.size) == ("RGB", (measured.width, measured.height)), path
        assert encode_image(measured, constants).shape == (np.prod(measured.grid_thw), 588), path
        num_turned += stored != decoded.size
    assert len(paths) > 80
    assert num_turned >= 8, "none of these pictures lies on its side"


def test_measuring_decodes_no_pixel(demo: Demo, constants: ModelConstants, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Image.Image) -> None:
        raise AssertionError(f"decoded {self}")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    monkeypatch.setattr(WebPImagePlugin.WebPImageFile, "load", refuse)
    behind_pixels = GOLDEN / "media" / "orientation6_after_pixels.png"
    for path in demo_pictures(demo) + GOLDEN_PICTURES:
        if path != behind_pixels:
            measure(source(path), LIMITS, constants)
    with pytest.raises(SampleError, match="decoded"):  # the one case in which Pillow has to be asked
        measure(source(behind_pixels), LIMITS, constants)


@pytest.mark.parametrize("keyword", [b"XML:com.adobe.xmp", b"Comment"])
def test_an_orientation_in_text_behind_the_pixels_is_seen(
    keyword: bytes, tmp_path: Path, constants: ModelConstants
) -> None:
    """Text chunks that can't hold one are stepped over."""
    path = tmp_path / "picture.png"
    Image.new("RGB", (60, 90)).save(path)
    text = keyword + b"\0\0\0\0\0" + b'<x tiff:Orientation="6"/>'
    content, end = path.read_bytes(), png((b"IEND", b""))[8:]
    assert content.endswith(end)
    path.write_bytes(content.removesuffix(end) + png((b"iTXt", text), (b"IEND", b""))[8:])
    measured = measure(source(path), LIMITS, constants)
    assert (measured.height, measured.width) == ((60, 90) if keyword.startswith(b"XML") else (90, 60))
    encode_image(measured, constants)


def test_sixteen_bits_become_their_high_byte(tmp_path: Path) -> None:
    values = np.array([[0, 255, 256, 65535], [0x1234, 0x80FF, 0x7F00, 1]], np.uint16)
    for mode, dtype in (("I;16", "<u2"), ("I;16B", ">u2")):
        image = Image.frombytes(mode, (4, 2), values.astype(dtype).tobytes())
        assert np.asarray(decode_rgb(image))[..., 0].tolist() == [[0, 0, 1, 255], [0x12, 0x80, 0x7F, 0]]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_is_white(mode: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0)).convert(mode)
    assert np.asarray(decode_rgb(image)).tolist() == [[[255] * 3] * 2]


def test_the_grid_says_the_size(constants: ModelConstants) -> None:
    assert grid_size((1, 4, 6), constants) == (56, 84)


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["demo_jpeg.jpg", "demo_png.png", "demo_webp.webp", "grey16.tif", "windows.bmp"])
def test_a_file_cut_short_is_undecodable(name: str, tmp_path: Path, constants: ModelConstants) -> None:
    whole = (GOLDEN / "media" / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: len(whole) // 2])
    reason, detail = reason_of(path, constants)
    assert reason is Reason.UNDECODABLE
    assert detail.startswith(f"{path}: ")
    assert detail.count(str(path)) == 1


def test_the_header_of_a_jpeg_cut_short_can_be_measured(tmp_path: Path, constants: ModelConstants) -> None:
    """So the plan counts it, and the reject comes when it is decoded."""
    path = tmp_path / "cut.jpg"
    path.write_bytes((GOLDEN / "media" / "demo_jpeg.jpg").read_bytes()[:-600])
    measured = measure(source(path), LIMITS, constants)
    with pytest.raises(SampleError) as caught:
        encode_image(measured, constants)
    assert caught.value.reason is Reason.UNDECODABLE


@pytest.mark.parametrize("content", [b"", b"\0", b"GIF89a", b"hello world\n" * 100, b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_undecodable(content: bytes, tmp_path: Path, constants: ModelConstants) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    assert reason_of(path, constants)[0] is Reason.UNDECODABLE


def test_a_decompression_bomb_is_told_by_its_header(tmp_path: Path, constants: ModelConstants) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(empty_png(20_000, 20_000))
    assert path.stat().st_size < 200
    with pytest.raises(SampleError) as caught:
        measure(source(path), LIMITS, constants)
    assert caught.value.reason is Reason.DECOMPRESSION_BOMB
    assert str(path) in caught.value.detail


def test_a_large_image_is_no_bomb_and_gives_no_warning(tmp_path: Path, constants: ModelConstants) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(empty_png(12_000, 9_000))
    assert Image.MAX_IMAGE_PIXELS is not None
    assert Image.MAX_IMAGE_PIXELS < 12_000 * 9_000, "Pillow does not warn of this size"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured = measure(source(path), LIMITS, constants)
    assert (measured.height, measured.width) == (9_000, 12_000)


def test_an_image_too_thin_is_a_reject_that_names_the_file(demo: Demo, constants: ModelConstants) -> None:
    path = demo.media / "images" / "thin.png"
    reason, detail = reason_of(path, constants)
    assert reason is Reason.ASPECT_RATIO
    assert str(path) in detail


def test_floating_point_pixels_are_undecodable(tmp_path: Path, constants: ModelConstants) -> None:
    path = tmp_path / "depth.tif"
    Image.fromarray(np.full((30, 40), 0.5, np.float32)).save(path)
    reason, detail = reason_of(path, constants)
    assert reason is Reason.UNDECODABLE
    assert "floating-point" in detail


def test_an_image_whose_header_changed_after_measuring_stops_the_run(tmp_path: Path, constants: ModelConstants) -> None:
    path = tmp_path / "picture.png"
    Image.new("RGB", (60, 90)).save(path)
    measured = measure(source(path), LIMITS, constants)
    Image.new("RGB", (90, 60)).save(path)
    with pytest.raises(FatalError, match="changed since it was measured; remove the output folder") as caught:
        encode_image(measured, constants)
    assert str(caught.value).count(str(path)) == 1


@pytest.mark.parametrize("name", ["not_there.png", "."])
def test_a_path_without_a_file_is_missing(name: str, tmp_path: Path, constants: ModelConstants) -> None:
    assert reason_of(tmp_path / name, constants)[0] is Reason.MISSING_FILE


def test_a_disk_that_fails_is_not_the_images_fault(
    tmp_path: Path, constants: ModelConstants, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    path = tmp_path / "picture.bmp"  # which Pillow decodes
    Image.new("RGB", (60, 90)).save(path)
    measured = measure(source(path), LIMITS, constants)
    with pytest.raises(FatalError, match=r"picture\.bmp"):
        encode_image(measured, constants)


def test_memory_that_runs_out_is_not_the_images_fault(
    tmp_path: Path, constants: ModelConstants, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    path = tmp_path / "picture.bmp"
    Image.new("RGB", (60, 90)).save(path)
    measured = measure(source(path), LIMITS, constants)
    with pytest.raises(MemoryError):
        encode_image(measured, constants)


@pytest.mark.parametrize("function", ["image_grid", "decode_directly", "resize_to_patches"])
def test_a_mistake_of_our_own_is_not_the_images_fault(
    tmp_path: Path, constants: ModelConstants, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def fail(*_: object) -> None:
        raise TypeError("a mistake")

    path = tmp_path / "picture.bmp"
    Image.new("RGB", (60, 90)).save(path)
    if function == "decode_directly":  # as if it were tried
        file = DirectFile(format="PNG", content=memoryview(b""), mode="RGB", size=(60, 90))
        monkeypatch.setattr(preprocess.media.images, "direct_file", lambda image: file)
    monkeypatch.setattr(preprocess.media.images, function, fail)
    with pytest.raises(TypeError, match="a mistake"):
        encode_image(measure(source(path), LIMITS, constants), constants)


@settings(
    derandomize=True, max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from([path for path in GOLDEN_PICTURES if path.stat().st_size < 3000]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_whatever_bytes_are_wrong_the_sample_is_rejected_or_usable(
    tmp_path: Path, constants: ModelConstants, path: Path, damage: list[tuple[float, int]]
) -> None:
    content = bytearray(path.read_bytes())
    for place, value in damage:
        content[int(place * min(len(content), 400))] = value  # headers, mostly
    damaged = tmp_path / path.name
    damaged.write_bytes(content)
    try:
        measured = measure(source(damaged), LIMITS, constants)
        assert encode_image(measured, constants).shape == (np.prod(measured.grid_thw), 588)
    except SampleError as error:
        assert str(damaged) in error.detail
