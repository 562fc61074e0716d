"""Images whose format is not data, whose size is none, or whose pixels are not all there."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocess.arithmetic.geometry import PixelLimits
from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media.images import encode_image, measure_image
from preprocess.pixels.jpeg import why_pillow_decodes
from preprocess.pixels.kernel import VARIABLE
from preprocess.sample import MediaSource
from shards import ModelConstants

LIMITS = PixelLimits(min_pixels=4 * 784, max_pixels=64 * 784)


@pytest.fixture(autouse=True)
def fresh_choice(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    why_pillow_decodes.cache_clear()
    yield
    why_pillow_decodes.cache_clear()


def noise(mode: str = "RGB") -> Image.Image:
    shape = (180, 135) if mode == "L" else (180, 135, len(mode))
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), mode)


def written(file_format: str, image: Image.Image, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **settings)
    return file.getvalue()


def encode(path: Path, constants: ModelConstants) -> None:
    source = MediaSource(path=str(path))
    encode_image(measure_image(source, LIMITS, constants), constants)


def reject(content: bytes, path: Path, constants: ModelConstants) -> SampleError:
    path.write_bytes(content)
    with pytest.raises(SampleError) as caught:
        encode(path, constants)
    assert caught.value.detail.startswith(f"{path}: ")
    return caught.value


@pytest.mark.parametrize("suffix", [".eps", ".jpg", ".png"])
def test_formats_that_run_programs_are_not_opened(suffix: str, tmp_path: Path, constants: ModelConstants) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(written("EPS", noise()))
    source = MediaSource(path=str(path))
    with pytest.raises(SampleError, match="not an image") as caught:  # by the plan already
        measure_image(source, LIMITS, constants)
    assert caught.value.reason is Reason.UNDECODABLE


@pytest.mark.parametrize(
    "content", [b"BUFR", b"GRIB\0\0\0\1", b"\x89HDF\r\n\x1a\n", b"P6 0 4 255\n", b"P6 4 0 255\n", b"\0" * 64]
)
def test_images_without_pixels_are_undecodable(content: bytes, tmp_path: Path, constants: ModelConstants) -> None:
    assert reject(content, tmp_path / "a.png", constants).reason is Reason.UNDECODABLE


@pytest.mark.parametrize("resizer", ["", "pillow"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("is_progressive", [False, True])
def test_a_jpeg_file_cut_short_with_an_end_marker_is_undecodable(
    is_progressive: bool,
    mode: str,
    resizer: str,
    tmp_path: Path,
    constants: ModelConstants,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pillow fills it up with grey and says nothing."""
    if resizer:
        monkeypatch.setenv(VARIABLE, resizer)
    whole = written("JPEG", noise(mode), progressive=is_progressive)
    (tmp_path / "whole.jpg").write_bytes(whole)
    encode(tmp_path / "whole.jpg", constants)
    cut = whole[: len(whole) // 3] + b"\xff\xd9"
    Image.open(io.BytesIO(cut)).load()
    error = reject(cut, tmp_path / "cut.jpg", constants)
    assert error.reason is Reason.UNDECODABLE
    assert "premature end of data segment" in error.detail


def test_a_jpeg_file_whose_header_is_larger_than_its_data_is_undecodable(
    tmp_path: Path, constants: ModelConstants
) -> None:
    content = bytearray(written("JPEG", noise()))
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = (1330).to_bytes(2, "big") * 2
    assert "Corrupt JPEG data" in reject(bytes(content), tmp_path / "a.jpg", constants).detail


def png(size: tuple[int, int], rows: bytes, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, interlace)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


@pytest.mark.parametrize("value", [0, 200])
@pytest.mark.parametrize("interlace", [0, 1])
def test_a_png_file_with_fewer_rows_than_its_header_says_is_undecodable(
    interlace: int, value: int, tmp_path: Path, constants: ModelConstants
) -> None:
    """Pillow leaves the others black and says nothing; black rows at the end are no fault."""
    num_bytes = raw_bytes(99, 77, interlace)
    rows = bytearray(bytes([value]) * num_bytes)
    place = 0
    for columns, count in passes(99, 77, interlace):
        for _ in range(count):
            rows[place] = 0  # no filter
            place += columns + 1
    (tmp_path / "whole.png").write_bytes(png((99, 77), bytes(rows), interlace))
    encode(tmp_path / "whole.png", constants)
    cut = png((99, 77), bytes(rows[: -2 * 100]), interlace)
    Image.open(io.BytesIO(cut)).load()
    error = reject(cut, tmp_path / "a.png", constants)
    assert error.reason is Reason.UNDECODABLE
    assert "its pixels end before" in error.detail


def passes(width: int, height: int, interlace: int) -> list[tuple[int, int]]:
    """Columns and rows of each pass, counted."""
    if not interlace:
        return [(width, height)]
    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    return [(len(range(left, width, x)), len(range(top, height, y))) for left, top, x, y in steps]


def raw_bytes(width: int, height: int, interlace: int) -> int:
    return sum((columns + 1) * rows for columns, rows in passes(width, height, interlace))


def test_without_simplejpeg_no_file_passes_unseen(
    tmp_path: Path, constants: ModelConstants, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(written("JPEG", noise()))
    monkeypatch.setenv(VARIABLE, "pillow")
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with pytest.raises(FatalError, match="simplejpeg is not installed"):
        encode(tmp_path / "a.jpg", constants)
