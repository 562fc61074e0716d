"""WebP files decode to Pillow's pixels, or are left to Pillow."""

from __future__ import annotations

import ctypes
import io
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

import preprocess.pixels.webp
from preprocess.pixels.direct import decoders_line
from preprocess.pixels.kernel import VARIABLE
from preprocess.pixels.webp import decode_webp, webp_content, why_pillow_decodes

pytestmark = pytest.mark.skipif(not features.check("webp"), reason="Pillow was built without WebP")


@pytest.fixture(autouse=True)
def fresh_choice(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    for each in (why_pillow_decodes, preprocess.pixels.webp._library):
        each.cache_clear()
    yield
    monkeypatch.undo()
    for each in (why_pillow_decodes, preprocess.pixels.webp._library):
        each.cache_clear()


@pytest.fixture
def libwebp() -> None:
    if "hidden" in why_pillow_decodes():
        pytest.skip(why_pillow_decodes())
    assert why_pillow_decodes() == ""


def picture(size: tuple[int, int] = (61, 47), mode: str = "RGB", seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 5, len(mode)), dtype=np.uint8)
    return Image.fromarray(noise, mode).resize(size)


def written(image: Image.Image, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", **{"method": 1, **settings})
    return file.getvalue()


def decoded(content: bytes) -> npt.NDArray[np.uint8] | None:
    """By us; None where Pillow must. What we decode Pillow does, too, to the same pixels."""
    with Image.open(io.BytesIO(content)) as image:
        offered = webp_content(image)
        pixels = decode_webp(offered, image.mode, image.size) if offered is not None else None
        if pixels is not None:
            np.testing.assert_array_equal(pixels[..., :3], np.asarray(image))
        return pixels


@pytest.mark.usefixtures("libwebp")
@settings(
    derandomize=True, max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 60)),
    st.integers(0, 100),
    st.booleans(),
    st.integers(0, 4),
    st.integers(0, 9),
)
def test_pixels_are_pillows(size: tuple[int, int], quality: int, is_lossless: bool, method: int, seed: int) -> None:
    image = picture(size, seed=seed)
    assert decoded(written(image, quality=quality, lossless=is_lossless, method=method)) is not None


@pytest.mark.usefixtures("libwebp")
@pytest.mark.parametrize("is_lossless", [False, True])
def test_metadata_makes_no_difference(is_lossless: bool) -> None:
    content = written(picture(), lossless=is_lossless, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0", icc_profile=b"a profile")
    assert content[12:16] == b"VP8X"
    assert decoded(content) is not None


@pytest.mark.usefixtures("libwebp")
def test_transparency_that_the_header_denies_is_no_transparency() -> None:
    """What Pillow takes for opaque has the colours that are behind its alpha."""
    content = bytearray(written(picture(mode="RGBA"), lossless=True, exact=True))
    place = content.index(b"VP8L") + 12  # its size, a signature, 28 bits of sizes; then the bit
    assert content[place] & 0x10
    content[place] ^= 0x10
    plain = b"RIFF" + (len(content) - 8).to_bytes(4, "little") + b"WEBP" + content[content.index(b"VP8L") :]
    plain = plain[:4] + (len(plain) - 8).to_bytes(4, "little") + plain[8:]
    assert decoded(plain) is not None


@pytest.mark.usefixtures("libwebp")
@pytest.mark.parametrize("is_lossless", [False, True])
def test_transparent_and_moving_pictures_are_left_to_pillow(is_lossless: bool) -> None:
    assert decoded(written(picture(mode="RGBA"), lossless=is_lossless)) is None
    frames = [picture(seed=seed) for seed in range(3)]
    moving = written(frames[0], save_all=True, append_images=frames[1:], lossless=is_lossless)
    assert decoded(moving) is None
    first = moving.index(b"ANMF")
    end = first + 8 + int.from_bytes(moving[first + 4 : first + 8], "little")
    alone = moving[:4] + (end - 8).to_bytes(4, "little") + moving[8:end]  # an animation of one frame
    assert decoded(alone) is None


@pytest.mark.usefixtures("libwebp")
@pytest.mark.parametrize("is_lossless", [False, True])
def test_whatever_bytes_are_wrong_pillow_has_the_last_word(is_lossless: bool) -> None:
    """Bits turned over, and data cut off whose header says so, as some programs leave them."""
    rng = np.random.default_rng(0)
    files = [written(picture(seed=seed), lossless=is_lossless, quality=30 + 30 * seed) for seed in range(3)]
    opened = []
    for trial in range(400):
        content = bytearray(files[trial % 3])
        if trial % 4 == 0:
            content = content[: rng.integers(30, len(content)) // 2 * 2]
            content[4:8] = (len(content) - 8).to_bytes(4, "little")
            content[16:20] = (len(content) - 20).to_bytes(4, "little")
        else:
            for place in rng.integers(4, len(content), rng.integers(1, 3)):
                content[place] ^= 1 << rng.integers(8)
        with suppress(OSError):
            Image.open(io.BytesIO(content)).close()
            opened.append(bytes(content))
    outcomes = [decoded(content) is not None for content in opened]
    assert sum(outcomes) > 100
    assert outcomes.count(False) > 20


@pytest.mark.usefixtures("libwebp")
def test_metadata_is_not_taken_for_the_rest_of_a_picture_that_ends_early() -> None:
    """Bits turned over can make a picture longer than its bytes."""
    content = bytearray(written(picture(), exif=b"Exif\0\0" + bytes(range(256))))
    start = content.index(b"VP8 ") + 8
    end = start + int.from_bytes(content[start - 4 : start], "little")
    outcomes = []
    for place, bit in product(range(end - 70, end), range(8)):
        content[place] ^= 1 << bit
        outcomes.append(decoded(bytes(content)) is not None)
        content[place] ^= 1 << bit
    assert outcomes.count(True) > 100
    assert outcomes.count(False) > 0


@pytest.mark.usefixtures("libwebp")
@pytest.mark.parametrize("what", ["two pictures", "an unknown chunk", "bytes behind", "half a chunk behind"])
def test_odd_containers_are_left_to_pillow(what: str) -> None:
    plain = written(picture())
    more = {"two pictures": plain[12:], "an unknown chunk": b"abcd\2\0\0\0ab", "half a chunk behind": b"EXIF\4\0\0\0ab"}
    content = bytearray(plain + more.get(what, b"ab"))
    if what != "bytes behind":
        content[4:8] = (len(content) - 8).to_bytes(4, "little")
    assert decode_webp(plain, "RGB", (61, 47)) is not None
    assert decode_webp(bytes(content), "RGB", (61, 47)) is None


@pytest.mark.usefixtures("libwebp")
def test_a_file_of_another_size_than_pillow_read_is_left_to_pillow() -> None:
    assert decode_webp(written(picture()), "RGB", (47, 61)) is None


@pytest.mark.usefixtures("libwebp")
def test_other_files_are_left_to_pillow() -> None:
    file = io.BytesIO()
    picture().save(file, "PNG")
    assert webp_content(Image.open(file)) is None


def test_the_environment_may_ask_for_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "pillow")
    assert why_pillow_decodes() == f"{VARIABLE}=pillow"
    assert decoded(written(picture())) is None


@pytest.mark.parametrize("why", ["Pillow was built without WebP", "Pillow's libwebp is a hidden part of Pillow"])
def test_where_libwebp_is_out_of_reach_pillow_decodes(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = written(picture())
    if "without" in why:
        monkeypatch.setitem(sys.modules, "PIL._webp", None)
        monkeypatch.delattr("PIL._webp")
    else:
        monkeypatch.setattr(ctypes, "CDLL", lambda path: object())
    assert why_pillow_decodes() == why
    assert f"WebP files are decoded by Pillow ({why})" in decoders_line()
    assert decode_webp(content, "RGB", (61, 47)) is None


@pytest.mark.usefixtures("libwebp")
def test_other_pixels_than_pillows_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_one(*arguments: object) -> npt.NDArray[np.uint8]:
        pixels = decode_webp(*arguments)  # type: ignore[arg-type]
        assert pixels is not None
        return pixels ^ 1

    why_pillow_decodes.cache_clear()
    monkeypatch.setattr(preprocess.pixels.webp, "decode_webp", off_by_one)
    assert why_pillow_decodes() == "libwebp decodes to other pixels than Pillow"
