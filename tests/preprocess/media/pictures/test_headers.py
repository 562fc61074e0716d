"""Headers read here and by Pillow say the same. What Pillow refuses, turns, or is not sure about is left to it."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from preprocess.media.pictures.headers import HEAD_BYTES, read_header
from preprocess.media.pictures.opening import open_image
from preprocess.media.pictures.upright import upright_header

NUM_DAMAGED = 6_000
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(mode: str = "RGB", size: tuple[int, int] = (37, 23)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 4), dtype=np.uint8)
    image = Image.fromarray(pixels).convert("RGBA")
    return image.convert("L").convert("I;16") if mode == "I;16" else image.convert(mode)


def turned(orientation: int = 6) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def text(key: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text(key, "somebody's")
    return info


def plain_files() -> dict[str, bytes]:
    """That are measured without Pillow."""
    files = {f"{mode} png": saved(picture(mode), "PNG") for mode in PNG_MODES}
    for mode in ("L", "RGB"):
        for subsampling in (0, 2):
            files[f"{mode} {subsampling} jpeg"] = saved(picture(mode), "JPEG", subsampling=subsampling)
        files[f"{mode} progressive jpeg"] = saved(picture(mode), "JPEG", progressive=True)
        files[f"{mode} webp"] = saved(picture(mode), "WEBP")
        files[f"{mode} lossless webp"] = saved(picture(mode), "WEBP", lossless=True)
    files["jpeg with a profile"] = saved(picture(), "JPEG", icc_profile=bytes(500))
    files["jpeg with a comment"] = saved(picture(), "JPEG", comment="a comment", dpi=(300, 300))
    files["png of a program"] = saved(picture(), "PNG", pnginfo=text("Software"), dpi=(72, 72))
    files["png with gamma"] = with_chunk(saved(picture(), "PNG"), b"gAMA", struct.pack(">I", 45455))
    files["png with a clear colour"] = saved(picture(), "PNG", transparency=(1, 2, 3))
    return files


def odd_files() -> dict[str, bytes]:
    """That are for Pillow."""
    png = saved(picture(), "PNG")
    return {
        "turned jpeg": saved(picture(), "JPEG", exif=turned()),
        "turned png": saved(picture(), "PNG", exif=turned()),
        "png turned behind its pixels": png[:-12] + chunk(b"eXIf", turned().tobytes()[6:]) + png[-12:],
        "turned webp": saved(picture(), "WEBP", exif=turned()),
        "webp with alpha": saved(picture("RGBA"), "WEBP"),
        "cmyk jpeg": saved(picture().convert("CMYK"), "JPEG"),
        "long header": saved(picture(), "JPEG", comment=bytes(HEAD_BYTES)),
        "png with a profile": saved(picture(), "PNG", icc_profile=bytes(500)),
        "gif": saved(picture("P"), "GIF"),
        "bmp": saved(picture(), "BMP"),
        "animation": saved(picture(), "PNG", save_all=True, append_images=[picture("L").convert("RGB")]),
        "nothing": b"",
    }


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    after_header = 8 + 25
    return png[:after_header] + chunk(kind, content) + png[after_header:]


def by_pillow(content: bytes) -> tuple[int, int, int] | None:
    """Height, width, orientation; None where Pillow refuses the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_image(io.BytesIO(content)) as image:
                return upright_header(image)
    except Exception:
        return None


@pytest.mark.parametrize("name", plain_files())
def test_plain_files_are_measured_as_pillow_does(name: str) -> None:
    size = read_header(io.BytesIO(plain_files()[name]))
    assert size == (23, 37)
    assert by_pillow(plain_files()[name]) == (*size, 1)


@pytest.mark.parametrize("name", odd_files())
def test_odd_files_are_left_to_pillow(name: str) -> None:
    assert read_header(io.BytesIO(odd_files()[name])) is None


def test_a_file_and_its_bytes_are_read_alike(tmp_path: Path) -> None:
    for content in plain_files().values():
        (tmp_path / "image").write_bytes(content)
        with io.FileIO(tmp_path / "image") as file:
            assert read_header(file) == (23, 37)


def test_an_image_of_more_pixels_than_are_read_is_left_to_pillow() -> None:
    assert read_header(io.BytesIO(saved(picture(), "PNG")), 37 * 23) == (23, 37)
    assert read_header(io.BytesIO(saved(picture(), "PNG")), 37 * 23 - 1) is None


def damaged(chooser: random.Random, content: bytes) -> bytes:
    """Bytes changed, lost, doubled or cut off, mostly at the start; in PNG files checksums are mended mostly."""
    file = bytearray(content)
    for _ in range(chooser.choice((1, 1, 2, 4))):
        position = min(int(chooser.expovariate(1 / 60)), len(file) - 1)
        match chooser.randrange(6):
            case 0 | 1:
                file[position] = chooser.choice((0, 1, 2, 8, 0x7F, 0x80, 0xD8, 0xFF, chooser.randrange(256)))
            case 2:
                file[position] ^= 1 << chooser.randrange(8)
            case 3:
                del file[position : position + chooser.choice((1, 2, 4, 20))]
            case 4:
                file[position:position] = file[position : position + chooser.choice((1, 2, 4, 20))]
            case 5:
                del file[chooser.choice((position, len(file) - position)) :]
        if not file:
            return b""
    return mended(file) if content.startswith(b"\x89PNG") and chooser.randrange(4) else bytes(file)


def mended(png: bytearray) -> bytes:
    position = 8
    while position + 8 <= len(png):
        (length,) = struct.unpack_from(">I", png, position)
        end = position + 8 + length
        if end + 4 > len(png):
            break
        png[end : end + 4] = struct.pack(">I", zlib.crc32(png[position + 4 : end]))
        position = end + 4
    return bytes(png)


def damaged_files(number: int, seed: int) -> Iterator[bytes]:
    chooser = random.Random(seed)
    files = [*plain_files().values(), *(content for content in odd_files().values() if content)]
    for _ in range(number):
        yield damaged(chooser, chooser.choice(files))


def test_no_damaged_file_is_measured_otherwise_than_by_pillow() -> None:
    num_read = num_refused = num_other_sizes = 0
    for content in damaged_files(NUM_DAMAGED, seed=1):
        size, theirs = read_header(io.BytesIO(content)), by_pillow(content)
        if size is not None:
            assert theirs == (*size, 1), content[:200].hex()
        num_read += size is not None
        num_refused += theirs is None
        num_other_sizes += size not in (None, (23, 37))
    assert min(num_read, num_refused) > NUM_DAMAGED // 10
    assert num_other_sizes > 20
