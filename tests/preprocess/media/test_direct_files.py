"""Files that are decoded without Pillow: the same patches as by Pillow alone, or the same reject in the same words."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

import preprocess.media.images
from preprocess.arithmetic.geometry import PixelLimits
from preprocess.errors import SampleError
from preprocess.media.images import encode_image, measure_image
from preprocess.media.pictures.rules import PictureRules
from preprocess.pixels.direct import _DECODERS
from preprocess.pixels.kernel import VARIABLE
from preprocess.sample import MediaSource
from shards import ModelConstants
from tests.preprocess.pixels.png_files import END_CHUNK, chunk, filtered, header, plain_png, png
from tests.preprocess.pixels.test_png import LEFT

LIMITS = PixelLimits(min_pixels=4 * 784, max_pixels=64 * 784)
SIDEWAYS = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # EXIF: orientation 6


@pytest.fixture(autouse=True)
def fresh_choice(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    for decoder in _DECODERS.values():
        decoder.why_not.cache_clear()  # type: ignore[attr-defined]
    yield
    for decoder in _DECODERS.values():
        decoder.why_not.cache_clear()  # type: ignore[attr-defined]


def picture(mode: str = "RGB", size: tuple[int, int] = (61, 83)) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (7, 5, 4), dtype=np.uint8)
    return Image.fromarray(noise).resize(size).convert(mode)


def written(file_format: str, image: Image.Image, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **settings)
    return file.getvalue()


ROWS = filtered(61, 83, 2, range(5)).tobytes()
TEXT = chunk(b"tEXt", b"Comment\0none")
FILES = {
    **LEFT,
    "plain": plain_png(61, 83),
    "grey": plain_png(61, 83, colour=0),
    "palette": written("PNG", picture("P")),
    "transparent palette": written("PNG", picture("P"), transparency=3),
    "grey and alpha": written("PNG", picture("LA")),
    "turned": png(header(61, 83), zlib.compress(ROWS), before=chunk(b"eXIf", SIDEWAYS)),
    "turned from behind": png(header(61, 83), zlib.compress(ROWS), after=chunk(b"eXIf", SIDEWAYS) + chunk(*END_CHUNK)),
    "turned grey": png(
        header(61, 83, colour=0),
        zlib.compress(filtered(61, 83, 0, range(5)).tobytes()),
        before=chunk(b"eXIf", SIDEWAYS),
    ),
    "texts before and behind": png(header(61, 83), zlib.compress(ROWS), before=TEXT, after=TEXT + chunk(*END_CHUNK)),
    "cut": plain_png(61, 83)[:900],
    "rows of black": png(header(61, 83), zlib.compress(ROWS[: 40 * 184])),
    "moving": written("PNG", picture(), save_all=True, append_images=[picture().rotate(180)]),
    "JPEG": written("JPEG", picture()),
    "JPEG, turned": written("JPEG", picture(), exif=b"Exif\0\0" + SIDEWAYS),
    "JPEG, cut": written("JPEG", picture())[:900],
}
if features.check("webp"):
    LOSSY = written("WEBP", picture())
    FILES |= {
        "WebP": LOSSY,
        "WebP, lossless": written("WEBP", picture(), lossless=True),
        "WebP, turned": written("WEBP", picture(), exif=b"Exif\0\0" + SIDEWAYS),
        "WebP, transparent": written("WEBP", picture("RGBA").rotate(9)),
        "WebP, moving": written("WEBP", picture(), save_all=True, append_images=[picture().rotate(180)]),
        "WebP, cut": LOSSY[: len(LOSSY) // 2],
        "WebP, wrong": LOSSY[: len(LOSSY) // 2] + bytes(len(LOSSY) - len(LOSSY) // 2),
        "WebP, cut where its header says so": LOSSY[:4]
        + (292).to_bytes(4, "little")
        + LOSSY[8:16]
        + (280).to_bytes(4, "little")
        + LOSSY[20:300],
    }


def outcome(path: Path, constants: ModelConstants, rules: PictureRules) -> object:
    source, notes = MediaSource(path=str(path)), list[object]()
    try:
        measured = measure_image(source, LIMITS, constants, rules=rules)
        return measured, encode_image(measured, constants, rules, notes.append).tobytes(), notes
    except SampleError as error:
        return error.reason, error.detail


@pytest.mark.parametrize("what", FILES)
def test_pillow_alone_would_give_the_same(
    what: str, tmp_path: Path, constants: ModelConstants, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(FILES[what])
    found = outcome(path, constants, PictureRules())
    monkeypatch.setattr(preprocess.media.images, "direct_file", lambda image: None)
    assert found == outcome(path, constants, PictureRules())


@pytest.mark.parametrize("what", ["plain", "grey", "turned", "texts before and behind", "JPEG, turned", "WebP, turned"])
def test_plain_files_are_decoded_directly(
    what: str, tmp_path: Path, constants: ModelConstants, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_pillow = [name for name, decoder in _DECODERS.items() if decoder.why_not()]
    if what not in FILES or what.split(",")[0] in by_pillow or ("PNG" in by_pillow and "," not in what):
        pytest.skip(f"{by_pillow} are decoded by Pillow here")
    path = tmp_path / "picture"
    path.write_bytes(FILES[what])
    monkeypatch.delattr(preprocess.media.images, "decode")
    assert len(outcome(path, constants, PictureRules())) == 3  # type: ignore[arg-type]


def test_a_low_limit_of_a_run_keeps_nothing_from_being_decided(tmp_path: Path, constants: ModelConstants) -> None:
    """The small files that are tried at the start have more pixels than this run allows."""
    path = tmp_path / "picture"
    for what in ("plain", "JPEG", "WebP"):
        if what in FILES:
            small = Image.open(io.BytesIO(FILES[what])).resize((20, 20))
            path.write_bytes(written({"plain": "PNG"}.get(what, what), small))
            found = outcome(path, constants, PictureRules(max_source_pixels=400))
            assert len(found) == 3, found  # type: ignore[arg-type]
